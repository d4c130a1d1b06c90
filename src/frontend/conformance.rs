//! What every layer must do, and every pair of layers one over the other: blocks in, the same blocks
//! out, each once, as the class it came as, whatever the order of calls; and nothing at all while
//! nothing has been set.
//!
//! Generic over the list of layers, so that a new layer is tested by being in it, in every build.

use super::chain::{Chain, End, If, Keep, Over, Place};
use super::layer::{Event, FrontendLayer, Slot};
use super::magazine::UnifiedCache;
use super::stack::Layers;
use crate::class::{COUNT, FIRST_MID};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

type Alone<A> = Over<If<true, A>, End>;
type Both<A, B> = Over<If<true, A>, Alone<B>>;

/// The list as types.
trait Types {
    /// Tests every layer by itself.
    fn each();
    /// Tests every pair, in the order of the list.
    fn pairs();
    /// Tests `A` over every layer.
    fn under<A: FrontendLayer>();
}

impl Types for End {
    fn each() {}
    fn pairs() {}
    fn under<A: FrontendLayer>() {}
}

impl<P: Place, R: Types> Types for Over<P, R> {
    fn each() {
        obeys_capacities::<P::Layer>();
        keeps_what_is_no_block::<P::Layer>();
        Trial::<Alone<P::Layer>>::run(P::Layer::NAME.to_string());
        R::each();
    }

    fn pairs() {
        R::under::<P::Layer>();
        R::pairs();
    }

    fn under<A: FrontendLayer>() {
        let name = std::format!("{} over {}", A::NAME, P::Layer::NAME);
        Trial::<Both<A, P::Layer>>::run(name);
        R::under::<A>();
    }
}

/// Storage for blocks: some layers write into them.
struct Store {
    blocks: Vec<[u128; 4]>,
    used: usize,
}

impl Store {
    fn new(blocks: usize) -> Store {
        Store { blocks: vec![[0; 4]; blocks], used: 0 }
    }

    fn fresh(&mut self) -> Option<*mut u8> {
        if self.used == self.blocks.len() {
            return None;
        }
        self.used += 1;
        Some(self.blocks.as_mut_ptr().wrapping_add(self.used - 1).cast())
    }
}

/// A front end of these layers, magazines behind it, and what should be in them.
struct Trial<C> {
    name: String,
    layers: C,
    behind: Box<UnifiedCache>,
    store: Store,
    /// The blocks that are inside, with their classes.
    inside: BTreeMap<*mut u8, usize>,
    random: u64,
}

impl<C: Chain> Trial<C> {
    fn run(name: String) {
        let calls = if cfg!(miri) { 60 } else { 4000 };
        let mut trial = Trial::<C> {
            name,
            layers: C::NEW,
            behind: Box::new(UnifiedCache::new()),
            store: Store::new(calls * 20),
            inside: BTreeMap::new(),
            random: 0x9E37_79B9_7F4A_7C15,
        };
        trial.unborn_is_empty_and_full();
        for _ in 0..calls {
            trial.step();
        }
        trial.everything_comes_back();
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % bound
    }

    fn unborn_is_empty_and_full(&mut self) {
        let unborn = UnifiedCache::new();
        let block = self.store.fresh().unwrap();
        for class in 0..COUNT {
            let taken = self.layers.push::<false>(class, block, &unborn)
                || self.layers.push::<true>(class, block, &unborn);
            assert!(!taken, "{} {class}", self.name);
            let got = self.layers.pop::<false>(class, &unborn, |_, _| ());
            assert!(got.is_null(), "{} {class}", self.name);
            let got = self.layers.pop::<true>(class, &unborn, |_, _| ());
            assert!(got.is_null(), "{} {class}", self.name);
            assert_eq!(self.layers.count(class), 0);
        }
    }

    /// One call, as the heap would make it.
    fn step(&mut self) {
        // Few classes at a time, so that layers run full and empty.
        let class = match self.below(8) {
            0 => 1 + self.below(COUNT - 1),
            1 => self.below(FIRST_MID),
            _ => 1 + self.below(12),
        };
        match self.below(40) {
            0 => self.layers.tune(class, true, &mut |_, _| panic!("nothing has shrunk")),
            1 => self.drain(class, Keep::Half),
            2 => self.drain(class, Keep::Nothing),
            3 => self.refill(class),
            4 => self.books_agree(),
            5 if class != 0 => self.give_magazine_storage(class),
            6 => self.layers.hear(class, Event::Overflow),
            7 => self.layers.hear(class, Event::Idle),
            8..24 => self.push(class),
            _ => self.pop(class),
        }
    }

    fn give_magazine_storage(&mut self, class: usize) {
        if let Some((oldest, count)) = self.behind.begin_overflow(class) {
            // SAFETY: so many blocks lie there.
            let gone = unsafe { core::slice::from_raw_parts(oldest, count) }.to_vec();
            gone.into_iter().for_each(|block| self.left(class, block));
            self.behind.end_overflow(class, count);
        }
    }

    fn push(&mut self, class: usize) {
        let Some(block) = self.store.fresh() else { return };
        let taken = self.layers.push::<false>(class, block, &self.behind)
            || self.behind.push(class, block)
            || self.layers.push::<true>(class, block, &self.behind);
        assert!(!(taken && class == 0), "{} took a block of no class", self.name);
        if taken {
            self.inside.insert(block, class);
        }
    }

    fn pop(&mut self, class: usize) {
        let mut told = None;
        let (behind, mut served) = (&self.behind, |rank, block| told = Some((rank, block)));
        let mut block = self.layers.pop::<false>(class, behind, &mut served);
        let mut by_layer = !block.is_null();
        if block.is_null() {
            block = behind.pop(class);
        }
        if block.is_null() {
            block = self.layers.pop::<true>(class, behind, &mut served);
            by_layer = !block.is_null();
        }
        assert_eq!(told.map(|(_, block)| block), by_layer.then_some(block), "{}", self.name);
        if block.is_null() {
            let lost = self.inside.values().filter(|&&of| of == class).count();
            assert_eq!(lost, 0, "{} has lost blocks of class {class}", self.name);
        } else {
            self.left(class, block);
        }
    }

    /// A block has come out.
    fn left(&mut self, class: usize, block: *mut u8) {
        let was = self.inside.remove(&block);
        assert_eq!(was, Some(class), "{} gave {block:p} as class {class}", self.name);
    }

    fn drain(&mut self, class: usize, keep: Keep) {
        let held = self.layers.count(class);
        let mut out: Vec<Slot> = Vec::new();
        self.layers.drain(class, keep, &mut |blocks, count| {
            // SAFETY: so many blocks lie there.
            out.extend(unsafe { core::slice::from_raw_parts(blocks, count) });
        });
        assert_eq!(self.layers.count(class) + out.len(), held, "{}", self.name);
        match keep {
            Keep::Nothing => assert_eq!(self.layers.count(class), 0, "{}", self.name),
            Keep::Half => assert!(self.layers.count(class) <= held.div_ceil(2), "{}", self.name),
        }
        out.into_iter().for_each(|block| self.left(class, block));
    }

    fn refill(&mut self, class: usize) {
        // A refill comes when everything is empty.
        while self.inside.values().any(|&of| of == class) {
            self.pop(class);
        }
        let (store, mut brought) = (&mut self.store, Vec::new());
        self.layers.hear(class, Event::Refill);
        let first = self.layers.refill(class, &mut |end, want| {
            let want = if store.used % 3 == 0 { want / 2 } else { want };
            for at in 0..want {
                let Some(block) = store.fresh() else { break };
                // SAFETY: `want` slots below `end` are writable, as the layer promised.
                unsafe { *end.sub(at + 1) = block };
                brought.push(block);
            }
            brought.len()
        });
        let Some(first) = first else {
            assert!(brought.is_empty(), "{} took a batch and gave nothing", self.name);
            return;
        };
        self.inside.extend(brought.iter().map(|&block| (block, class)));
        if first.is_null() {
            assert!(brought.is_empty(), "{} had a batch and gave nothing", self.name);
        } else {
            self.left(class, first);
        }
    }

    /// What the layers and the magazines say they hold is what should be in them.
    fn books_agree(&self) {
        let mut held = BTreeMap::new();
        for class in 1..COUNT {
            let mut count = 0;
            self.layers.each_block(class, &mut |block| {
                count += 1;
                assert!(held.insert(block, class).is_none(), "{} has {block:p} twice", self.name);
            });
            assert_eq!(self.layers.count(class), count, "{} class {class}", self.name);
            self.behind.each_block(class, |block| {
                assert!(held.insert(block, class).is_none(), "{} has {block:p} twice", self.name);
            });
        }
        assert!(held == self.inside, "{}: books differ", self.name);
    }

    fn everything_comes_back(&mut self) {
        self.books_agree();
        for class in 1..COUNT {
            self.drain(class, Keep::Nothing);
            // Some layers take blocks out of the magazine on the way.
            while self.behind.level(class) + self.layers.count(class) != 0 {
                self.pop(class);
            }
        }
        assert!(self.inside.is_empty(), "{} kept {}", self.name, self.inside.len());
    }
}

/// What is not a block's start comes back as it was, as the class it was freed as: its slab finds out
/// that it is none.
fn keeps_what_is_no_block<L: FrontendLayer>() {
    let behind = UnifiedCache::new();
    let mut layer = L::NEW;
    let mut store = Store::new(COUNT);
    for class in (1..COUNT).filter(|&class| L::CLASSES.has(class)) {
        layer.set_capacity(class, L::most(class));
        let inside = store.fresh().unwrap().wrapping_add(8);
        if layer.push(class, inside, &behind) {
            assert_eq!(layer.count(class), 1, "{} {class}", L::NAME);
            let mut out = [core::ptr::null_mut(); 2];
            assert_eq!(layer.drain(class, 0, &mut out), 1, "{} {class}", L::NAME);
            assert_eq!(out[0], inside, "{} {class}", L::NAME);
        }
    }
}

/// Capacity is the bound on what a layer takes; 0 is empty and full.
fn obeys_capacities<L: FrontendLayer>() {
    let name = L::NAME;
    let behind = UnifiedCache::new();
    let mut layer = L::NEW;
    let mut store = Store::new(100_000);
    // Under Miri, which takes its time, one class of several.
    let step = if cfg!(miri) { 16 } else { 1 };
    for class in (1..COUNT).filter(|&class| L::CLASSES.has(class)).step_by(step) {
        for capacity in [0, 1, L::most(class) / 4, L::most(class), L::most(class) + 7, 0] {
            layer.set_capacity(class, capacity);
            let now = layer.capacity(class);
            assert!(now <= capacity, "{name} {class}: {now} for {capacity}");
            assert!(capacity < L::most(class) || now >= L::most(class), "{name} {class}: {now}");
            let mut held = Vec::new();
            while let Some(block) = store.fresh() {
                if !layer.push(class, block, &behind) {
                    break;
                }
                held.push(block);
            }
            // Without magazines behind it, what it takes it holds.
            assert_eq!(layer.count(class), held.len(), "{name} {class}");
            assert!(held.len() <= now, "{name} {class}: {} of {now}", held.len());
            // It does not shrink below what it holds.
            layer.set_capacity(class, 0);
            assert_eq!(layer.count(class), held.len(), "{name} {class}");
            let mut out = [core::ptr::null_mut(); 3];
            while !held.is_empty() {
                let count = layer.drain(class, 0, &mut out);
                assert!(count != 0, "{name} {class}: a drain that drains nothing");
                for block in &out[..count] {
                    let at = held.iter().position(|held| held == block);
                    held.swap_remove(at.unwrap_or_else(|| panic!("{name}: not held")));
                }
            }
            assert_eq!(layer.drain(class, 0, &mut out), 0, "{name} {class}");
        }
        layer.set_capacity(class, 0);
        assert!(layer.pop(class, &behind).is_null(), "{name} {class}");
    }
}

#[test]
fn every_layer_keeps_its_promises() {
    Layers::each();
}

#[test]
#[cfg_attr(miri, ignore = "dozens of pairs; each layer alone runs")]
fn every_pair_of_layers_keeps_them_together() {
    Layers::pairs();
}

#[test]
fn the_list_says_of_each_layer_what_it_says_itself() {
    trait Agrees {
        fn agrees();
    }
    impl Agrees for End {
        fn agrees() {}
    }
    impl<P: Place, R: Agrees> Agrees for Over<P, R> {
        fn agrees() {
            assert_eq!(P::ON, P::Layer::ON, "{}", P::Layer::NAME);
            R::agrees();
        }
    }
    Layers::agrees();
}
