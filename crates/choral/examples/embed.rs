//! Which of some texts is nearest to a question.
//!
//! `cargo run --release --example embed [MODEL]`

use choral::Embedder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Embedder::builder();
    if let Some(path) = std::env::args().nth(1) {
        builder = builder.model(path);
    }
    let mut embedder = builder.build()?;
    let texts = [
        "Where does the fox live?",
        "The fox has a den under the old oak.",
        "The king counted his gold every evening.",
        "It rained, and the children stayed inside.",
    ];
    let vectors = embedder.embed(&texts)?;
    let similarity = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for (text, vector) in texts.iter().zip(&vectors).skip(1) {
        println!("{:.3}  {text}", similarity(&vectors[0], vector));
    }
    Ok(())
}
