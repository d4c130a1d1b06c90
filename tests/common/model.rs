//! A model of a heap, and operations that are applied to both.
//!
//! The model knows every live block: where, how long, how aligned, what was written. A block that
//! overlaps another, is badly aligned, loses a byte, or says it is smaller than asked for fails the
//! test at the operation that shows it. So does a call without memory, unless the model was told that
//! there may be none: then the answer must be null and `ENOMEM`, and nothing else may have changed.

use super::memory;
use super::random::Random;
use hakmem::{Hakmem, raw};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::fmt;

/// Largest block of a slab.
pub const MID_BLOCK: usize = 256 << 10;
/// Largest request that a model makes.
const MOST: usize = 4 << 20;
/// Largest request that slabs serve.
pub const MID_MAX: usize = MID_BLOCK - super::RESERVED;

static HAKMEM: Hakmem = Hakmem::new();

/// How a block was made, and so how it may be freed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// `malloc`, `calloc`: any free, sized ones included.
    Plain,
    /// `realloc`: not by size.
    Moved,
    /// `aligned_alloc` of this alignment.
    Aligned(usize),
    /// `GlobalAlloc`, this alignment: sized by contract.
    Rust(usize),
}

#[derive(Clone, Copy, Debug)]
struct Block {
    size: usize,
    usable: usize,
    origin: Origin,
    stamp: u64,
    slab: bool,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Malloc(usize),
    Calloc(usize, usize),
    Aligned(usize, usize),
    Rust(usize, usize),
    RustZeroed(usize, usize),
    Realloc(usize, usize),
    Free(usize),
    FreeSized(usize),
    Collect,
}

/// A live block on its way from one model to another.
pub struct Parcel {
    address: usize,
    block: Block,
}

impl Parcel {
    /// The block's size.
    pub fn bytes(&self) -> usize {
        self.block.size
    }
}

/// Live blocks by address.
#[derive(Default)]
pub struct Model {
    blocks: BTreeMap<usize, Block>,
    order: Vec<usize>,
    /// What the sizes of the blocks add up to.
    bytes: usize,
    stamps: u64,
    /// Calls that found no memory; `None`: none may.
    refused: Option<usize>,
}

fn pointer(address: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address)
}

/// The byte at `offset` of a block filled with `stamp`.
fn byte(stamp: u64, offset: usize) -> u8 {
    (stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8 ^ (offset as u8).wrapping_mul(31)
}

/// Offsets to write and compare: all of a small block, both ends and every page of a large one.
fn offsets(size: usize) -> impl Iterator<Item = usize> {
    let (all, step) = if size <= 512 { (size, 1) } else { (64, 997) };
    (0..all)
        .chain((all..size).step_by(step))
        .chain((size.max(all + 64) - 64..size).filter(move |_| size > all))
}

impl Model {
    pub fn new() -> Self {
        Model::default()
    }

    /// A model of a heap that may find no memory.
    pub fn tolerant() -> Self {
        let mut model = Model::new();
        model.refused = Some(0);
        model
    }

    /// Calls that found no memory.
    pub fn refused(&self) -> usize {
        self.refused.unwrap_or(0)
    }

    /// From now on every call must find memory.
    pub fn insist(&mut self) {
        self.refused = None;
    }

    /// An answer without memory, which must be one as documented.
    fn refuse(&mut self, what: &Call) {
        let Some(refused) = &mut self.refused else { panic!("{what:?}: no memory") };
        *refused += 1;
        assert_eq!(memory::errno(), libc::ENOMEM, "{what:?}: null, errno");
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Live blocks that slabs serve.
    pub fn in_slabs(&self) -> usize {
        self.blocks.values().filter(|block| block.slab).count()
    }

    pub fn live_bytes(&self) -> usize {
        self.bytes
    }

    /// Addresses of the live blocks, oldest first.
    pub fn addresses(&self) -> &[usize] {
        &self.order
    }

    fn fill(&mut self, at: *mut u8, size: usize) -> u64 {
        self.stamps += 1;
        for offset in offsets(size) {
            // SAFETY: the block is live and `size` bytes long.
            unsafe { at.add(offset).write(byte(self.stamps, offset)) };
        }
        self.stamps
    }

    fn check_content(at: usize, size: usize, stamp: u64, filled: usize, what: &str) {
        for offset in offsets(filled).filter(|&offset| offset < size) {
            // SAFETY: the block is live and `size` bytes long.
            let found = unsafe { pointer(at).add(offset).read() };
            assert_eq!(found, byte(stamp, offset), "{what}: byte {offset} of {filled} at {at:#x}");
        }
    }

    fn add(&mut self, at: *mut u8, size: usize, align: usize, origin: Origin, what: &Call) {
        if at.is_null() {
            return self.refuse(what);
        }
        let address = at.expose_provenance();
        assert_eq!(address % align, 0, "{what:?}: {address:#x} is not aligned to {align}");
        // SAFETY: the block is live.
        let usable = unsafe { raw::usable_size(at) };
        assert!(usable >= size, "{what:?}: usable size {usable} is below {size}");
        assert!(raw::owns(at) && raw::owns(at.wrapping_add(usable - 1)), "{what:?}: not ours");
        self.check_apart(address, usable, what);
        let stamp = self.fill(at, size);
        // The last usable byte is ours as well.
        if usable > size {
            // SAFETY: honest usable size.
            unsafe { at.add(usable - 1).write(0xEE) };
        }
        let slab = usable <= MID_MAX && align <= MID_BLOCK;
        self.keep(address, Block { size, usable, origin, stamp, slab });
    }

    /// No other live block may reach into a new one.
    fn check_apart(&self, address: usize, usable: usize, what: impl fmt::Debug) {
        if let Some((&below, block)) = self.blocks.range(..address).next_back() {
            assert!(
                below + block.usable <= address,
                "{what:?}: {address:#x} lies in {below:#x} of {} bytes",
                block.usable
            );
        }
        if let Some((&above, _)) = self.blocks.range(address..).next() {
            assert!(
                address + usable <= above,
                "{what:?}: {address:#x}+{usable} runs into {above:#x}"
            );
        }
    }

    fn keep(&mut self, address: usize, block: Block) {
        self.bytes += block.size;
        self.blocks.insert(address, block);
        self.order.push(address);
    }

    /// Gives a block away, its content checked; `None`: there is none.
    pub fn give(&mut self, index: usize) -> Option<Parcel> {
        self.take(index).map(|(address, block)| Parcel { address, block })
    }

    /// Takes over a block of another model, as it was left.
    pub fn accept(&mut self, parcel: Parcel) {
        let Parcel { address, block } = parcel;
        self.check_apart(address, block.usable, "a block from another model");
        self.keep(address, block);
    }

    fn take(&mut self, index: usize) -> Option<(usize, Block)> {
        if self.order.is_empty() {
            return None;
        }
        let index = index % self.order.len();
        let address = self.order.swap_remove(index);
        let block = self.blocks.remove(&address).expect("in both");
        self.bytes -= block.size;
        Self::check_content(address, block.size, block.stamp, block.size, "live block");
        Some((address, block))
    }

    fn check_zero(at: *mut u8, size: usize, what: &Call) {
        if at.is_null() {
            return;
        }
        // SAFETY: the block is live and `size` bytes long.
        let bytes = unsafe { std::slice::from_raw_parts(at, size) };
        // SAFETY: any eight bytes are a number.
        let (first, words, last) = unsafe { bytes.align_to::<u64>() };
        let zero =
            words.iter().all(|&word| word == 0) && first.iter().chain(last).all(|&byte| byte == 0);
        assert!(zero, "{what:?}: a byte that is not zero");
    }

    /// Applies one call to the heap and to the model.
    pub fn apply(&mut self, call: Call) {
        if self.refused.is_some() {
            memory::set_errno(0);
        }
        match call {
            Call::Malloc(size) => {
                let align = if size < 16 { 8 } else { 16 };
                self.add(raw::malloc(size), size, align, Origin::Plain, &call);
            }
            Call::Calloc(count, size) => {
                let at = raw::calloc(count, size);
                Self::check_zero(at, count * size, &call);
                self.add(at, count * size, 8, Origin::Plain, &call);
            }
            Call::Aligned(align, size) => {
                let at = raw::aligned_alloc(align, size);
                self.add(at, size, align, Origin::Aligned(align), &call);
            }
            Call::Rust(size, align) => {
                let layout = Layout::from_size_align(size.max(1), align).expect("valid");
                // SAFETY: the size is not zero.
                let at = unsafe { HAKMEM.alloc(layout) };
                self.add(at, size.max(1), align, Origin::Rust(align), &call);
            }
            Call::RustZeroed(size, align) => {
                let layout = Layout::from_size_align(size.max(1), align).expect("valid");
                // SAFETY: the size is not zero.
                let at = unsafe { HAKMEM.alloc_zeroed(layout) };
                Self::check_zero(at, size.max(1), &call);
                self.add(at, size.max(1), align, Origin::Rust(align), &call);
            }
            Call::Realloc(index, size) => {
                let Some((address, block)) = self.take(index) else { return };
                let (at, align, size, origin) = match block.origin {
                    Origin::Rust(align) => {
                        let layout = Layout::from_size_align(block.size, align).expect("valid");
                        let size = size.max(1);
                        // SAFETY: the layout is the block's; the size is not zero.
                        let at = unsafe { HAKMEM.realloc(pointer(address), layout, size) };
                        (at, align, size, Origin::Rust(align))
                    }
                    // SAFETY: the block is live.
                    _ => unsafe { (raw::realloc(pointer(address), size), 8, size, Origin::Moved) },
                };
                if at.is_null() {
                    self.refuse(&call);
                    Self::check_content(address, block.size, block.stamp, block.size, "refused");
                    self.keep(address, block);
                    return;
                }
                let kept = block.size.min(size);
                Self::check_content(at.addr(), kept, block.stamp, block.size, "after realloc");
                self.add(at, size, align, origin, &call);
            }
            Call::Free(index) => {
                if let Some((address, block)) = self.take(index) {
                    release(address, block.size, block.origin, false);
                }
            }
            Call::FreeSized(index) => {
                if let Some((address, block)) = self.take(index) {
                    release(address, block.size, block.origin, true);
                }
            }
            Call::Collect => {
                raw::collect();
            }
        }
    }

    /// Compares every byte that was written.
    pub fn check_all(&self) {
        for (&address, block) in &self.blocks {
            Self::check_content(address, block.size, block.stamp, block.size, "live block");
            // SAFETY: the block is live.
            assert_eq!(unsafe { raw::usable_size(pointer(address)) }, block.usable);
        }
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        while !self.is_empty() {
            self.apply(Call::Free(self.len() - 1));
        }
    }

    /// A random call that keeps the number of blocks near `aim` and large ones few.
    pub fn call(&self, random: &mut Random, aim: usize) -> Call {
        let index = random.below(usize::MAX >> 1);
        // What a run may hold is bounded, so that tests run beside each other.
        let most = if self.live_bytes() > 256 << 20 { 4096 } else { MOST };
        let grow = self.len() < aim / 2 || (self.len() < 2 * aim && random.below(2) == 0);
        Self::draw(random, index, most, grow)
    }

    /// A random call that keeps what the blocks add up to below `budget`, but for the last of them.
    pub fn call_within(&self, random: &mut Random, budget: usize) -> Call {
        let (index, live) = (random.below(usize::MAX >> 1), self.live_bytes());
        let most = if live > budget { 4096 } else { MOST };
        let grow = live < budget / 2 || (live < budget && random.below(2) == 0);
        Self::draw(random, index, most, grow)
    }

    /// A call on the block at `index`, or one that makes a block of `most` bytes at most.
    fn draw(random: &mut Random, index: usize, most: usize, grow: bool) -> Call {
        match random.below(1000) {
            0 => Call::Collect,
            1..150 => Call::Realloc(index, random.size(most)),
            _ if !grow && random.below(2) == 0 => Call::FreeSized(index),
            _ if !grow => Call::Free(index),
            150..500 => Call::Malloc(random.size(most)),
            500..600 => {
                let size = random.size(most);
                let count = 1 + random.below(8);
                Call::Calloc(count, size / count)
            }
            600..700 => Call::Aligned(random.align(most), random.size(most)),
            700..900 => Call::Rust(random.size(most), random.align(most)),
            _ => Call::RustZeroed(random.size(most), random.align(most)),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // After a failure the heap may be in any state: leave it.
        if !std::thread::panicking() {
            self.clear();
        }
    }
}

/// Frees a block in a way that its origin allows.
fn release(address: usize, size: usize, origin: Origin, sized: bool) {
    let at = pointer(address);
    // SAFETY: the block is live, of this size and origin.
    unsafe {
        match origin {
            Origin::Plain if sized => raw::free_sized(at, size),
            Origin::Aligned(align) if sized => raw::free_sized_aligned(at, align, size),
            Origin::Rust(align) => {
                HAKMEM.dealloc(at, Layout::from_size_align(size, align).expect("valid"));
            }
            _ => raw::free(at),
        }
    }
}
