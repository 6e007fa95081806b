//! From tokens to vectors.

use choral_formats::{ModelFile, TensorView};
use std::sync::Arc;

/// The embedding table, read row by row from the (mapped) file as tokens come.
#[derive(Debug)]
pub struct Embedding {
    file: Arc<ModelFile>,
    name: String,
}

impl Embedding {
    /// The tensor `name` of `file`, which the loader found to be there and of a
    /// type that can be read.
    pub(crate) fn new(file: Arc<ModelFile>, name: String) -> Self {
        Self { file, name }
    }

    fn view(&self) -> TensorView<'_> {
        self.file
            .tensors()
            .tensor(&self.name)
            .expect("the loader found the embedding")
    }

    /// A function that writes a token's vector, `[hidden]`.
    ///
    /// # Panics
    /// (The returned function) if the token is outside the vocabulary.
    pub fn rows(&self) -> impl Fn(u32, &mut [f32]) + Sync {
        let view = self.view();
        move |token, out| {
            view.dequantize_row(token as usize, out)
                .expect("the loader checked type and width");
        }
    }
}
