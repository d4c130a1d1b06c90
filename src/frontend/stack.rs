//! The front end as a whole: the one list of layers, in the order in which a request asks them, and
//! what a heap asks of it. How a list works is [`super::chain`]'s.

use super::chain::{self, About, Chain, End, Flush, If, Keep, Over};
use super::layer::{ClassMask, Event, Fill, Slot};
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
use super::magazine::UnifiedCache;
use crate::class::{COUNT, GROUPS};
use crate::telemetry::tally::Handle;
use core::fmt::{self, Write};

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

/// Whether this build has a layer in front of the magazines.
pub(crate) const ON: bool = Layers::ON;
/// Layers that there are, in this build or not.
pub(crate) const LAYERS: usize = Layers::LENGTH;

/// Opens or closes all layers (`HAKMEM_FRONT_LAYERS`); every heap obeys on its slow paths.
pub(crate) fn enable(on: bool) {
    if ON {
        chain::enable(on);
    }
}

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
