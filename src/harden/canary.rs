//! The two marks of a block, which say where it ends and whether it is in use.
//!
//! | where | what | means |
//! |---|---|---|
//! | the last 8 bytes, the *canary* | hash of the address | a block of this class begins here; nobody wrote behind it |
//! | | zero | it has never been brought out of its slab, or its page has gone back since |
//! | bytes 8 to 15, the *mark* | another hash of the address | is free: nobody wrote to it |
//! | | zero | its page is fresh; of a block in use: anything but the mark |
//!
//! The canary is written once, when the block leaves its slab ([`prepare`]), and read at every free; the
//! mark comes at the free and goes when the block is handed out. So `malloc` touches the first 16 bytes
//! alone, and `free` writes nothing to the end of the block: both would be a further line of cache.
//!
//! The secrets of the hashes are random, per process, so one that leaks is of no use at another block.
//! The lowest byte of the canary is zero, and comes first in memory: a string that runs to the end of its
//! block neither shows it nor can write it. It proves the address, too: at the end of anything but a
//! block of this very class there is the hash of that address with a chance of one in 2^56.
//!
//! That a block is free twice although somebody overwrote its mark in between is found when it is
//! handed out for the second time, or in the bitmap of its slab. So are two threads that free one block
//! within the same few instructions.
//!
//! What is freed is emptied: a block of at most [`EMPTIED`] bytes whole, of a longer one the first 16.

use crate::base::sync::{AtomicU32, AtomicU64, Ordering};
use crate::class::CANARY;
use crate::os;
use crate::segment::slab::Misuse;

/// The keys. Zero until armed.
/// Acquire and Release: every thread arms before it has a heap, and so sees what it reads plainly then;
/// who has no heap got the block that it frees through a synchronisation that follows.
static SECRETS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Bytes of the longest block that is emptied whole when it is freed.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static EMPTIED: AtomicU32 = AtomicU32::new(SHORT as u32);
/// What is emptied without a call, if it is.
pub(crate) const SHORT: usize = 72;

/// Makes the keys, once.
pub(super) fn arm() {
    let keys = [os::random() | 1, spreading(os::random())];
    for (secret, key) in SECRETS.iter().zip(keys) {
        if secret.load(Ordering::Acquire) == 0 {
            // The first one to come keeps its value. Odd, so never zero.
            let _ = secret.compare_exchange(0, key, Ordering::Release, Ordering::Acquire);
        }
    }
}

/// An odd factor, of which all but eight bits are `random`: with those, the products of numbers 16 apart
/// lie about the golden section of 2^64 apart, so that the blocks of a slab spread over [`Marks::number`].
/// One factor in some hundreds does not spread them.
fn spreading(random: u64) -> u64 {
    const SECTION: u64 = 0x9E << 52;
    random & !(0xFF << 52) | SECTION | 1
}

/// What marks a block: the keyed hash of its address.
#[derive(Clone, Copy)]
pub(crate) struct Marks(u128);

impl Marks {
    /// Of a block that has none.
    pub(super) const NONE: Marks = Marks(0);

    #[inline(always)]
    pub(super) fn of(block: *const u8) -> Marks {
        // Plain: an atomic read would not fold with what is done with it.
        // SAFETY: valid words, written before the caller had a block, and never again.
        let [first, second] = unsafe { [SECRETS[0].as_ptr().read(), SECRETS[1].as_ptr().read()] };
        Marks(u128::from(block.addr() as u64 ^ first) * u128::from(second))
    }

    #[inline(always)]
    fn canary(self) -> u64 {
        ((self.0 >> 64) as u64 ^ self.0 as u64) << 8
    }

    /// The other way round, so that neither is known from the other.
    #[inline(always)]
    fn free(self) -> u64 {
        (self.0 >> 64) as u64 ^ (self.0 as u64).rotate_left(32)
    }

    /// A number whose upper bits differ from block to block, and nobody knows.
    #[inline(always)]
    pub(super) fn number(self) -> u64 {
        self.0 as u64
    }

    /// The first 16 bytes of a block that is free.
    #[inline(always)]
    fn head(self) -> [u64; 2] {
        [0, self.free()]
    }
}

/// The first 16 bytes of a block.
#[inline(always)]
fn head(block: *mut u8) -> *mut [u64; 2] {
    block.cast()
}

/// The canary of a block whose program has `usable` bytes.
#[inline(always)]
fn canary(block: *mut u8, usable: usize) -> *mut u64 {
    block.wrapping_add(usable).cast()
}

/// The block goes to the program. False: it is not as the heap left it, and nothing is done.
///
/// # Safety
/// It is a free block that has been prepared, and the caller's.
#[inline(always)]
pub(super) unsafe fn hand_out(block: *mut u8) -> bool {
    let marks = Marks::of(block);
    // SAFETY: by contract.
    unsafe {
        let [zero, mark] = head(block).read();
        if mark != marks.free() || zero != 0 {
            return false;
        }
        (*head(block))[1] = 0;
    }
    true
}

/// The marks of a block that is in use; `None`: there is none.
///
/// # Safety
/// As many bytes can be read, and the canary behind them.
#[inline(always)]
pub(super) unsafe fn in_use(block: *mut u8, usable: usize) -> Option<Marks> {
    let marks = Marks::of(block);
    // SAFETY: by contract; unaligned, as the address need not be that of a block.
    let (ours, free) = unsafe {
        let ours = canary(block, usable).read_unaligned() == marks.canary();
        (ours, head(block).cast::<u64>().add(1).read_unaligned() == marks.free())
    };
    (ours && !free).then_some(marks)
}

/// What is wrong with a block that is not in use.
///
/// # Safety
/// It is a block with so many bytes.
pub(super) unsafe fn why_not_in_use(block: *mut u8, usable: usize) -> Misuse {
    // SAFETY: by contract.
    match unsafe { canary(block, usable).read() } {
        0 => Misuse::NotInUse,
        word if word == Marks::of(block).canary() => Misuse::DoubleFree,
        _ => Misuse::Overflow,
    }
}

/// Empties a block of at most [`SHORT`] bytes.
///
/// # Safety
/// It is a block with so many bytes, and the caller's.
#[inline(always)]
pub(super) unsafe fn empty_short(block: *mut u8, usable: usize) {
    let zero = |offset: usize| {
        // SAFETY: callers stay within the block.
        unsafe { block.wrapping_add(offset).cast::<[u64; 2]>().write_unaligned([0; 2]) }
    };
    // 24, 40, 56 or 72 bytes; the first 16 are written by `mark`.
    zero(8);
    zero(usable - 16);
    if usable > 40 {
        zero(16);
        zero(usable - 32);
        zero(usable - 48);
    }
}

/// The program gives the block back: marks it as free.
///
/// # Safety
/// It is a block in use, and these are its marks; the program uses it no more.
#[inline(always)]
pub(super) unsafe fn mark(block: *mut u8, marks: Marks) {
    // SAFETY: by contract the whole block is ours.
    unsafe { head(block).write(marks.head()) };
}

/// A block leaves its slab: puts its canary and its mark there, or finds them.
///
/// # Safety
/// It is a free block with so many bytes, and the caller's.
#[inline]
pub(super) unsafe fn prepare(block: *mut u8, usable: usize) -> Result<(), Misuse> {
    let marks = Marks::of(block);
    // SAFETY: by contract the whole block is ours.
    unsafe {
        let [zero, mark] = head(block).read();
        let word = canary(block, usable).read();
        // A page that has gone back to the system since reads as zero.
        let untouched = zero == 0 && (mark == 0 || mark == marks.free());
        if !untouched || (word != 0 && word != marks.canary()) {
            return Err(Misuse::WrittenFree);
        }
        head(block).write(marks.head());
        canary(block, usable).write(marks.canary());
    }
    Ok(())
}

const _: () = assert!(CANARY == 0 || CANARY == size_of::<u64>());

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;
    use std::boxed::Box;

    /// A block of 24, 40, ... bytes and its canary, fresh.
    #[repr(align(16))]
    struct Block([u64; 12]);

    fn block(run: impl Fn(*mut u8, usize)) {
        arm();
        for usable in [24, 40, 56, 72, 88] {
            let mut memory = Box::new(Block([0; 12]));
            run(memory.0.as_mut_ptr().cast(), usable);
        }
    }

    #[test]
    fn a_block_goes_out_and_comes_back() {
        block(|at, usable| unsafe {
            assert_eq!(prepare(at, usable), Ok(()));
            assert!(in_use(at, usable).is_none(), "it is free");
            assert!(hand_out(at));
            assert_eq!(head(at).read(), [0, 0], "nothing of ours is left to the program");
            at.write_bytes(0x41, usable);
            let marks = in_use(at, usable).expect("in use");
            if usable <= SHORT {
                empty_short(at, usable);
            }
            mark(at, marks);
            assert_eq!(why_not_in_use(at, usable), Misuse::DoubleFree);
            let left = (0..usable).filter(|&byte| at.add(byte).read() == 0x41).count();
            // Eight bytes of the mark may be anything.
            assert!(if usable <= SHORT { left <= 8 } else { left >= usable - 24 }, "{left}");
            assert_eq!(prepare(at, usable), Ok(()), "again from its slab");
            assert!(hand_out(at));
        });
    }

    #[test]
    fn a_write_to_a_free_block_is_seen() {
        block(|at, usable| unsafe {
            for byte in 0..16 {
                prepare(at, usable).unwrap();
                let before = at.add(byte).read();
                at.add(byte).write(before ^ 0x10);
                assert!(!hand_out(at), "{byte}");
                assert_eq!(prepare(at, usable), Err(Misuse::WrittenFree));
                at.add(byte).write(before);
            }
            let canary = at.add(usable + 7);
            canary.write(canary.read() ^ 0x10);
            assert_eq!(prepare(at, usable), Err(Misuse::WrittenFree));
        });
    }

    #[test]
    fn pages_that_have_gone_are_no_misuse() {
        block(|at, usable| unsafe {
            for (from, count) in [(0, 16), (usable, 8), (0, usable + 8)] {
                prepare(at, usable).unwrap();
                at.add(from).write_bytes(0, count);
                assert_eq!(prepare(at, usable), Ok(()));
                assert!(hand_out(at));
                assert!(in_use(at, usable).is_some());
                mark(at, Marks::of(at));
            }
        });
    }

    #[test]
    fn a_canary_begins_with_zero_and_belongs_to_its_address() {
        arm();
        let at = |n: usize| core::ptr::without_provenance_mut::<u8>(n << 4);
        let distinct: std::collections::BTreeSet<u64> =
            (1..1000).flat_map(|n| [Marks::of(at(n)).canary(), Marks::of(at(n)).free()]).collect();
        assert_eq!(distinct.len(), 2 * 999);
        assert!((1..1000).all(|n| Marks::of(at(n)).canary() & 0xFF == 0));
        // The upper bits choose places: all of them, from blocks side by side.
        let places: std::collections::BTreeSet<u64> =
            (1..1000).map(|n| Marks::of(at(n)).number() >> 61).collect();
        assert_eq!(places.len(), 8);
    }

    #[test]
    fn every_factor_spreads_blocks_side_by_side() {
        let few = [0, u64::MAX, 1 << 60, (1 << 52) - 1];
        let more = if cfg!(miri) { 4 } else { 1000 };
        for random in few.into_iter().chain((0..more).map(|_| os::random())) {
            let factor = spreading(random);
            assert_eq!(factor & 1, 1);
            let mut places = [0; 8];
            for n in 0..64_u64 {
                places[((n << 4).wrapping_mul(factor) >> 61) as usize] += 1;
            }
            // 8 would be each one's share.
            assert!(
                places.iter().all(|&count| (5..=11).contains(&count)),
                "{random:#x}: {places:?}"
            );
        }
    }
}
