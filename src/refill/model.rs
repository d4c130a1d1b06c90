//! The remote protocol under the model checker: the code that frees blocks of another heap's slab
//! against the code of its owner that takes them in and lets the slab go.
//!
//! The slabs are made outside of the executions; each execution takes their blocks out again. A slab
//! that is let go is said to be gone, so that a thread that still touches it is found out.

use super::*;
use crate::base::sync::model::{Flaw, alive, check, gone, must_find, together};
use crate::class::class_of;
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::cell::Cell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

/// Large enough for one word of bitmap.
const SIZE: usize = 9000;

/// A heap without a thread, one slab, its blocks.
#[derive(Clone, Copy)]
struct Scene {
    bins: *mut Bins,
    slab: *mut Slab,
    class: usize,
    blocks: [*mut u8; 2],
}

std::thread_local! {
    static SCENE: Cell<Option<Scene>> = const { Cell::new(None) };
    static SECOND: Cell<*mut Slab> = const { Cell::new(ptr::null_mut()) };
}

const fn without(text: &'static str) -> Flaw {
    let (file, source) = ("src/segment/slab/remote.rs", include_str!("../segment/slab/remote.rs"));
    Flaw { file, source, text }
}

/// Two blocks of `slab` that a program holds.
fn two_of(slab: &Slab) -> [*mut u8; 2] {
    let mut blocks = [ptr::null_mut::<u8>(); 2];
    for at in 0..2 {
        // SAFETY: one slot lies below the end.
        let got = unsafe { slab.carve(blocks.as_mut_ptr().add(at + 1), 1) };
        assert_eq!(got, 1);
    }
    blocks
}

fn set_up() {
    let bins: &'static mut Bins =
        Box::leak(Box::new(Bins::new(Box::leak(Box::new(PendingStack::new())))));
    let class = class_of(SIZE);
    let slab = Slab::create(class, bins.pending, true).unwrap().as_ptr();
    // The current slab stays where it is when blocks come home.
    bins.of(class).current = slab;
    // SAFETY: just made.
    let blocks = two_of(unsafe { &*slab });
    SECOND.set(Slab::create(class, bins.pending, true).unwrap().as_ptr());
    // SAFETY: just made.
    two_of(unsafe { &*SECOND.get() });
    SCENE.set(Some(Scene { bins, slab, class, blocks }));
}

/// Takes home blocks out again, so that an execution begins as the first did.
fn take_out(slab: &Slab) -> Vec<*mut u8> {
    let mut blocks = [ptr::null_mut::<u8>(); 2];
    // SAFETY: two slots lie below the end.
    let got = unsafe { slab.take(blocks.as_mut_ptr().add(2), 2) };
    blocks[2 - got..].to_vec()
}

/// What the program keeps in its blocks.
type Contents = Rc<[UnsafeCell<()>; 2]>;

fn begin() -> (Scene, Contents) {
    let scene = SCENE.get().unwrap();
    // SAFETY: alive between executions, and nobody else's.
    for slab in [unsafe { &*scene.slab }, unsafe { &*SECOND.get() }] {
        take_out(slab);
        let bytes = size_of::<Slab>() + 2 * slab.info().words() * size_of::<u64>();
        alive(slab, bytes);
    }
    (scene, Rc::new([UnsafeCell::new(()), UnsafeCell::new(())]))
}

/// A thread of another heap writes to a block for the last time and frees it.
fn free(scene: Scene, slab: *mut Slab, index: usize, contents: &Contents) {
    contents[index].with_mut(|_| ());
    let of_slab = if slab == scene.slab { scene.blocks } else { blocks_of(slab) };
    // SAFETY: a slab with a block that is not home is alive.
    unsafe {
        flush_remote(&*slab, scene.class, &of_slab[index..=index]);
    }
}

fn blocks_of(slab: *mut Slab) -> [*mut u8; 2] {
    // SAFETY: alive; these never change.
    let (base, size) = unsafe { ((*slab).base, (*slab).info().size as usize) };
    [base, base.wrapping_add(size)]
}

/// The owner hands blocks that have come home out again: it sees what was done to them before.
fn use_again(scene: Scene, slab: &Slab, contents: &Contents) {
    for block in take_out(slab) {
        if let Some(index) = scene.blocks.iter().position(|it| *it == block) {
            contents[index].with_mut(|_| ());
        }
        slab.put(&[block]).unwrap();
    }
}

/// The owner's look: takes in what has come, lets the slab go if it may. True: gone.
fn look(scene: Scene, contents: &Contents, obeys_pending: bool) -> bool {
    // SAFETY: the owner's bins; the slab is alive until it says that it is gone.
    unsafe {
        (*scene.bins).drain_pending();
        let slab = &*scene.slab;
        use_again(scene, slab, contents);
        // As `sweep` and `settle` ask before they destroy a slab.
        if slab.all_home() && !(obeys_pending && slab.is_pending()) {
            gone(scene.slab);
            return true;
        }
        false
    }
}

fn frees_and_a_release(obeys_pending: bool) {
    let (scene, contents) = begin();
    let was_gone = Rc::new(Cell::new(false));
    let owner = {
        let (contents, was_gone) = (Rc::clone(&contents), Rc::clone(&was_gone));
        move || {
            for _ in 0..2 {
                if !was_gone.get() {
                    was_gone.set(look(scene, &contents, obeys_pending));
                }
            }
        }
    };
    let freer = |index| {
        let contents = Rc::clone(&contents);
        Box::new(move || free(scene, scene.slab, index, &contents)) as Box<dyn FnOnce()>
    };
    together(vec![freer(0), freer(1), Box::new(owner)]);
    // SAFETY: the threads have ended; the slab was never really destroyed.
    unsafe {
        (*scene.bins).drain_pending();
        let slab = &*scene.slab;
        assert!(!slab.is_pending());
        // Bits that relied on a mark just cleared wait for a visit, as `sweep` pays it.
        slab.drain_bits().unwrap();
        assert_eq!(slab.count_bits(), (2, 0), "a block was lost");
        assert!(slab.all_home());
    }
}

fn a_slab_is_let_go() {
    frees_and_a_release(true);
}

fn a_slab_is_let_go_too_soon() {
    frees_and_a_release(false);
}

/// Two slabs come onto the stack at once.
fn two_slabs() {
    let (scene, contents) = begin();
    let second = SECOND.get();
    let freer = |slab, index| {
        let contents = Rc::clone(&contents);
        Box::new(move || free(scene, slab, index, &contents)) as Box<dyn FnOnce()>
    };
    let found = Rc::new(Cell::new(0));
    let drain = {
        let found = Rc::clone(&found);
        move || {
            // SAFETY: slabs on the stack are alive.
            unsafe {
                let mut slab = (*scene.bins).pending.take_all();
                while !slab.is_null() {
                    let next = PendingStack::next(slab);
                    found.set(found.get() + (*slab).drain_popped().unwrap());
                    slab = next;
                }
            }
        }
    };
    let first = drain.clone();
    together(vec![freer(scene.slab, 0), freer(second, 1), Box::new(first)]);
    drain();
    assert_eq!(found.get(), 2, "a slab fell off the stack");
}

#[test]
fn blocks_come_home_and_a_slab_is_let_go_by_the_last() {
    set_up();
    check(
        "remote/release",
        a_slab_is_let_go,
        &[
            without("self.remote(word).fetch_add(bits, Ordering::Release)"),
            without("let bits = remote.swap(0, Ordering::Acquire);"),
        ],
    );
    must_find("remote/release, `pending` not looked at", a_slab_is_let_go_too_soon);
}

#[test]
fn no_slab_falls_off_the_stack() {
    set_up();
    check("remote/two-slabs", two_slabs, &[]);
}
