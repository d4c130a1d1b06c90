//! The parking lot and the list of all heaps under the model checker: a heap has one user at a time,
//! who sees what the one before did, and whoever walks the list sees whole heaps.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::cell::Cell;
use std::rc::Rc;
use std::vec;

std::thread_local! {
    static HEAPS_MADE: Cell<[*mut Heap; 2]> = const { Cell::new([ptr::null_mut(); 2]) };
}

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/thread/park.rs", source: include_str!("../park.rs"), text }
}

fn set_up() {
    HEAPS_MADE.set([Heap::create().unwrap(), Heap::create().unwrap()]);
}

/// What a heap's user does to it, by heap.
type Contents = Rc<[UnsafeCell<()>; 2]>;

fn begin() -> ([*mut Heap; 2], Contents) {
    *LOT.lock() = Lot { first: ptr::null_mut(), count: 0 };
    (HEAPS_MADE.get(), Rc::new([UnsafeCell::new(()), UnsafeCell::new(())]))
}

fn index_of(heap: *mut Heap) -> usize {
    HEAPS_MADE.get().iter().position(|it| *it == heap).expect("a heap of ours")
}

fn taken_and_parked() {
    let (heaps, contents) = begin();
    // SAFETY: heaps without a thread.
    unsafe { park(heaps[0], false) };
    let user = |purges: bool| {
        let contents = Rc::clone(&contents);
        Box::new(move || {
            if let Some(heap) = take_if(|parked_at, _| !purges || parked_at != u64::MAX) {
                contents[index_of(heap)].with_mut(|_| ());
                // SAFETY: taken out by this thread.
                unsafe { park(heap, purges) };
            }
        }) as Box<dyn FnOnce()>
    };
    // A thread that starts, one that ends, one that purges what is parked.
    let ends = {
        let contents = Rc::clone(&contents);
        Box::new(move || {
            contents[1].with_mut(|_| ());
            // SAFETY: this thread's heap.
            unsafe { park(heaps[1], false) };
        })
    };
    together(vec![user(false), ends, user(true)]);
    assert_eq!(counts(), (0, 2));
    let first = take_if(|_, _| true).unwrap();
    let second = take_if(|_, _| true).unwrap();
    assert_ne!(first, second);
    assert_eq!(take_if(|_, _| true), None);
}

fn published_and_walked() {
    let (heaps, contents) = begin();
    let born = |heap: *mut Heap| {
        let contents = Rc::clone(&contents);
        Box::new(move || {
            contents[index_of(heap)].with_mut(|_| ());
            publish(heap);
        }) as Box<dyn FnOnce()>
    };
    let walk = {
        let contents = Rc::clone(&contents);
        move || each(|heap| contents[index_of(heap)].with(|_| ()))
    };
    together(vec![born(heaps[0]), born(heaps[1]), Box::new(walk)]);
    let mut seen = 0;
    each(|_| seen += 1);
    assert_eq!((seen, counts().0), (2, 2), "a heap fell out of the list");
}

#[test]
fn a_parked_heap_has_one_user_at_a_time() {
    set_up();
    check("park/lot", taken_and_parked, &[]);
}

#[test]
fn a_walk_of_the_list_sees_whole_heaps() {
    set_up();
    check(
        "park/list",
        published_and_walked,
        &[
            without("ALL.compare_exchange_weak(first, heap, Ordering::Release"),
            without("ALL.load(Ordering::Acquire)"),
        ],
    );
}
