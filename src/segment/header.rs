//! The header byte: the class of a block in the byte before it, as another way to find it at a free
//! (gate `tiny-header`; the default asks the map of addresses).
//!
//! The byte is the last one of the slot before the block, which the program is not given
//! (`class::RESERVED`): a block of 64 bytes holds 63, and a request of 64 gets one of 80. So blocks stay
//! where they are without the gate, and keep their alignment. Eight-byte blocks would be left with
//! seven, and serve nobody.
//!
//! | byte | the block |
//! |---|---|
//! | `0xC0 + class` | is tiny and of that class: a free believes it |
//! | `0xC0` | is of the mid tier: a free asks the map of addresses |
//! | anything else | has had its byte overwritten: the map is asked, and the byte put right |
//!
//! Mid blocks need one because otherwise the last byte of one could pass for a header of the next.
//! What begins a page has none, and a free asks the map: null, large blocks, sampled ones at the left
//! end of their page, the first block of a slab (before which lies another run's memory) and, with
//! them, any other block that happens to. So the byte lies on the page that the block begins on: that
//! page is there as long as the block is in use, and only as long (`headers_lost`).
//!
//! A byte is written when its block is carved, and again when pages of the slab have gone back to the
//! system since. Only who has a block writes or reads its byte.
//!
//! A byte that names another tiny class than the slab's is believed, as long as the gate
//! `hdr-meta-fast` does not compare: the block lies in another class's cache then, and may be handed
//! out as one of that class. When it comes home, the slab is asked (see [`misled`]).
//!
//! What is freed is read before anything is known of it: a wild pointer faults, where the default says
//! what is wrong with it. To ask the map of addresses first would be the default's free with a second
//! look behind it: what this gate is there to try is a free without the map.

use super::registry;
use crate::class::FIRST_MID;
use crate::os::PAGE;
use crate::telemetry::header::COMPARED;
use crate::telemetry::tally::COMMON;

#[cfg(all(feature = "tiny-header", feature = "hardened"))]
compile_error!(
    "`tiny-header` and `hardened` do not go together: a hardened free must not believe a byte that the \
     program can overwrite, and the end of a block is its canary's; turn one of them off"
);

/// What a header begins with: its two highest bits.
const MAGIC: u8 = 0xC0;

// The classes of the tiny tier fit into the other six.
const _: () = assert!(FIRST_MID <= 0x40);

/// The header of a block of `class`.
const fn of(class: usize) -> u8 {
    if class < FIRST_MID { MAGIC + class as u8 } else { MAGIC }
}

/// The tiny class that a header names. One comparison tells magic and range.
#[inline(always)]
fn named(byte: u8) -> Option<usize> {
    let number = byte.wrapping_sub(MAGIC + 1);
    (usize::from(number) < FIRST_MID - 1).then_some(usize::from(number) + 1)
}

/// Whether there is a header before a block at this address, if there is a block.
#[inline(always)]
fn has_one(block: *const u8) -> bool {
    block.addr() & (PAGE - 1) != 0
}

/// # Safety
/// The byte before `block` can be read; `has_one`.
#[inline(always)]
unsafe fn read(block: *const u8) -> u8 {
    // SAFETY: by contract. Volatile: for a pointer nobody should hold it is still one load.
    unsafe { block.wrapping_sub(1).read_volatile() }
}

/// Writes the header of a block of `class`, if it has one.
///
/// # Safety
/// `block` is the start of a block of a slab of that class, and the caller's.
#[inline(always)]
pub(crate) unsafe fn write(block: *mut u8, class: usize) {
    if has_one(block) {
        // SAFETY: not the first block of its slab; the last byte of the slot before it is reserved for
        // this one.
        unsafe { block.wrapping_sub(1).write(of(class)) };
    }
}

/// Writes the headers of `count` blocks of `class`, right below `end`.
///
/// # Safety
/// So many pointers to blocks that are the caller's lie there.
#[inline]
pub(crate) unsafe fn write_all(class: usize, end: *mut *mut u8, count: usize) {
    for at in 1..=count {
        // SAFETY: by contract.
        unsafe { write(*end.sub(at), class) };
    }
}

/// The class of a block that is being freed, 0 for what lies in no slab. `None`: its header is none, or
/// (where that is compared) not its slab's, so [`ask_slab`].
///
/// # Safety
/// `block` is null or a block of this heap in use. (Else the byte before it may not be there.)
#[inline(always)]
pub(crate) unsafe fn class_of(block: *const u8) -> Option<usize> {
    if !has_one(block) {
        return Some(registry::class_at(block));
    }
    // SAFETY: on the page of a block in use.
    let byte = unsafe { read(block) };
    if let Some(class) = named(byte) {
        let right = !COMPARED || registry::class_at(block) == class;
        return right.then_some(class);
    }
    if byte != MAGIC {
        return None;
    }
    let class = registry::class_at(block);
    let right = !COMPARED || class == 0 || class >= FIRST_MID;
    right.then_some(class)
}

/// The class of a block by its slab, where its header has failed: counts that, and puts it right.
///
/// # Safety
/// As for `class_of`, which has given `None`.
#[cold]
#[inline(never)]
pub(crate) unsafe fn ask_slab(block: *mut u8) -> usize {
    let class = registry::class_at(block);
    // SAFETY: a run with a block in use is alive; the memory of a descriptor stays mapped, so that a
    // look at one that is just going is harmless.
    let slab = unsafe { registry::run_of(block).as_ref() };
    if class == 0 {
        // A sampled block, which has none; or no block at all.
        return class;
    }
    // SAFETY: `class_of` has read it.
    let byte = unsafe { read(block) };
    if byte == MAGIC || named(byte).is_some() {
        COMMON.header_compared_false();
    } else {
        COMMON.header_is_none(block, byte, class);
    }
    // An address inside of a block, which will be found out, is the program's.
    if slab.is_some_and(|slab| usize::from(slab.class) == class && slab.index_of(block).is_ok()) {
        // SAFETY: the start of a block of the slab, which the program has given back.
        unsafe { write(block, class) };
    }
    class
}

/// Whether a block that was given back as `class`, which is not its slab's, was because of its header,
/// and not because of a size that the program gave.
///
/// # Safety
/// `block` was given back, and lies in a slab of this heap.
#[cold]
pub(crate) unsafe fn misled(block: *const u8, class: usize) -> bool {
    // SAFETY: what begins no page of a slab has a byte before it.
    has_one(block) && named(unsafe { read(block) }) == Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::COUNT;

    #[test]
    fn a_header_names_tiny_classes_and_nothing_else_does() {
        for class in 1..FIRST_MID {
            assert_eq!(named(of(class)), Some(class));
        }
        assert!((FIRST_MID..COUNT).all(|class| of(class) == MAGIC));
        let headers = (0..=u8::MAX).filter(|&byte| named(byte).is_some()).count();
        assert_eq!(headers, FIRST_MID - 1);
        // What memory most often holds is no header.
        assert!(
            [0, 1, b' ', b'A', b'z', 0x7F, 0x80, 0xAA, 0xFF].map(named).iter().all(|n| n.is_none())
        );
    }

    #[test]
    fn what_begins_a_page_has_none() {
        let at = core::ptr::without_provenance_mut::<u8>;
        assert!(!has_one(at(0)) && !has_one(at(5 * PAGE)) && has_one(at(PAGE + 16)));
        // Nothing is read or written then.
        // SAFETY: no access is made.
        unsafe { write(at(16 * PAGE), 3) };
        // SAFETY: as above.
        assert_eq!(unsafe { class_of(at(0)) }, Some(0));
    }
}
