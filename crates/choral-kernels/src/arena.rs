//! Memory for weights: large arrays of zeros, to be filled once and read often.
//!
//! Arrays are cut, one behind the other, from chunks that the system is asked to back
//! with huge pages: weights that are streamed from memory then spend no time in page
//! walks. An array with a mapping of its own would have small pages at both ends,
//! and most matrices are hardly larger than a huge page.

use crate::shared::Zeroable;
use memmap2::MmapMut;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a chunk. What nobody cuts from it is never touched and takes no memory.
const CHUNK: usize = 256 << 20;

/// A huge page.
const HUGE: usize = 2 << 20;

/// Arrays begin at lines of the cache.
const LINE: usize = 64;

/// Hands out arrays. Memory of a chunk is given back when its last array is gone, and
/// the arena has begun another chunk or is gone too.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    chunk: Mutex<Option<Chunk>>,
}

/// A chunk that is being cut up.
#[derive(Debug)]
struct Chunk {
    pages: Arc<Pages>,
    /// Bytes that are cut off already.
    used: usize,
}

/// A mapping, used from the first huge page in it.
#[derive(Debug)]
struct Pages {
    /// Owns the memory; nobody looks at it but through arrays.
    _mapping: MmapMut,
    first: *mut u8,
    len: usize,
}

// SAFETY: arrays cut from it do not overlap, and each answers for its own part.
unsafe impl Send for Pages {}
// SAFETY: as above; the pointer itself is only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// `len` bytes of zeros that begin at a huge page.
    fn map(len: usize) -> Option<Arc<Self>> {
        let mut mapping = MmapMut::map_anon(len.checked_add(HUGE)?).ok()?;
        // Advice: without huge pages everything is only slower.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise(memmap2::Advice::HugePage);
        let start = mapping.as_mut_ptr();
        let first = start.wrapping_add(start.align_offset(HUGE));
        Some(Arc::new(Self {
            _mapping: mapping,
            first,
            len,
        }))
    }
}

impl Arena {
    /// `len` zeros, or `None` if there is no memory for them.
    pub(crate) fn zeroed<T: Zeroable>(&self, len: usize) -> Option<Array<T>> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= LINE) };
        let bytes = len.checked_mul(size_of::<T>())?;
        let rounded = bytes.checked_next_multiple_of(LINE)?;
        // Every state of the chunk is a good one.
        let mut chunk = self.chunk.lock().unwrap_or_else(PoisonError::into_inner);
        let room = chunk.as_ref().map(|c| c.pages.len - c.used);
        if room.is_none_or(|room| room < rounded) {
            let pages = Pages::map(rounded.max(CHUNK))?;
            *chunk = Some(Chunk { pages, used: 0 });
        }
        let chunk = chunk.as_mut()?;
        let first = chunk.pages.first.wrapping_add(chunk.used);
        chunk.used += rounded;
        Some(Array {
            first: first.cast(),
            len,
            _pages: Arc::clone(&chunk.pages),
            elements: PhantomData,
        })
    }
}

/// An array that owns its part of a chunk.
pub(crate) struct Array<T> {
    first: *mut T,
    len: usize,
    _pages: Arc<Pages>,
    elements: PhantomData<T>,
}

// SAFETY: it owns its elements.
unsafe impl<T: Send> Send for Array<T> {}
// SAFETY: it hands out what a slice would.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements inside a mapping that lives as long as this array, cut
        // off for it alone, aligned to a line; they are zeros (a value of `T`, which is
        // `Zeroable`) or were written through `deref_mut`.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; this array is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_zeros_at_lines_and_do_not_overlap() {
        let arena = Arena::default();
        let mut arrays: Vec<Array<u16>> = [1, 31, 32, 33, 4096, 3 << 20, 7]
            .iter()
            .map(|&len| arena.zeroed(len).expect("memory"))
            .collect();
        for (i, array) in arrays.iter_mut().enumerate() {
            assert!(array.as_ptr().addr().is_multiple_of(LINE));
            assert!(array.iter().all(|&x| x == 0));
            array.fill(i as u16 + 1);
        }
        for (i, array) in arrays.iter().enumerate() {
            assert!(array.iter().all(|&x| x == i as u16 + 1));
        }
    }

    #[test]
    fn an_array_larger_than_a_chunk_has_one_of_its_own_and_outlives_the_arena() {
        let arena = Arena::default();
        let large: Array<f32> = arena.zeroed(CHUNK / 4 + 1).expect("memory");
        let small: Array<f32> = arena.zeroed(10).expect("memory");
        drop(arena);
        assert_eq!((large[CHUNK / 4], small[9]), (0.0, 0.0));
    }

    #[test]
    fn sizes_that_cannot_be_are_none() {
        let arena = Arena::default();
        assert!(arena.zeroed::<f32>(usize::MAX).is_none());
        assert!(arena.zeroed::<f32>(usize::MAX / 4).is_none());
        assert!(arena.zeroed::<f32>(0).is_some_and(|a| a.is_empty()));
    }
}
