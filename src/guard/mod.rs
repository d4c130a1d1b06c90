//! The gate `guard-sample`: now and then a small block lies between two guard pages, and a program
//! that misuses it is told what it did, with the stacks that made and freed the block.
//!
//! After GWP-ASan (Serebryany et al., 2023): of many processes in production, one will sample the
//! block that a rare mistake is about. Which allocations are sampled costs the fast path nothing:
//! one refill in `HAKMEM_GUARD_SAMPLE` (on average, at random) hands out a guarded block instead of
//! filling the magazine. So the share of allocations depends on how many blocks a refill brings: with
//! the default of 1,024 refills and batches of 16 to 2,048 blocks it is one in 16,000 to one in two million,
//! and a loop that frees and allocates the same few blocks is never sampled.
//!
//! | mistake with a guarded block | noticed |
//! |---|---|
//! | use after free (until the slot is used again, after all others) | at once |
//! | double free, free of the middle | at once |
//! | overflow of a block at the right end of its page, by a byte beyond its class | at once |
//! | underflow of a block at the left end | at once |
//! | overflow within the class's block; an access beyond the guard page | never |
//!
//! Sampled are classes up to a page. The slots are bounded ([`pool::SLOTS`]); while all are in use,
//! none is sampled. A program that installs its own handler of SIGSEGV later gets no report, but the
//! fault. Without the gate all of this is empty.

mod countdown;
mod pool;
mod report;

pub(crate) use countdown::{Countdown, PERIOD};
pub(crate) use pool::{
    Usage, allocate, fork_acquire, fork_release, free, owns, try_usage, usable_size, usage,
};

/// Whether the gate is on.
pub(crate) const ON: bool = cfg!(feature = "guard-sample");

/// Before `main`: loads what stacks need, while that is safe.
pub(crate) fn prepare() {
    if ON && PERIOD.load(crate::base::sync::Ordering::Relaxed) != 0 {
        pool::prepare();
    }
}
