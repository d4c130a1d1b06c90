//! The slabs that the background worker fills bins from (gate `background-bin`): a heap's slabs without
//! a heap, so that no thread ever has them.
//!
//! Blocks of theirs that threads free come home as remote ones, as those of any other heap.
//!
//! Assumes for every call that the caller holds the worker's round (`background::hold`), which guards
//! them, also across a fork.

use crate::base::Guarded;
use crate::frontend::handoff;
use crate::refill::Bins;
use crate::segment::slab::PendingStack;
use core::ptr;

/// What other threads give back.
static PENDING: PendingStack = PendingStack::new();

/// Guarded by the worker's round.
static STOCK: Guarded<Bins> = Guarded::new(Bins::new(&PENDING));

/// Fills the bins that are asked for. True: something came in.
///
/// # Safety
/// The caller holds the worker's round.
pub(super) unsafe fn fill_bins() -> bool {
    // SAFETY: guarded, as the caller promised.
    let bins = unsafe { STOCK.get_mut() };
    let mut came = false;
    for class in handoff::short() {
        came |= fill_bin(bins, class);
    }
    came
}

fn fill_bin(bins: &mut Bins, class: usize) -> bool {
    let mut came = false;
    while handoff::is_short(class) {
        let mut blocks = [ptr::null_mut(); handoff::BLOCKS];
        let want = handoff::batch_of(class).min(blocks.len());
        let end = blocks.as_mut_ptr_range().end;
        // SAFETY: as many slots lie below the array's end.
        let got = unsafe { bins.stock(class, end, want) };
        let fresh = blocks.get(handoff::BLOCKS - got..).unwrap_or(&[]);
        if got == 0 || !handoff::stock(class, fresh) {
            // SAFETY: the blocks have just come from their slabs.
            unsafe { bins.flush(class, fresh.as_ptr(), got) };
            break;
        }
        came = true;
    }
    came
}

/// Takes in what has been given back and returns free pages: those of slabs that are quiet, or of all, and
/// empty slabs, while nothing is in the bins, or `all`. Gives the bytes returned.
///
/// # Safety
/// The caller holds the worker's round.
pub(super) unsafe fn sweep(all: bool) -> usize {
    if !handoff::BIN {
        return 0;
    }
    // SAFETY: guarded, as the caller promised.
    let bins = unsafe { STOCK.get_mut() };
    bins.sweep(!all && handoff::has_stock())
}
