//! Slices that several tasks of one fork write to, each its own part.

use std::marker::PhantomData;

/// A mutable slice handed to all tasks of a fork.
///
/// Safety rests on its users: the ranges that concurrent tasks take must not
/// overlap. Every call states why they do not.
pub(crate) struct SharedSlice<'a, T> {
    ptr: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `range_mut`, whose callers promise disjointness.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}
// SAFETY: as above; it is a `&mut [T]` in all but aliasing.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            ptr: slice.as_mut_ptr(),
            len: slice.len(),
            owner: PhantomData,
        }
    }

    /// The part `start..start + len`.
    ///
    /// # Safety
    /// No other reference to any element of that part may live while this one does.
    ///
    /// # Panics
    /// If the part is not inside the slice.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(crate) unsafe fn range_mut(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: inside the slice (checked); exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }
}
