//! The heap walker: checks the invariants of the slabs against what heaps and magazines hold.
//!
//! Assumes that the program is quiet: no other thread allocates or frees meanwhile. Promises to
//! change nothing.

use crate::background;
use crate::class::COUNT;
use crate::frontend::handoff;
use crate::guard;
use crate::segment::slab::Slab;
use crate::segment::{arena, registry};
use crate::thread::park;

/// What a walk has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Slabs.
    pub slabs: usize,
    /// Large blocks in arenas, cached ones included.
    pub large: usize,
    /// Blocks that were ever carved and whose slab lives.
    pub carved: usize,
    /// Blocks in magazines, in the layers before and behind them, on their way from or to the background
    /// worker, and in quarantine where there is one.
    pub cached: usize,
    /// Blocks in local bitmaps.
    pub local: usize,
    /// Blocks in remote bitmaps.
    pub remote: usize,
    /// Blocks between guard pages, which lie in no slab.
    pub sampled: usize,
}

impl Walk {
    /// Blocks in the program's hands.
    #[must_use]
    pub fn user(&self) -> usize {
        self.carved.saturating_sub(self.cached + self.local + self.remote) + self.sampled
    }
}

/// Walks the heap; the first broken invariant is the error.
///
/// # Errors
/// A description of what is broken.
///
/// # Safety
/// No other thread allocates or frees meanwhile.
pub unsafe fn walk() -> Result<Walk, &'static str> {
    let _no_worker = background::hold();
    let mut walk = Walk { sampled: guard::usage().live, ..Walk::default() };
    let mut broken = None;
    let mut check = |holds: bool, what| {
        if !holds && broken.is_none() {
            broken = Some(what);
        }
    };
    arena::each_run(|run| {
        // SAFETY: published, and the program is quiet.
        let slab: &Slab = unsafe { &*run };
        if slab.class == 0 {
            walk.large += 1;
            return;
        }
        walk.slabs += 1;
        let carved = slab.carved.get() as usize;
        let (local, remote) = slab.count_bits();
        check(local == slab.free.get() as usize, "a slab's free count differs from its bitmap");
        check(carved <= slab.info().capacity as usize, "a slab has carved more than it holds");
        check(local + remote <= carved, "a slab has more blocks home than it ever handed out");
        check(
            (carved..slab.info().capacity as usize).all(|index| !slab.is_home(index)),
            "a block beyond the carve limit is marked free",
        );
        let named = registry::class_at(slab.base);
        check(
            named == slab.class as usize || (named == 0 && registry::may_be_shared()),
            "the map disagrees with a slab",
        );
        walk.carved += carved;
        walk.local += local;
        walk.remote += remote;
    });
    let mut visit = |class: usize, block: *mut u8| {
        walk.cached += 1;
        // SAFETY: a run with a block that is not home is alive.
        match unsafe { registry::run_of(block).as_ref() } {
            Some(slab) => {
                check(slab.class as usize == class, "a magazine holds a block of another class");
                match slab.index_of(block) {
                    Ok(index) => {
                        check(
                            index < slab.carved.get() as usize,
                            "a magazine holds a block that was never carved",
                        );
                        check(!slab.is_home(index), "a block is in a magazine and in a bitmap");
                    }
                    Err(_) => check(false, "a magazine holds an address inside a block"),
                }
            }
            None => check(false, "a magazine holds an address that is in no slab"),
        }
    };
    park::each(|heap| {
        // SAFETY: heaps live for ever, and the program is quiet.
        let (cache, layers, quarantine) =
            unsafe { (&(*heap).cache, &(*heap).layers, &(*heap).quarantine) };
        for class in 1..COUNT {
            layers.each_block(class, &mut |block| visit(class, block));
            cache.each_block(class, |block| visit(class, block));
            quarantine.each_block(class, |block| visit(class, block));
        }
    });
    // SAFETY: the program is quiet, and the worker is held.
    unsafe { handoff::each_block(&mut visit) };
    check(
        walk.cached + walk.local + walk.remote <= walk.carved,
        "more blocks are cached or home than were ever carved",
    );
    match broken {
        Some(what) => Err(what),
        None => Ok(walk),
    }
}
