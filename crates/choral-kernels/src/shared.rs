//! Memory: slices that several tasks of one fork write to, each its own part, and
//! zeros that may not be had.

use std::alloc::{self, Layout};
use std::marker::PhantomData;
use std::ptr;

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

/// Numbers and arrays of numbers for which all bits zero is a value.
///
/// # Safety
/// Every bit pattern of zeros must be a valid value of the type.
pub(crate) unsafe trait Zeroable: Copy {}

// SAFETY: zero bits are 0.
unsafe impl Zeroable for u16 {}
// SAFETY: zero bits are 0.
unsafe impl Zeroable for i8 {}
// SAFETY: zero bits are 0.0.
unsafe impl Zeroable for f32 {}
// SAFETY: each element is zero bits.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}

/// `len` zeros, or `None` if there is no memory for them. Pages that are never
/// written take no memory (unlike with `Vec::try_reserve` and `resize`).
pub(crate) fn zeroed<T: Zeroable>(len: usize) -> Option<Vec<T>> {
    if len == 0 {
        return Some(Vec::new());
    }
    let layout = Layout::array::<T>(len).ok()?;
    assert!(layout.size() > 0, "elements have a size");
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        return None;
    }
    let array = ptr::slice_from_raw_parts_mut(memory.cast::<T>(), len);
    // SAFETY: allocated by the global allocator with the layout of `len` elements,
    // all of them initialised: zero bits are a value.
    Some(unsafe { Box::from_raw(array) }.into_vec())
}
