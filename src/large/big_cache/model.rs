//! The shared cache of large blocks under the model checker: a block is handed to one taker, who sees
//! what was done to it before, or goes back to the system once; the budget's sum comes out even.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::cell::Cell;
use std::rc::Rc;
use std::vec;

const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 3;

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/os/lock.rs", source: include_str!("../../os/lock.rs"), text }
}

fn entry(index: usize) -> Entry {
    // An address that nobody reads or writes at.
    let at = ptr::without_provenance_mut((index + 1) * BLOCK);
    Entry { span: Span { at, bytes: BLOCK }, stamp: 0 }
}

/// Three blocks are freed by two threads, one is asked for; the budget has room for two.
fn freed_and_taken() {
    os::unmapped();
    for shard in &SHARED {
        shard.lock().used = 0;
    }
    let contents: Rc<[UnsafeCell<()>; BLOCKS]> =
        Rc::new([const { () }; BLOCKS].map(UnsafeCell::new));
    let freer = |indices: &'static [usize]| {
        let contents = Rc::clone(&contents);
        Box::new(move || {
            for &index in indices {
                contents[index].with_mut(|_| ());
                put_shared(entry(index));
            }
        }) as Box<dyn FnOnce()>
    };
    let taken = Rc::new(Cell::new(0));
    let take = {
        let (contents, taken) = (Rc::clone(&contents), Rc::clone(&taken));
        move || {
            if let Some(found) = take_shared(BLOCK, 1) {
                contents[found.span.at.addr() / BLOCK - 1].with_mut(|_| ());
                taken.set(taken.get() + 1);
            }
        }
    };
    let taker = Box::new(take.clone());
    together(vec![freer(&[0, 1]), freer(&[2]), taker]);
    assert!(held() <= BYTES.load(Ordering::Relaxed));
    let kept = held() / BLOCK;
    age(0, true);
    assert_eq!(held(), 0, "the sum is out of step with the shards");
    assert_eq!(taken.get() + os::unmapped() / BLOCK, BLOCKS, "a block was lost or came twice");
    assert!(kept <= SHARD_ENTRIES);
}

#[test]
fn a_cached_block_goes_to_one_taker_or_back() {
    // Outside of the executions, which begin with it: whatever is freed is worth keeping.
    thermal::POLICY.store(thermal::FreePolicy::Keep as u8, Ordering::Relaxed);
    BYTES.store(2 * BLOCK, Ordering::Relaxed);
    check("big-cache", freed_and_taken, &[without("self.state.swap(0, Ordering::Release)")]);
}
