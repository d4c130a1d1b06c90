//! How layers are put one over the other: a list of types, [`Over`] after [`Over`] up to [`End`], with
//! what is done to all of them in one step for each.
//!
//! After snmalloc, which composes its address-space ranges in one list of types
//! (`backend/standard_range.h`). A place in the list says by a constant whether its layer is compiled
//! in; an absent one is a zero-sized [`Off`], and its step folds away. `pop` and `push` are inlined into
//! the fast path; everything else is for slow paths.

use super::layer::{ClassMask, Event, Fill, FrontendLayer, Off, Slot};
use super::magazine::{self, UnifiedCache};
use crate::base::sync::{AtomicBool, Ordering};
use crate::class;
use crate::segment::ON_DIET;
use crate::telemetry::front::MOST_LAYERS;
use crate::telemetry::tally::Handle;
use core::marker::PhantomData;

/// A layer that is compiled in if `ON`.
pub(crate) struct If<const ON: bool, L>(PhantomData<L>);

/// A place in the list.
pub(crate) trait Place {
    /// Whether it is taken.
    const ON: bool;
    /// The layer that it is for.
    type Layer: FrontendLayer;
    /// The layer, or `Off`.
    type Present: FrontendLayer;
}

impl<L: FrontendLayer> Place for If<true, L> {
    const ON: bool = true;
    type Layer = L;
    type Present = L;
}

impl<L: FrontendLayer> Place for If<false, L> {
    const ON: bool = false;
    type Layer = L;
    type Present = Off;
}

/// A layer over those that are asked after it.
pub(crate) struct Over<P: Place, R>(P::Present, R);

/// The end of the list: the magazine follows.
pub(crate) struct End;

/// Blocks that leave the layers: so many at the pointer, of one class.
pub(crate) type Flush<'a> = &'a mut dyn FnMut(*const Slot, usize);

/// How many blocks stay.
#[derive(Clone, Copy)]
pub(crate) enum Keep {
    /// None.
    Nothing,
    /// Half, rounded down.
    Half,
}

/// What a layer may hold at present, of one class.
#[derive(Clone, Copy)]
pub(crate) enum Allowance {
    /// Nothing: the setting is off, or the class has left the tiny tier.
    Nothing,
    /// A quarter: memory is short.
    Quarter,
    /// All that it would.
    All,
}

impl Allowance {
    /// By the settings and the mem diet of now, for a layer.
    fn now<L: FrontendLayer>(class: usize) -> Allowance {
        let moved = class < class::FIRST_MID
            && class as u32 >= magazine::FIRST_MID.load(Ordering::Relaxed)
            && L::CLASSES != ClassMask::ALL;
        if moved || !open() || !L::wanted() {
            Allowance::Nothing
        } else if ON_DIET.load(Ordering::Relaxed) {
            Allowance::Quarter
        } else {
            Allowance::All
        }
    }

    fn of(self, most: usize) -> usize {
        match self {
            Allowance::Nothing => 0,
            Allowance::Quarter => most / 4,
            Allowance::All => most,
        }
    }
}

/// Whether layers may hold anything (`HAKMEM_FRONT_LAYERS`).
/// Relaxed: a setting; a late look obeys the one before.
static ENABLED: AtomicBool = AtomicBool::new(true);

/// Opens or closes all layers; every heap obeys on its slow paths.
pub(super) fn enable(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Whether layers may hold anything: not where the caches of a thread may not grow at all, either.
fn open() -> bool {
    ENABLED.load(Ordering::Relaxed) && magazine::GROWTH_BUDGET.load(Ordering::Relaxed) != 0
}

/// A layer of the list, for readers.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) rank: usize,
    pub(crate) behind: bool,
    pub(crate) on: bool,
    /// Whether the settings of now let it hold anything.
    pub(crate) open: bool,
    pub(crate) classes: ClassMask,
}

/// Layers one over the other.
pub(crate) trait Chain {
    /// All of them empty and full.
    const NEW: Self;
    /// Whether there is one.
    const ON: bool;
    /// Places in the list.
    const LENGTH: usize;
    /// The rank of the first.
    const RANK: usize;

    /// As a layer's, for those that stand before the magazines, or (`BEHIND`) behind them.
    fn pop<const BEHIND: bool>(
        &self,
        class: usize,
        behind: &UnifiedCache,
        served: impl FnOnce(usize, *mut u8),
    ) -> *mut u8;
    /// As `pop`.
    fn push<const BEHIND: bool>(&self, class: usize, block: *mut u8, behind: &UnifiedCache)
    -> bool;
    /// Blocks that they have room for.
    fn room<const BEHIND: bool>(&self, class: usize) -> usize;
    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8));
    fn count(&self, class: usize) -> usize;
    /// Gives each layer its capacity of now; without `grow`, only where that is less than before.
    fn tune(&mut self, class: usize, grow: bool, flush: Flush<'_>);
    fn send(&self, class: usize, blocks: &[Slot]) -> usize;
    fn attach(&mut self, tally: Handle);
    fn drain(&mut self, class: usize, keep: Keep, flush: Flush<'_>);
    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8>;
    fn hear(&mut self, class: usize, event: Event);
    fn about(visit: &mut dyn FnMut(About));
}

impl Chain for End {
    const NEW: Self = End;
    const ON: bool = false;
    const LENGTH: usize = 0;
    const RANK: usize = usize::MAX;

    #[inline(always)]
    fn pop<const BEHIND: bool>(
        &self,
        _class: usize,
        _behind: &UnifiedCache,
        _served: impl FnOnce(usize, *mut u8),
    ) -> *mut u8 {
        core::ptr::null_mut()
    }

    #[inline(always)]
    fn push<const BEHIND: bool>(&self, _: usize, _: *mut u8, _: &UnifiedCache) -> bool {
        false
    }

    #[inline(always)]
    fn room<const BEHIND: bool>(&self, _class: usize) -> usize {
        0
    }

    #[inline(always)]
    fn each_block(&self, _class: usize, _visit: &mut dyn FnMut(*mut u8)) {}

    #[inline(always)]
    fn count(&self, _class: usize) -> usize {
        0
    }

    #[inline(always)]
    fn tune(&mut self, _class: usize, _grow: bool, _flush: Flush<'_>) {}

    #[inline(always)]
    fn send(&self, _class: usize, _blocks: &[Slot]) -> usize {
        0
    }

    #[inline(always)]
    fn attach(&mut self, _tally: Handle) {}

    #[inline(always)]
    fn drain(&mut self, _class: usize, _keep: Keep, _flush: Flush<'_>) {}

    #[inline(always)]
    fn refill(&mut self, _class: usize, _fill: Fill<'_>) -> Option<*mut u8> {
        None
    }

    #[inline(always)]
    fn hear(&mut self, _class: usize, _event: Event) {}

    #[inline(always)]
    fn about(_visit: &mut dyn FnMut(About)) {}
}

/// Blocks that leave a layer at a time.
const BATCH: usize = 32;

/// Takes blocks out of a layer until `keep` are left.
fn drain_layer<L: FrontendLayer>(layer: &mut L, class: usize, keep: usize, flush: Flush<'_>) {
    let mut blocks = [core::ptr::null_mut(); BATCH];
    loop {
        let count = layer.drain(class, keep, &mut blocks);
        if count == 0 {
            return;
        }
        flush(blocks.as_ptr(), count);
    }
}

impl<P: Place, R: Chain> Chain for Over<P, R> {
    const NEW: Self = {
        // Ranks are in order, and each has a counter.
        assert!(P::Layer::RANK < R::RANK && P::Layer::RANK < MOST_LAYERS);
        Over(P::Present::NEW, R::NEW)
    };
    const ON: bool = P::ON || R::ON;
    const LENGTH: usize = 1 + R::LENGTH;
    const RANK: usize = P::Layer::RANK;

    #[inline(always)]
    fn pop<const BEHIND: bool>(
        &self,
        class: usize,
        behind: &UnifiedCache,
        served: impl FnOnce(usize, *mut u8),
    ) -> *mut u8 {
        if P::Present::BEHIND == BEHIND && P::Present::CLASSES.covers(class) {
            let block = self.0.pop(class, behind);
            if !block.is_null() {
                served(P::Present::RANK, block);
                return block;
            }
        }
        self.1.pop::<BEHIND>(class, behind, served)
    }

    #[inline(always)]
    fn push<const BEHIND: bool>(
        &self,
        class: usize,
        block: *mut u8,
        behind: &UnifiedCache,
    ) -> bool {
        if P::Present::BEHIND == BEHIND
            && P::Present::CLASSES.covers(class)
            && self.0.push(class, block, behind)
        {
            return true;
        }
        self.1.push::<BEHIND>(class, block, behind)
    }

    #[inline(always)]
    fn room<const BEHIND: bool>(&self, class: usize) -> usize {
        let here = P::Present::BEHIND == BEHIND && P::Present::CLASSES.has(class);
        let room = if here { self.0.room(class) } else { 0 };
        room + self.1.room::<BEHIND>(class)
    }

    #[inline(always)]
    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        if P::Present::CLASSES.has(class) {
            self.0.each_block(class, visit);
        }
        self.1.each_block(class, visit);
    }

    #[inline(always)]
    fn count(&self, class: usize) -> usize {
        let here = if P::Present::CLASSES.has(class) { self.0.count(class) } else { 0 };
        here + self.1.count(class)
    }

    #[inline(always)]
    fn tune(&mut self, class: usize, grow: bool, flush: Flush<'_>) {
        if P::ON && P::Present::CLASSES.has(class) {
            let wanted = Allowance::now::<P::Present>(class).of(P::Present::most(class));
            let now = self.0.capacity(class);
            if wanted < now || (grow && wanted != now) {
                drain_layer(&mut self.0, class, wanted, flush);
                self.0.set_capacity(class, wanted);
            }
        }
        self.1.tune(class, grow, flush);
    }

    #[inline(always)]
    fn send(&self, class: usize, blocks: &[Slot]) -> usize {
        let mut sent = 0;
        if P::ON
            && P::Present::CLASSES.has(class)
            && matches!(Allowance::now::<P::Present>(class), Allowance::All)
        {
            sent = self.0.send(class, blocks);
        }
        sent + self.1.send(class, blocks.get(sent..).unwrap_or(&[]))
    }

    #[inline(always)]
    fn attach(&mut self, tally: Handle) {
        self.0.attach(tally);
        self.1.attach(tally);
    }

    #[inline(always)]
    fn drain(&mut self, class: usize, keep: Keep, flush: Flush<'_>) {
        if P::ON && P::Present::CLASSES.has(class) {
            let keep = match keep {
                Keep::Nothing => 0,
                Keep::Half => self.0.count(class) / 2,
            };
            drain_layer(&mut self.0, class, keep, flush);
        }
        self.1.drain(class, keep, flush);
    }

    #[inline(always)]
    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        if P::ON
            && P::Present::CLASSES.has(class)
            && let Some(block) = self.0.refill(class, fill)
        {
            return Some(block);
        }
        self.1.refill(class, fill)
    }

    #[inline(always)]
    fn hear(&mut self, class: usize, event: Event) {
        if P::ON && P::Present::CLASSES.has(class) {
            self.0.hear(class, event);
        }
        self.1.hear(class, event);
    }

    fn about(visit: &mut dyn FnMut(About)) {
        visit(About {
            name: P::Layer::NAME,
            rank: P::Layer::RANK,
            behind: P::Layer::BEHIND,
            on: P::Layer::ON,
            open: open() && P::Layer::wanted(),
            classes: P::Layer::CLASSES,
        });
        R::about(visit);
    }
}
