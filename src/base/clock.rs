//! A clock for measurements: the processor's, read in a few cycles. Its unit is the processor's own.

/// The clock's time. Promises nothing between two processors.
#[inline]
pub(crate) fn cycles() -> u64 {
    imp::cycles()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod imp {
    pub(super) fn cycles() -> u64 {
        // SAFETY: every x86-64 processor has the time-stamp counter.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod imp {
    pub(super) fn cycles() -> u64 {
        let now: u64;
        // SAFETY: user programs may read the virtual counter; nothing else happens.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) now, options(nomem, nostack)) };
        now
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod imp {
    use crate::base::sync::{AtomicU64, Ordering};

    /// Looks at the clock. Relaxed: looks of two threads may take the same time.
    static LOOKS: AtomicU64 = AtomicU64::new(1);

    pub(super) fn cycles() -> u64 {
        let now = LOOKS.load(Ordering::Relaxed);
        LOOKS.store(now + 1, Ordering::Relaxed);
        now
    }
}
