//! Blocks that come home from threads that do not own the slab, without a lock.
//!
//! **Remote protocol.** A thread that gives back blocks of a slab it does not own: (1) sets
//! `pending`, remembering whether it was clear; (2) sets the bits; (3) if `pending` was clear,
//! pushes the slab on its owner's stack. The owner pops the slab, clears `pending`, then takes the
//! bits. A slab is released only when all its blocks are local and `pending` is clear. Why this is
//! safe: between (1) and (3) by the thread that found it clear, `pending` stays set, so the slab
//! can't go away; any other thread's last touch is (2), which is what brings its blocks home. A
//! thread that read `pending` as set just before the owner cleared it may set bits that the owner
//! has just passed: they wait for the next visit (`refill::Bins::sweep` finds
//! them), and keep the slab alive.

use super::super::registry;
use super::Slab;
use crate::base::sync::{AtomicPtr, Ordering};
use core::ptr;

/// The stack of slabs that other threads have given blocks back to. Its address is the identity
/// of the owner.
#[repr(align(64))]
pub(crate) struct PendingStack {
    /// Relaxed: a look; what it saw the exchange checks, and what it missed comes at the next.
    head: AtomicPtr<Slab>,
}

impl PendingStack {
    pub(crate) const fn new() -> Self {
        PendingStack { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Pushes a slab whose `pending` the caller has turned from clear to set.
    ///
    /// # Safety
    /// `slab` is the published pointer to a slab whose `pending` the caller has set.
    unsafe fn push(&self, slab: *mut Slab) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: `pending` keeps the slab alive until it has been popped.
            unsafe { (*slab).pending_next.store(head, Ordering::Relaxed) };
            // Release: the bits set before are seen by the owner that pops. Only pushes and
            // take-alls exist, so there is no ABA.
            match self.head.compare_exchange_weak(head, slab, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether anything waits. A racy look.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes the whole stack; `PendingStack::next` walks it.
    pub(crate) fn take_all(&self) -> *mut Slab {
        // Acquire: pairs with `push`.
        self.head.swap(ptr::null_mut(), Ordering::Acquire)
    }

    /// The next slab after `slab` on a stack that was taken. To be read before `slab` is drained,
    /// which makes it available for a new push.
    ///
    /// # Safety
    /// `slab` is on a stack taken by this thread and not yet drained.
    pub(crate) unsafe fn next(slab: *mut Slab) -> *mut Slab {
        // SAFETY: a slab on the stack has `pending` set and therefore is alive.
        unsafe { (*slab).pending_next.load(Ordering::Relaxed) }
    }
}

impl Slab {
    /// Brings a batch of blocks of one bitmap word back from a thread that does not own the slab;
    /// step 2 of the remote protocol. Returns the bits that were set already (double frees): then the
    /// word is not what it should be, and the caller ends the process.
    #[inline]
    pub(crate) fn put_remote(&self, word: usize, bits: u64) -> u64 {
        // An addition, which sets bits that are clear as an "or" does, but is one instruction where the
        // old value is asked for; an "or" is a loop that fetches the line twice.
        // Release: the user's last writes to the blocks happen before the owner hands them out.
        self.remote(word).fetch_add(bits, Ordering::Release) & bits
    }

    /// Step 1 of the remote protocol: true if the caller must `announce` after setting its bits.
    #[inline]
    pub(crate) fn mark_pending(&self) -> bool {
        // Relaxed: a look first, which leaves the line shared; bits that rely on a mark just cleared
        // wait for the next visit (see the protocol). AcqRel: the mark comes before the bits.
        !self.pending.load(Ordering::Relaxed) && !self.pending.swap(true, Ordering::AcqRel)
    }

    /// Step 3 of the remote protocol.
    #[inline]
    pub(crate) fn announce(&self) {
        // The published pointer, not one made from `self`: the owner may destroy the slab by it.
        let slab = registry::run_of(self.base);
        // SAFETY: a heap's pending stack is never freed; we have set `pending`.
        unsafe { (*self.owner).push(slab) };
    }

    /// Whether a thread may still be inside the remote protocol with this slab.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        // Acquire: seeing it clear, we see what the clearing drain saw.
        self.pending.load(Ordering::Acquire)
    }

    /// Clears `pending` (the slab has been popped) and moves all remote blocks to the local bitmap.
    /// The error is a block that was free already.
    pub(crate) fn drain_popped(&self) -> Result<usize, *mut u8> {
        // AcqRel: cleared before the bits are taken, so that later bits find it clear.
        self.pending.swap(false, Ordering::AcqRel);
        self.drain_bits()
    }

    /// Moves all remote blocks to the local bitmap. The caller owns the slab. The error is a block
    /// that was free already.
    pub(crate) fn drain_bits(&self) -> Result<usize, *mut u8> {
        let mut moved = 0;
        for word in 0..self.info().words() {
            let remote = self.remote(word);
            // Relaxed: a look that leaves the line shared; what it misses the next visit finds.
            if remote.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: pairs with `put_remote`.
            let bits = remote.swap(0, Ordering::Acquire);
            let cell = self.local(word);
            let before = cell.get();
            if before & bits != 0 {
                let index = word * 64 + (before & bits).trailing_zeros() as usize;
                return Err(self.base.wrapping_add(index * self.info().size as usize));
            }
            cell.set(before | bits);
            moved += bits.count_ones();
            if word < self.hint.get() as usize {
                self.hint.set(word as u16);
            }
        }
        if moved != 0 {
            self.free.set(self.free.get() + moved);
            self.freed_since_purge.set(true);
        }
        Ok(moved as usize)
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::super::tests::slab_of;
    use super::*;

    #[test]
    fn remote_blocks_reach_the_local_bitmap() {
        let slab_ptr = slab_of(5);
        let slab = unsafe { slab_ptr.as_ref() };
        let mut blocks = [ptr::null_mut::<u8>(); 64];
        let got = unsafe { slab.carve(blocks.as_mut_ptr().add(64), 64) };
        assert_eq!(got, 64);
        assert!(slab.mark_pending());
        assert!(!slab.mark_pending());
        assert_eq!(slab.put_remote(0, 0b1010), 0);
        assert_eq!(slab.put_remote(0, 0b1), 0);
        assert!(slab.is_pending());
        assert_eq!(slab.drain_popped(), Ok(3));
        assert!(!slab.is_pending());
        assert_eq!(slab.free.get(), 3);
        assert_eq!(slab.put_remote(0, 0b1), 0);
        assert_eq!(slab.put_remote(0, 0b11), 0b1, "the first of them is there already");
        assert_eq!(slab.remote(0).swap(0b1, Ordering::Relaxed), 0b100);
        assert_eq!(slab.drain_bits(), Err(slab.base));
    }
}
