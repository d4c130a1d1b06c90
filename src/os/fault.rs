//! Refusals on purpose: gate `fault-injection`.
//!
//! The functions of the contract that can fail ask [`refused`] before they ask the system, and answer
//! as if it had said no. Nothing is counted or refused until a test makes a [`Plan`]. Without the gate
//! `refused` is the constant `false`.
//!
//! Assumes one test at a time. A call under way while a plan is made may be judged by parts of two.

use crate::base::sync::{AtomicU32, AtomicU64, Ordering};

/// Whether this build can refuse.
pub(crate) const ON: bool = cfg!(feature = "fault-injection");

/// What is asked of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Memory or address space (`mmap`).
    Map,
    /// To take it back (`munmap`).
    Unmap,
    /// To change a mapping's size (`mremap`).
    Remap,
    /// To let a reservation be touched (`mprotect`).
    Protect,
    /// To take pages back (`madvise`).
    Discard,
    /// Huge pages, or none (`madvise`).
    AdviseHuge,
    /// Sleep (`futex`): refused, it ends at once, as after a signal.
    Wait,
    /// The time: refused, it is 0.
    Clock,
    /// A thread (`pthread_create`).
    Thread,
    /// A barrier in every thread (`membarrier`).
    Barrier,
    /// Word of the end of threads (`pthread_key_create`).
    ThreadKey,
    /// Word of the end of this one (`pthread_setspecific`).
    BindThread,
    /// Word of the end of the process (`atexit`).
    OnExit,
    /// Resident memory (`/proc/self/statm`).
    Resident,
    /// The limit of address space (`getrlimit`).
    AddressLimit,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 15] = [
        Kind::Map,
        Kind::Unmap,
        Kind::Remap,
        Kind::Protect,
        Kind::Discard,
        Kind::AdviseHuge,
        Kind::Wait,
        Kind::Clock,
        Kind::Thread,
        Kind::Barrier,
        Kind::ThreadKey,
        Kind::BindThread,
        Kind::OnExit,
        Kind::Resident,
        Kind::AddressLimit,
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which calls are refused. Calls are numbered from 1 on, from when the plan was made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bits of the kinds that are numbered and refused.
    kinds: u32,
    first: u64,
    last: u64,
    /// One call in so many, at random, if not 0.
    odds: u64,
    seed: u64,
}

impl Plan {
    const fn between(first: u64, last: u64) -> Self {
        Plan { kinds: u32::MAX, first, last, odds: 0, seed: 0 }
    }

    /// None: the calls are counted only.
    #[must_use]
    pub const fn none() -> Self {
        Plan::between(0, 0)
    }

    /// The `n`-th call alone.
    #[must_use]
    pub const fn nth(n: u64) -> Self {
        Plan::between(n, n)
    }

    /// The `n`-th call and all that follow.
    #[must_use]
    pub const fn from(n: u64) -> Self {
        Plan::between(n, u64::MAX)
    }

    /// One call in `odds`, chosen by `seed` and the call's number.
    #[must_use]
    pub const fn at_random(seed: u64, odds: u64) -> Self {
        Plan { odds, seed, ..Plan::none() }
    }

    /// Only calls of this kind are numbered and refused.
    #[must_use]
    pub const fn only(self, kind: Kind) -> Self {
        Plan { kinds: kind.bit(), ..self }
    }
}

/// Bits of the kinds that the plan is about; 0: there is none.
/// Relaxed: a test's plan; a call that does not see it yet counts as made before it.
static KINDS: AtomicU32 = AtomicU32::new(0);
/// The first number that is refused.
/// Relaxed: a test's plan, part by part; a call under way may see parts of two.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// The last number that is refused.
/// Relaxed: a test's plan, part by part; a call under way may see parts of two.
static LAST: AtomicU64 = AtomicU64::new(0);
/// One call in so many is refused, if not 0.
/// Relaxed: a test's plan, part by part; a call under way may see parts of two.
static ODDS: AtomicU64 = AtomicU64::new(0);
/// Which ones.
/// Relaxed: a test's plan, part by part; a call under way may see parts of two.
static SEED: AtomicU64 = AtomicU64::new(0);
/// Calls numbered since the plan was made.
/// Relaxed: each call takes a number of its own; nothing is read on it.
static NUMBERED: AtomicU64 = AtomicU64::new(0);

/// Whether a call of this kind is to be refused.
#[inline(always)]
pub(crate) fn refused(kind: Kind) -> bool {
    ON && judge(kind)
}

fn judge(kind: Kind) -> bool {
    if KINDS.load(Ordering::Relaxed) & kind.bit() == 0 {
        return false;
    }
    let number = NUMBERED.fetch_add(1, Ordering::Relaxed) + 1;
    match ODDS.load(Ordering::Relaxed) {
        0 => number >= FIRST.load(Ordering::Relaxed) && number <= LAST.load(Ordering::Relaxed),
        odds => mixed(SEED.load(Ordering::Relaxed), number).is_multiple_of(odds),
    }
}

/// A number that looks random and depends on both (the finaliser of SplitMix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let z = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Makes a plan, or ends the one there is.
pub(crate) fn plan(plan: Option<Plan>) {
    if !ON {
        return;
    }
    KINDS.store(0, Ordering::Relaxed);
    NUMBERED.store(0, Ordering::Relaxed);
    if let Some(plan) = plan {
        FIRST.store(plan.first, Ordering::Relaxed);
        LAST.store(plan.last, Ordering::Relaxed);
        ODDS.store(plan.odds, Ordering::Relaxed);
        SEED.store(plan.seed, Ordering::Relaxed);
        KINDS.store(plan.kinds, Ordering::Relaxed);
    }
}

/// Calls numbered since the plan was made.
pub(crate) fn calls() -> u64 {
    if ON { NUMBERED.load(Ordering::Relaxed) } else { 0 }
}
