//! Storage for the heap's own structures: slab descriptors, magazines, heaps, tables.
//!
//! A bump allocator over mappings of its own, with a free list per size; metadata is never
//! adjacent to a user's block. Assumes sizes are remembered by the caller. Promises 64-byte
//! alignment; memory straight from a mapping is zero, recycled memory is not.

use super::guarded;
use crate::os::{self, lock::Lock};
use core::ptr::{self, NonNull};

const LINE: usize = 64;
const SMALL: usize = 4096;
const SMALL_LISTS: usize = SMALL / LINE;
const LARGE_LISTS: usize = 8;
const CHUNK: usize = if cfg!(miri) { 1 << 16 } else { 1 << 20 };
/// Above this size a request is a mapping of its own.
const LARGEST: usize = SMALL << LARGE_LISTS;

struct FreeNode {
    next: *mut FreeNode,
}

struct Meta {
    cursor: *mut u8,
    left: usize,
    free: [*mut FreeNode; SMALL_LISTS + LARGE_LISTS],
    mapped: usize,
}

static META: Lock<Meta> = Lock::new(Meta {
    cursor: ptr::null_mut(),
    left: 0,
    free: [ptr::null_mut(); SMALL_LISTS + LARGE_LISTS],
    mapped: 0,
});

/// The size really set aside for `bytes`, and its list.
const fn class(bytes: usize) -> (usize, usize) {
    if bytes <= SMALL {
        let lines = if bytes == 0 { 1 } else { bytes.div_ceil(LINE) };
        (lines * LINE, lines - 1)
    } else {
        let size = bytes.next_power_of_two();
        (size, SMALL_LISTS + (size / SMALL).ilog2() as usize - 1)
    }
}

/// Metadata of `bytes` bytes. `zeroed`: whether the caller needs it zeroed.
pub(crate) fn alloc(bytes: usize, zeroed: bool) -> Option<NonNull<u8>> {
    if bytes > LARGEST {
        let size = crate::base::align_up(bytes, os::PAGE)?;
        let at = guarded::map(size, os::PAGE)?;
        META.lock().mapped += size;
        return Some(at);
    }
    let (size, list) = class(bytes);
    let mut meta = META.lock();
    let head = meta.free.get_mut(list)?;
    if let Some(node) = NonNull::new(*head) {
        // SAFETY: nodes on a list are ours and initialised by `free`.
        *head = unsafe { (*node.as_ptr()).next };
        drop(meta);
        let at: NonNull<u8> = node.cast();
        if zeroed {
            // SAFETY: a node on this list is `size` bytes long and nobody else's.
            unsafe { at.as_ptr().write_bytes(0, size) };
        }
        return Some(at);
    }
    if meta.left < size {
        // The rest of the old chunk is left: less than one request, never touched.
        let length = if size > CHUNK / 4 { size + CHUNK } else { CHUNK };
        let chunk = guarded::map(length, os::PAGE)?;
        meta.cursor = chunk.as_ptr();
        meta.left = length;
        meta.mapped += length;
    }
    let at = meta.cursor;
    // SAFETY: `left >= size` bytes follow the cursor in its chunk.
    meta.cursor = unsafe { at.add(size) };
    meta.left -= size;
    NonNull::new(at)
}

/// Takes metadata back; `bytes` as given to `alloc`.
///
/// # Safety
/// `at` came from `alloc(bytes, _)`, is given back once, and nobody refers to it any more.
pub(crate) unsafe fn free(at: NonNull<u8>, bytes: usize) {
    if bytes > LARGEST {
        let size = crate::base::align_down(bytes + os::PAGE - 1, os::PAGE);
        guarded::unmap(at.as_ptr(), size);
        META.lock().mapped -= size;
        return;
    }
    let (_, list) = class(bytes);
    let mut meta = META.lock();
    let node: *mut FreeNode = at.as_ptr().cast();
    if let Some(head) = meta.free.get_mut(list) {
        // SAFETY: the memory is ours again, aligned to 64 and at least 64 bytes long.
        unsafe { node.write(FreeNode { next: *head }) };
        *head = node;
    }
}

/// Bytes mapped for metadata (not all of them touched).
pub(crate) fn mapped_bytes() -> usize {
    META.lock().mapped
}

/// The same, unless the lock is taken.
pub(crate) fn try_mapped_bytes() -> Option<usize> {
    Some(META.try_lock()?.mapped)
}

// SAFETY: the raw pointers are to memory that only the lock's holder touches.
unsafe impl Send for Meta {}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    META.acquire();
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { META.reset() } else { META.release() } }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    #[test]
    fn recycles_by_size_and_zeroes_on_request() {
        // A size that no other test or structure asks for.
        let bytes = 3 * 1024 + 7 * 64;
        let first = alloc(bytes, true).unwrap();
        unsafe { first.as_ptr().write_bytes(0xAA, bytes) };
        unsafe { free(first, bytes) };
        let second = alloc(bytes, true).unwrap();
        assert_eq!(first, second);
        let content = unsafe { core::slice::from_raw_parts(second.as_ptr(), bytes) };
        assert!(content.iter().all(|&byte| byte == 0));
        unsafe { free(second, bytes) };
    }

    #[test]
    fn classes_fit() {
        for bytes in [1, 64, 65, 4096, 4097, 8192, 100_000, LARGEST] {
            let (size, list) = class(bytes);
            assert!(size >= bytes && list < SMALL_LISTS + LARGE_LISTS);
        }
    }

    #[test]
    fn large_metadata_is_a_mapping() {
        let bytes = LARGEST + 1;
        let at = alloc(bytes, true).unwrap();
        unsafe { at.as_ptr().add(bytes - 1).write(1) };
        unsafe { free(at, bytes) };
    }
}
