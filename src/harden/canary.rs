//! The canary of a block: its last eight bytes, which say whether it is in use.
//!
//! | canary | the block |
//! |---|---|
//! | live value | is in use |
//! | dead value | has been freed, and its other bytes are zero |
//! | zero | was never handed out, or its page has gone back to the system since |
//!
//! Both values are keyed hashes of the block's address (the secrets are random, per process), so one
//! that leaks is of no use at another block. The lowest byte of each is zero, and comes first in
//! memory: a string that runs to the end of its block neither shows the canary nor can write it.
//!
//! The state lies in the block, so it costs no further line of cache; that the block is in a bitmap
//! twice is found out of band, at the latest when it comes home. Two threads that free one block
//! within the same few instructions can both pass here: then the block is found to be live when it
//! is handed out for the second time, or in the bitmap when it comes home.

use crate::base::sync::{AtomicU64, Ordering};
use crate::class::{CANARY, Class};
use crate::os;
use crate::segment::slab::Misuse;
use core::mem::size_of;

/// Bytes at the start of a free block that must still be zero when it is handed out again.
const LOOKED_AT: usize = 64;

/// The keys. Zero until armed.
/// Relaxed: written before the first block is handed out, and never again; who frees a block got it
/// through a synchronisation that follows.
static SECRETS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Makes the keys, once.
pub(super) fn arm() {
    for secret in &SECRETS {
        if secret.load(Ordering::Relaxed) == 0 {
            // The first one to come keeps its value. Odd, so never zero.
            let _ =
                secret.compare_exchange(0, os::random() | 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Where a block's canary lies, and what it should be.
pub(super) struct Canary {
    block: *mut u8,
    /// Bytes before the canary.
    usable: usize,
    /// The keyed hash of the address.
    wide: u128,
}

impl Canary {
    /// The canary of a block of this class.
    #[inline(always)]
    pub(super) fn of(block: *mut u8, class: &Class) -> Canary {
        let [first, second] = &SECRETS;
        let keyed = block.addr() as u64 ^ first.load(Ordering::Relaxed);
        let wide = u128::from(keyed) * u128::from(second.load(Ordering::Relaxed));
        Canary { block, usable: class.usable(), wide }
    }

    /// The value of a block in use.
    #[inline(always)]
    fn live(&self) -> u64 {
        ((self.wide >> 64) as u64 ^ self.wide as u64) << 8
    }

    /// The value of a block that has been freed; never zero.
    #[inline(always)]
    fn dead(&self) -> u64 {
        ((self.wide >> 32) as u64 | 1) << 8
    }

    #[inline(always)]
    fn word(&self) -> *mut u64 {
        // A block's size is a multiple of eight, and so is its address.
        self.block.wrapping_add(self.usable).cast()
    }

    /// The block goes to the program.
    ///
    /// # Safety
    /// It is a block of the class, and the caller's.
    #[inline(always)]
    pub(super) unsafe fn hand_out(&self) -> Result<(), Misuse> {
        // SAFETY: by contract the canary and the bytes before it are ours.
        unsafe {
            let word = self.word().read();
            if word != 0 && word != self.dead() {
                return Err(if word == self.live() {
                    Misuse::DoubleFree
                } else {
                    Misuse::WrittenFree
                });
            }
            let words = self.usable.min(LOOKED_AT) / size_of::<u64>();
            let mut written = 0;
            for index in 0..words {
                written |= self.block.cast::<u64>().add(index).read();
            }
            if written != 0 {
                return Err(Misuse::WrittenFree);
            }
            self.word().write(self.live());
        }
        Ok(())
    }

    /// The program gives the block back: it is emptied.
    ///
    /// # Safety
    /// The address is that of a block of the class; the program uses it no more.
    #[inline(always)]
    pub(super) unsafe fn take_back(&self) -> Result<(), Misuse> {
        // SAFETY: by contract the canary and the bytes before it are ours.
        unsafe {
            let word = self.word().read();
            if word != self.live() {
                return Err(match word {
                    0 => Misuse::NotInUse,
                    word if word == self.dead() => Misuse::DoubleFree,
                    _ => Misuse::Overflow,
                });
            }
            self.block.write_bytes(0, self.usable);
            self.word().write(self.dead());
        }
        Ok(())
    }
}

const _: () = assert!(CANARY == 0 || CANARY == size_of::<u64>());
