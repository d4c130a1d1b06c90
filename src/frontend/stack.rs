//! The front end as a whole: the one list of layers, in the order in which a request asks them, and
//! what is done to all of them.
//!
//! After snmalloc, which composes its address-space ranges in one list of types
//! (`backend/standard_range.h`). The list is a type, [`Layers`]: each layer with the constant that says
//! whether it is compiled in, so that an absent one is a zero-sized [`Off`] and its step of the chain
//! folds away. `pop` and `push` are inlined into the fast path; everything else is for slow paths.

use super::layer::{ClassMask, Event, Fill, FrontendLayer, Off, Slot};
use super::layers::background_bin::{self, BackgroundBin};
use super::layers::background_spill::{self, BackgroundSpill};
use super::layers::class5::{self, Class5};
use super::layers::fast_cache::{self, FastCache};
use super::layers::front_c23::{self, FrontC23};
use super::layers::heap_v2::{self, HeapV2};
use super::layers::hot_mag::{self, HotMag};
use super::layers::hot_pop::{self, HotPop};
use super::layers::mini_mag::{self, MiniMag};
pub(crate) use super::layers::pool_hotbox;
use super::layers::pool_hotbox::PoolHotbox;
use super::layers::quick_slots::{self, QuickSlots};
use super::layers::ring_cache::{self, RingCache};
use super::layers::sfc::{self, Sfc};
use super::layers::tls_sll::{self, TlsSll};
use super::layers::ultra_front::{self, UltraFront};
use super::layers::ultra_hot::{self, UltraHot};
use super::magazine::{self, UnifiedCache};
use crate::base::sync::{AtomicBool, Ordering};
use crate::class::{self, COUNT, GROUPS};
use crate::segment::ON_DIET;
use crate::telemetry::front::MOST_LAYERS;
use crate::telemetry::tally::Handle;
use core::fmt::{self, Write};
use core::marker::PhantomData;

/// The layers. A new one is a line here, in the place that its rank says.
#[rustfmt::skip]
pub(super) type Layers =
    Over<If<{ ultra_hot::ON }, UltraHot>,
    Over<If<{ front_c23::ON }, FrontC23>,
    Over<If<{ class5::ON }, Class5>,
    Over<If<{ quick_slots::ON }, QuickSlots>,
    Over<If<{ ultra_front::ON }, UltraFront>,
    Over<If<{ hot_mag::ON }, HotMag>,
    Over<If<{ mini_mag::ON }, MiniMag>,
    Over<If<{ fast_cache::ON }, FastCache>,
    Over<If<{ ring_cache::ON }, RingCache>,
    Over<If<{ heap_v2::ON }, HeapV2>,
    Over<If<{ sfc::ON }, Sfc>,
    Over<If<{ hot_pop::ON }, HotPop>,
    Over<If<{ pool_hotbox::ON }, PoolHotbox>,
    Over<If<{ tls_sll::ON }, TlsSll>,
    Over<If<{ background_spill::ON }, BackgroundSpill>,
    Over<If<{ background_bin::ON }, BackgroundBin>,
    End>>>>>>>>>>>>>>>>;

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
pub(crate) fn enable(on: bool) {
    if ON {
        ENABLED.store(on, Ordering::Relaxed);
    }
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

/// Whether this build has a layer in front of the magazines.
pub(crate) const ON: bool = Layers::ON;
/// Layers that there are, in this build or not.
pub(crate) const LAYERS: usize = Layers::LENGTH;

/// The layers of a heap.
#[repr(C)]
pub(crate) struct FrontEnd {
    layers: Layers,
    /// Blocks that they held at the last decay, by class.
    seen: [u16; if ON { COUNT } else { 0 }],
}

// Without a layer nothing of this is in a heap, and nothing behind it moves.
const _: () = assert!(ON || (size_of::<FrontEnd>() == 0 && align_of::<FrontEnd>() <= 8));

impl FrontEnd {
    /// Empty and full.
    pub(crate) const fn new() -> Self {
        FrontEnd { layers: Layers::NEW, seen: [0; if ON { COUNT } else { 0 }] }
    }

    /// A block of `class` from the first layer that has one, whose rank `served` is told; else null.
    #[inline(always)]
    pub(crate) fn pop(
        &self,
        class: usize,
        behind: &UnifiedCache,
        served: impl FnOnce(usize, *mut u8),
    ) -> *mut u8 {
        self.layers.pop::<false>(class, behind, served)
    }

    /// Gives a freed block to the first layer that has room; false if none has.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        self.layers.push::<false>(class, block, behind)
    }

    /// A block of `class` from the layers behind the magazines, as `pop`.
    #[inline(always)]
    pub(crate) fn bring_back(
        &self,
        class: usize,
        behind: &UnifiedCache,
        served: impl FnOnce(usize, *mut u8),
    ) -> *mut u8 {
        self.layers.pop::<true>(class, behind, served)
    }

    /// Gives a block that the magazine has no room for to the layers behind it; false if they have
    /// none either.
    #[inline(always)]
    pub(crate) fn spill(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        self.layers.push::<true>(class, block, behind)
    }

    /// Blocks of `class` that the layers in front have room for, or a few less.
    #[inline(always)]
    pub(crate) fn room(&self, class: usize) -> usize {
        self.layers.room::<false>(class)
    }

    /// Blocks of `class` that the layers behind the magazines have room for.
    #[inline(always)]
    pub(crate) fn room_behind(&self, class: usize) -> usize {
        self.layers.room::<true>(class)
    }

    /// Calls `visit` with every block of `class` in the layers.
    #[inline(always)]
    pub(crate) fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        self.layers.each_block(class, visit);
    }

    /// Gives every layer the capacity that the settings of now allow; what is too much goes to
    /// `flush`. Without `grow`, only those that are to hold less obey. For slow paths.
    #[inline(always)]
    pub(crate) fn tune(&mut self, class: usize, grow: bool, flush: Flush<'_>) {
        self.layers.tune(class, grow, flush);
    }

    /// Gives blocks that are on their way home, the oldest first, to a layer that takes them there.
    /// How many of them are gone, from the first on.
    #[inline(always)]
    pub(crate) fn send(&self, class: usize, blocks: &[Slot]) -> usize {
        self.layers.send(class, blocks)
    }

    /// The heap that these are the layers of counts there.
    #[inline(always)]
    pub(crate) fn attach(&mut self, tally: Handle) {
        self.layers.attach(tally);
    }

    /// Empties the layers of `class` into `flush`.
    #[inline(always)]
    pub(crate) fn drain(&mut self, class: usize, flush: Flush<'_>) {
        self.layers.drain(class, Keep::Nothing, flush);
    }

    /// A decay period has passed: layers that hold as many blocks of `class` as before have been idle
    /// (or hold too many), and keep half.
    #[inline(always)]
    pub(crate) fn decay(&mut self, class: usize, flush: Flush<'_>) {
        if !ON {
            return;
        }
        let count = self.layers.count(class) as u16;
        let Some(seen) = self.seen.get_mut(class) else { return };
        if core::mem::replace(seen, count) == count && count != 0 {
            self.layers.drain(class, Keep::Half, flush);
            self.layers.hear(class, Event::Idle);
        }
    }

    /// A free of `class` found everything full.
    #[inline(always)]
    pub(crate) fn overflowed(&mut self, class: usize) {
        self.layers.hear(class, Event::Overflow);
    }

    /// Lets a layer that brings in its own batches serve a request that found everything empty.
    #[inline(always)]
    pub(crate) fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        self.layers.hear(class, Event::Refill);
        self.layers.refill(class, fill)
    }
}

/// Calls `visit` with every layer of the list, in order.
pub(crate) fn each(visit: &mut dyn FnMut(About)) {
    Layers::about(visit);
}

/// Draws the layers of this build: which of them a request of each class group asks, from the top.
pub(crate) fn draw(out: &mut dyn Write) -> fmt::Result {
    write!(out, "  {:<20}", "front end")?;
    for group in 0..GROUPS {
        write!(out, " C{group}")?;
    }
    out.write_str(" mid\n")?;
    let mut drawn = Ok(());
    let mut row = |name: &str, classes: ClassMask, note: &str| -> fmt::Result {
        write!(out, "    {name:<18}")?;
        for group in 0..=GROUPS {
            out.write_str(if classes.has_group(group) { "  #" } else { "  ." })?;
        }
        writeln!(out, "{note}")
    };
    for behind in [false, true] {
        each(&mut |layer| {
            if layer.on && layer.behind == behind && drawn.is_ok() {
                let closed = if layer.open { "" } else { "  (closed)" };
                drawn = row(layer.name, layer.classes, closed);
            }
        });
        drawn?;
        row(if behind { "slabs" } else { "unified cache" }, ClassMask::ALL, "")?;
    }
    Ok(())
}
