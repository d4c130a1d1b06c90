//! Layer 2, SuperSlab refill: the slabs of one heap, and how blocks move between them and the
//! magazines, a batch at a time.
//!
//! Assumes that only the thread that has the heap calls in. Promises: a refill writes distinct
//! blocks of the class asked for; a flush brings every block to its slab, wherever that is, or ends
//! the process with one line when the block can't be one (double free, wrong address).

mod list;
pub(crate) mod policy;
mod remote;

use crate::class::{COUNT, HEADER};
use crate::harden;
use crate::segment::header;
use crate::segment::misuse;
use crate::segment::registry;
use crate::segment::slab::{Misuse, PendingStack, Slab};
use crate::telemetry::tally::{COMMON, Handle};
use core::ptr::{self, NonNull};
use list::ClassSlabs;
pub(crate) use remote::give_back;
use remote::{flush_remote, right_class};

/// All slabs that a heap owns, by class.
#[repr(C)]
pub(crate) struct Bins {
    /// Slabs that other threads have given blocks back to. Its address names this heap as owner. It
    /// lies apart: others push to it while the heap is borrowed mutably.
    pub(crate) pending: &'static PendingStack,
    classes: [ClassSlabs; COUNT],
    /// Bytes of blocks that this heap has brought home itself since somebody asked.
    home: usize,
    /// Way to the heap's counters.
    pub(crate) tally: Handle,
}

impl Bins {
    pub(crate) const fn new(pending: &'static PendingStack) -> Self {
        Bins { pending, classes: [const { ClassSlabs::new() }; COUNT], home: 0, tally: COMMON }
    }

    #[inline(always)]
    fn of(&mut self, class: usize) -> &mut ClassSlabs {
        debug_assert!(class < COUNT);
        // SAFETY: classes are below COUNT wherever they come from (the class tables).
        unsafe { self.classes.get_unchecked_mut(class) }
    }

    /// Writes up to `want` blocks of `class`, or as many as the policy allows, downwards from `end`,
    /// lowest address at the top. Gives their number; 0: out of memory.
    ///
    /// # Safety
    /// `want` slots below `end` are writable.
    #[inline]
    pub(crate) unsafe fn refill(&mut self, class: usize, end: *mut *mut u8, want: usize) -> usize {
        // SAFETY: as the caller promised.
        unsafe { self.bring::<true>(class, end, want) }
    }

    /// As `refill`, for blocks that nobody has asked for yet.
    ///
    /// # Safety
    /// As for `refill`.
    #[inline]
    pub(crate) unsafe fn stock(&mut self, class: usize, end: *mut *mut u8, want: usize) -> usize {
        // SAFETY: as the caller promised.
        unsafe { self.bring::<false>(class, end, want) }
    }

    /// `refill`; `SERVES`: the first block is for a request, which is counted.
    ///
    /// # Safety
    /// As for `refill`.
    unsafe fn bring<const SERVES: bool>(
        &mut self,
        class: usize,
        mut end: *mut *mut u8,
        want: usize,
    ) -> usize {
        let want = if policy::LEGACY { want.min(1) } else { want };
        let mut got = 0;
        let (mut drained, mut made) = (false, false);
        loop {
            // SAFETY: slabs in our lists are alive and owned by us.
            if let Some(slab) = unsafe { self.of(class).current.as_ref() } {
                // SAFETY: `want - got` slots remain below `end`.
                let (taken, carved) = unsafe {
                    let taken = slab.take(end, want - got);
                    let carved = if got + taken < want {
                        slab.carve(end.sub(taken), want - got - taken)
                    } else {
                        0
                    };
                    (taken, carved)
                };
                if HEADER {
                    // Blocks that were free keep theirs, but for pages that have gone since.
                    let old = if slab.has_lost_headers() { 0 } else { taken };
                    // SAFETY: these blocks lie below `end`, and nobody else has them.
                    unsafe { header::write_all(class, end.sub(old), taken + carved - old) };
                }
                let count = taken + carved;
                // SAFETY: these blocks lie below `end`, and nobody else has them.
                unsafe { harden::prepare(class, end, count) };
                if SERVES && got == 0 && count != 0 {
                    self.tally.refill_served(taken != 0, drained, made);
                }
                got += count;
                // SAFETY: `count` of the slots below `end` are filled now.
                end = unsafe { end.sub(count) };
                if !slab.is_exhausted() && (got == want || count != 0) {
                    return got;
                }
                if slab.is_exhausted() {
                    let slab = self.of(class).current;
                    self.of(class).current = ptr::null_mut();
                    // SAFETY: it was the current slab, so it is in no list.
                    unsafe { self.of(class).file(slab) };
                }
                if got == want {
                    return got;
                }
            }
            let next = self.of(class).pop_fullest();
            if !next.is_null() {
                self.of(class).current = next;
                continue;
            }
            if self.drain_pending() != 0 && !self.of(class).is_dry() {
                drained = true;
                continue;
            }
            if got != 0 {
                return got;
            }
            made = true;
            match self.create(class) {
                Some(slab) => self.of(class).current = slab.as_ptr(),
                None => return 0,
            }
        }
    }

    /// A slab for a class that has no free block.
    fn create(&mut self, class: usize) -> Option<NonNull<Slab>> {
        let first = !self.of(class).has_full();
        Slab::create(class, self.pending, first)
    }

    /// One block that was never handed out and reads as zero; null if the next refill would bring
    /// recycled ones.
    pub(crate) fn carve_fresh(&mut self, class: usize) -> *mut u8 {
        let mut made = false;
        if self.of(class).is_dry()
            && self.drain_pending() == 0
            && let Some(slab) = self.create(class)
        {
            made = true;
            self.of(class).current = slab.as_ptr();
        }
        // SAFETY: slabs in our lists are alive and owned by us.
        match unsafe { self.of(class).current.as_ref() } {
            Some(slab) if slab.is_fresh() => {
                let mut block: *mut u8 = ptr::null_mut();
                // SAFETY: one slot lies below `end`.
                unsafe { slab.carve((&raw mut block).add(1), 1) };
                if HEADER {
                    // SAFETY: a block of the slab, which nobody else has.
                    unsafe { header::write(block, class) };
                }
                // SAFETY: as above.
                unsafe { harden::prepare(class, (&raw mut block).add(1), 1) };
                self.tally.refill_served(false, false, made);
                block
            }
            _ => ptr::null_mut(),
        }
    }

    /// Brings `count` blocks that were freed as `class` home.
    ///
    /// # Safety
    /// `blocks` points at `count` pointers that the program has given back.
    pub(crate) unsafe fn flush(&mut self, class: usize, blocks: *const *mut u8, count: usize) {
        let me: *const PendingStack = self.pending;
        let mut at = 0;
        while at < count {
            // SAFETY: at < count.
            let block = unsafe { *blocks.add(at) };
            let slab_ptr = registry::run_of(block);
            // SAFETY: a run with a block that is not home yet is alive.
            let Some(slab) = (unsafe { slab_ptr.as_ref() }) else {
                misuse::not_ours(block, "free")
            };
            if slab.class as usize != class {
                if !HEADER {
                    misuse::wrong_class(block, class, slab.class as usize);
                }
                let found = right_class(slab, block, class);
                self.tally.header_misled();
                // SAFETY: as the caller promised; the slab's own class this time.
                unsafe { self.flush(found, &raw const block, 1) };
                at += 1;
                continue;
            }
            let first = at;
            // SAFETY: at < count.
            let rest = unsafe { core::slice::from_raw_parts(blocks.add(at), count - at) };
            if slab.owner == me {
                match slab.put(rest) {
                    Ok(put) => at += put,
                    Err((block, wrong)) => misuse::bad_block(block, class, wrong),
                }
                debug_assert!(at > first);
                self.tally.came_home(class, at - first);
                self.home += (at - first) * slab.info().size as usize;
                slab.freed_since_purge.set(true);
                // SAFETY: ours, alive.
                unsafe { self.settle(class, slab_ptr) };
            } else {
                at += flush_remote(slab, class, rest);
                self.tally.sent_home(class, at - first);
            }
        }
    }

    /// Bytes of blocks that this heap has brought to its own slabs since the last call.
    pub(crate) fn take_home(&mut self) -> usize {
        core::mem::take(&mut self.home)
    }

    /// Puts a slab whose free count has grown where it belongs, or lets it go when all its blocks
    /// are home.
    ///
    /// # Safety
    /// `slab` is ours, of `class`, alive; it may be gone afterwards.
    unsafe fn settle(&mut self, class: usize, slab: *mut Slab) {
        // SAFETY: alive by contract.
        unsafe {
            if (*slab).free.get() < (*slab).stays_below.get() {
                return;
            }
        }
        let of = self.of(class);
        // SAFETY: alive by contract; in one of our lists, since the current one stays as it is.
        unsafe {
            if (*slab).all_home() && !(*slab).is_pending() && !of.is_last_resort(slab) {
                of.unlink(slab);
                Slab::destroy(slab);
            } else {
                of.refile(slab);
            }
        }
    }

    /// Takes back what other threads have freed. Gives the number of blocks.
    pub(crate) fn drain_pending(&mut self) -> usize {
        if self.pending.is_empty() {
            return 0;
        }
        let mut slab = self.pending.take_all();
        let (mut slabs, mut blocks) = (0, 0);
        while !slab.is_null() {
            // SAFETY: slabs on the stack are alive and ours; `next` is read before the drain.
            unsafe {
                let next = PendingStack::next(slab);
                let class = (*slab).class as usize;
                match (*slab).drain_popped() {
                    Ok(count) => blocks += count,
                    Err(block) => misuse::bad_block(block, class, Misuse::DoubleFree),
                }
                self.settle(class, slab);
                slab = next;
            }
            slabs += 1;
        }
        self.tally.drained(slabs, blocks);
        blocks
    }

    /// Visits every slab: takes in stray remote blocks, returns the free pages of slabs that are
    /// quiet (`idle_only`) or of all, and lets empty slabs go. Gives the bytes that were returned.
    pub(crate) fn sweep(&mut self, idle_only: bool) -> usize {
        self.drain_pending();
        let mut returned = 0;
        for class in 1..COUNT {
            // SAFETY: lists hold live slabs of ours; `each` reads the link before it visits.
            unsafe {
                let lists: *mut ClassSlabs = self.of(class);
                let current = (*lists).current;
                (*lists).each(|slab| {
                    if !(*slab).is_pending()
                        && let Err(block) = (*slab).drain_bits()
                    {
                        misuse::bad_block(block, class, Misuse::DoubleFree);
                    }
                    if slab != current && (*slab).all_home() && !(*slab).is_pending() {
                        (*lists).unlink(slab);
                        Slab::destroy(slab);
                        return;
                    }
                    if slab != current {
                        (*lists).refile(slab);
                    }
                    // Idle: nothing has come home since the last sweep.
                    if (*slab).free.get() != 0
                        && (!idle_only || !(*slab).freed_since_purge.replace(false))
                    {
                        returned += (*slab).purge_free_pages();
                    }
                });
                if !idle_only
                    && !current.is_null()
                    && (*current).all_home()
                    && !(*current).is_pending()
                {
                    (*lists).current = ptr::null_mut();
                    Slab::destroy(current);
                }
            }
        }
        returned
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;
    use crate::class::class_of;
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    /// A heap's slabs without a thread. Leaked, as its address names it as an owner.
    fn bins() -> &'static mut Bins {
        Box::leak(Box::new(Bins::new(Box::leak(Box::new(PendingStack::new())))))
    }

    fn take(bins: &mut Bins, class: usize, want: usize) -> Vec<*mut u8> {
        let mut blocks = vec![ptr::null_mut::<u8>(); want];
        let mut got = 0;
        while got < want {
            let end = unsafe { blocks.as_mut_ptr().add(want - got) };
            let count = unsafe { bins.refill(class, end, want - got) };
            assert_ne!(count, 0, "out of memory");
            got += count;
        }
        blocks
    }

    fn give(bins: &mut Bins, class: usize, blocks: &[*mut u8]) {
        unsafe { bins.flush(class, blocks.as_ptr(), blocks.len()) };
    }

    const MANY: usize = if cfg!(miri) { 200 } else { 5000 };
    const MOST_BYTES: usize = if cfg!(miri) { 1 << 20 } else { 32 << 20 };

    #[test]
    fn blocks_are_distinct_across_slabs_and_serve_again() {
        for size in [16, 700, 9000, 200_000] {
            let class = class_of(size);
            let bins = bins();
            let count = MANY.min(MOST_BYTES / size);
            let blocks = take(bins, class, count);
            let distinct: BTreeSet<_> = blocks.iter().copied().collect();
            assert_eq!(distinct.len(), blocks.len());
            give(bins, class, &blocks);
            let again = take(bins, class, count);
            let distinct: BTreeSet<_> = again.iter().copied().collect();
            assert_eq!(distinct.len(), again.len());
            give(bins, class, &again);
            bins.sweep(false);
            assert!(bins.of(class).is_dry(), "{size}: every slab was empty and has gone");
        }
    }

    #[test]
    fn what_another_heap_frees_comes_back_when_slabs_run_dry() {
        let class = class_of(100);
        let (owner, other) = (bins(), bins());
        let blocks = take(owner, class, MANY);
        let mut shuffled = blocks.clone();
        shuffled.sort_by_key(|block| (block.addr() >> 7).wrapping_mul(0x9E37_79B9) & 0xFFFF);
        give(other, class, &shuffled);
        assert!(!owner.pending.is_empty());
        assert_eq!(owner.drain_pending(), MANY);
        assert!(owner.pending.is_empty());
        assert_eq!(owner.drain_pending(), 0);
        let again = take(owner, class, MANY);
        give(other, class, &again);
        owner.sweep(false);
        assert!(owner.of(class).is_dry());
    }

    #[test]
    fn a_batch_may_mix_slabs_of_several_heaps() {
        let class = class_of(48);
        let (one, two, three) = (bins(), bins(), bins());
        let (a, b) = (take(one, class, 100), take(two, class, 100));
        let mixed: Vec<_> = a.iter().zip(&b).flat_map(|(&a, &b)| [a, b]).collect();
        give(three, class, &mixed[..100]);
        give(one, class, &mixed[100..]);
        assert_eq!(one.drain_pending(), 50);
        assert_eq!(two.drain_pending(), 100);
        for bins in [one, two] {
            bins.sweep(false);
            assert!(bins.of(class).is_dry());
        }
    }

    #[test]
    fn a_thread_without_a_heap_gives_blocks_back_one_by_one() {
        let class = class_of(5000);
        let owner = bins();
        let blocks = take(owner, class, 30);
        for &block in &blocks {
            unsafe { give_back(class, &[block]) };
        }
        assert_eq!(owner.drain_pending(), 30);
        owner.sweep(false);
        assert!(owner.of(class).is_dry());
    }

    #[test]
    fn fresh_blocks_come_only_from_beyond_the_carve_limit() {
        let class = class_of(8192 - crate::class::RESERVED);
        let bins = bins();
        // None if the run that the slab got had been used before.
        let fresh: Vec<_> =
            (0..20).map(|_| bins.carve_fresh(class)).take_while(|block| !block.is_null()).collect();
        let distinct: BTreeSet<_> = fresh.iter().copied().collect();
        assert_eq!(distinct.len(), fresh.len());
        for &block in &fresh {
            let bytes = unsafe { core::slice::from_raw_parts(block, 8192) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
        let recycled = take(bins, class, 1);
        give(bins, class, &recycled);
        assert!(bins.carve_fresh(class).is_null(), "a recycled block comes first");
    }

    /// A pointer that may go to another thread.
    type Crossing = core::sync::atomic::AtomicPtr<u8>;

    #[test]
    fn threads_give_back_while_the_owner_takes() {
        let class = class_of(32);
        let owner = bins();
        let rounds = if cfg!(miri) { 4 } else { 200 };
        let (send, receive) = std::sync::mpsc::channel::<Vec<Crossing>>();
        let receive = std::sync::Mutex::new(receive);
        std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mine = bins();
                    loop {
                        let Ok(batch) = receive.lock().unwrap().recv() else { return };
                        let blocks: Vec<_> = batch.into_iter().map(Crossing::into_inner).collect();
                        give(mine, class, &blocks);
                    }
                })
            });
            for _ in 0..rounds {
                let blocks = take(owner, class, 64);
                send.send(blocks.into_iter().map(Crossing::new).collect()).unwrap();
            }
            drop(send);
            for thread in threads {
                thread.join().unwrap();
            }
        });
        owner.sweep(false);
        assert!(owner.of(class).is_dry(), "every block came home");
    }
}
