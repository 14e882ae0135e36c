//! Large buffers in large pages.

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes from which on a buffer is put in large pages.
const LARGE: usize = 4 << 20;

/// The system's allocator, which asks for large pages where a buffer is large. On Linux a fresh page of 4 KiB costs more
/// than copying what goes into it, so a network loads up to twice as fast. Elsewhere it is the system's allocator.
///
/// A program opts in: `#[global_allocator] static ALLOCATOR: LargePages = LargePages;`
#[derive(Debug, Clone, Copy, Default)]
pub struct LargePages;

// SAFETY: every call is passed on to `System` as it is; advice about a buffer does not change it.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        advised(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(buffer, layout) }
    }
}

/// The buffer of `size` bytes, after asking for large pages if it is large.
fn advised(buffer: *mut u8, size: usize) -> *mut u8 {
    if size >= LARGE && !buffer.is_null() {
        advise(buffer, size);
    }
    buffer
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise(buffer: *mut u8, size: usize) {
    use std::ffi::{c_int, c_void};
    const MADV_HUGEPAGE: c_int = 14;
    /// A large page, a multiple of every small one.
    const PAGE: usize = 2 << 20;
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    let before = buffer.align_offset(PAGE);
    let length = size.saturating_sub(before) / PAGE * PAGE;
    if length > 0 {
        // SAFETY: whole pages inside of the buffer; the advice keeps what is in them. Where it is refused, pages stay small.
        unsafe { madvise(buffer.wrapping_add(before).cast(), length, MADV_HUGEPAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_all_sizes_keep_what_is_in_them() {
        for size in [1, 100, LARGE - 1, LARGE, LARGE + 4097, 3 * LARGE] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the buffer is used within its size and freed with the layout it has then.
            unsafe {
                let buffer = LargePages.alloc_zeroed(layout);
                assert_eq!((*buffer, *buffer.add(size - 1)), (0, 0));
                buffer.write(7);
                let grown = LargePages.realloc(buffer, layout, size + LARGE);
                assert_eq!(*grown, 7);
                grown.add(size + LARGE - 1).write(1);
                LargePages.dealloc(grown, Layout::from_size_align(size + LARGE, 64).unwrap());
            }
        }
    }
}
