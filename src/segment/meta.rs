//! Storage for the heap's own structures: slab descriptors, magazines, heaps, tables.
//!
//! A bump allocator over mappings of its own, with a free list per size; metadata is never
//! adjacent to a user's block. While the system gives memory, what served one size serves that size
//! again; once it refuses, storage of a larger size that lies free is cut.
//!
//! Assumes sizes are remembered by the caller. Promises 64-byte alignment; memory straight from a
//! mapping is zero, recycled memory is not.

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

static META: Lock<Meta> = Lock::new(Meta::new());

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

/// The size of what lies on a list.
const fn size_on(list: usize) -> usize {
    if list < SMALL_LISTS { (list + 1) * LINE } else { SMALL << (list - SMALL_LISTS + 1) }
}

/// The longest piece of `bytes` bytes, a multiple of a line, that some list takes as it is.
const fn largest_piece(bytes: usize) -> usize {
    if bytes <= SMALL { bytes } else { 1 << bytes.ilog2() }
}

impl Meta {
    const fn new() -> Self {
        Meta {
            cursor: ptr::null_mut(),
            left: 0,
            free: [ptr::null_mut(); SMALL_LISTS + LARGE_LISTS],
            mapped: 0,
        }
    }

    /// Takes what was put on a list last, if anything is there.
    fn pop(&mut self, list: usize) -> Option<NonNull<u8>> {
        let head = self.free.get_mut(list)?;
        let node = NonNull::new(*head)?;
        // SAFETY: nodes on a list are ours and initialised by `push`.
        *head = unsafe { (*node.as_ptr()).next };
        Some(node.cast())
    }

    /// Puts storage on the list of its size.
    ///
    /// # Safety
    /// The storage is ours, aligned to a line, of the list's size, and nobody refers to it.
    unsafe fn push(&mut self, at: NonNull<u8>, list: usize) {
        let node: *mut FreeNode = at.as_ptr().cast();
        if let Some(head) = self.free.get_mut(list) {
            // SAFETY: the memory is ours by contract, aligned to 64 and at least 64 bytes long.
            unsafe { node.write(FreeNode { next: *head }) };
            *head = node;
        }
    }

    /// Makes room for `size` bytes at the cursor. False: the system refused, and nothing has changed.
    fn begin_chunk(&mut self, size: usize) -> bool {
        // The rest of the old chunk is left: less than one request, never touched.
        let length = if size > CHUNK / 4 { size + CHUNK } else { CHUNK };
        let Some(chunk) = guarded::map(length, os::PAGE) else { return false };
        self.cursor = chunk.as_ptr();
        self.left = length;
        self.mapped += length;
        true
    }

    /// Cuts storage for `list` off the smallest larger one that lies free; the rest of that goes to
    /// the lists of its parts. For when the system has no more: a process at its limit that has freed
    /// blocks of one size can have blocks of another.
    #[cold]
    fn cut(&mut self, list: usize) -> Option<NonNull<u8>> {
        let larger = (list + 1..self.free.len())
            .find(|&larger| self.free.get(larger).is_some_and(|head| !head.is_null()))?;
        let whole = self.pop(larger)?;
        let (mut at, end) = (size_on(list), size_on(larger));
        while at < end {
            let piece = largest_piece(end - at);
            // SAFETY: the piece lies in the storage just taken, behind what the caller gets; all
            // sizes are multiples of a line.
            unsafe { self.push(whole.add(at), class(piece).1) };
            at += piece;
        }
        Some(whole)
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
    let recycled = match meta.pop(list) {
        None if meta.left < size && !meta.begin_chunk(size) => Some(meta.cut(list)?),
        found => found,
    };
    if let Some(at) = recycled {
        drop(meta);
        if zeroed {
            // SAFETY: what was on a list or cut for it is `size` bytes long and nobody else's.
            unsafe { at.as_ptr().write_bytes(0, size) };
        }
        return Some(at);
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
    // SAFETY: ours again by contract, set aside by `alloc` with this list's size.
    unsafe { META.lock().push(at, list) };
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
            assert_eq!(size_on(list), size);
            assert!(largest_piece(size) == size && largest_piece(size + LINE) >= size);
        }
    }

    #[test]
    fn without_a_chunk_larger_storage_is_cut_and_none_of_it_lost() {
        const WHOLE: usize = 4 * SMALL;
        let storage = alloc(WHOLE, false).unwrap();
        let mut meta = Meta::new();
        unsafe { meta.push(storage, class(WHOLE).1) };
        let mut take = |bytes: usize| {
            let (size, list) = class(bytes);
            let at = meta.pop(list).or_else(|| meta.cut(list))?;
            // Nothing else lies there, or the next one would find its links overwritten.
            unsafe { at.as_ptr().write_bytes(0xFF, size) };
            Some((at.as_ptr().addr() - storage.as_ptr().addr(), size))
        };
        assert_eq!(take(2 * WHOLE), None, "larger than all there is");
        let sizes = [1152, 320, 64, SMALL + 1, 1, 3000].into_iter().chain([LINE; WHOLE / LINE]);
        let mut got: std::vec::Vec<_> = sizes.map_while(&mut take).collect();
        assert_eq!(take(1), None, "there is no more");
        // Side by side they are the whole again.
        got.sort();
        let end = got.into_iter().fold(0, |end, (at, size)| {
            assert_eq!(at, end);
            at + size
        });
        assert_eq!(end, WHOLE);
        unsafe { free(storage, WHOLE) };
    }

    #[test]
    fn large_metadata_is_a_mapping() {
        let bytes = LARGEST + 1;
        let at = alloc(bytes, true).unwrap();
        unsafe { at.as_ptr().add(bytes - 1).write(1) };
        unsafe { free(at, bytes) };
    }
}
