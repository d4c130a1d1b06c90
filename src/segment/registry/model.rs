//! The map of addresses under the model checker: who finds a SuperSlab or a run by an address sees
//! it as it was when it was published; and where a huge block has the entry, no class stands.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use crate::segment::{arena, spans::Span};
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::rc::Rc;
use std::vec;

static DESCRIPTOR: SuperSlab = SuperSlab {
    base: AtomicPtr::new(ptr::null_mut()),
    runs: [const { AtomicPtr::new(ptr::null_mut()) }; SUPERSLAB_GRANULES],
};

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/segment/registry.rs", source: include_str!("../registry.rs"), text }
}

/// Where nothing is mapped, and nothing read or written.
const BASE: *mut u8 = ptr::without_provenance_mut(WINDOW / 2);
const RUN: *mut Slab = ptr::without_provenance_mut(64);

/// One thread maps a SuperSlab and makes a slab in it, one takes it away again, others look.
fn published_and_found() {
    let superslab = Rc::new(UnsafeCell::new(()));
    let slab = Rc::new(UnsafeCell::new(()));
    let publisher = {
        let (superslab, slab) = (Rc::clone(&superslab), Rc::clone(&slab));
        move || {
            superslab.with_mut(|_| ());
            publish_superslab(BASE.addr(), &DESCRIPTOR);
            // As `Arena::claim` does with the first run.
            DESCRIPTOR.base.store(BASE, Ordering::Relaxed);
            slab.with_mut(|_| ());
            publish_run(BASE.wrapping_add(GRANULE), 2, RUN);
        }
    };
    let look = |granule: usize| {
        let (superslab, slab) = (Rc::clone(&superslab), Rc::clone(&slab));
        Box::new(move || {
            let address = BASE.wrapping_add(granule * GRANULE + 5);
            if superslab_of(address).is_some() {
                superslab.with(|_| ());
            }
            let found = run_of(address);
            if !found.is_null() {
                assert_eq!(found, RUN);
                slab.with(|_| ());
            }
        }) as Box<dyn FnOnce()>
    };
    let nothing = || {
        assert!(run_of(BASE.wrapping_add(3 * GRANULE)).is_null());
    };
    together(vec![Box::new(publisher), look(1), look(2)]);
    assert_eq!(run_of(BASE.wrapping_add(2 * GRANULE)), RUN);
    nothing();
    retract_run(BASE.wrapping_add(GRANULE), 2);
    assert!(run_of(BASE.wrapping_add(GRANULE)).is_null());
    retract_superslab(BASE.addr());
    assert!(superslab_of(BASE).is_none() && !entry_taken(BASE.addr()));
}

#[test]
fn what_is_found_by_an_address_is_whole() {
    check(
        "registry",
        published_and_found,
        &[
            without("super_entry(address).store(ptr::from_ref(superslab)"),
            without("let found = super_entry(address).load(Ordering::Acquire);"),
            without("entry.store(run, Ordering::Release);"),
            without("Some(run) => run.load(Ordering::Acquire),"),
        ],
    );
}

/// Where a huge block would share the entry.
const HUGE: *mut u8 = BASE.wrapping_add(WINDOW);

/// The class that a free of the huge block would find.
fn named() -> u8 {
    class_entry(HUGE.addr()).load(Ordering::Relaxed)
}

/// What is done under the segment's lock.
fn in_segment(act: impl FnOnce()) {
    arena::fork_acquire();
    act();
    // SAFETY: taken just now.
    unsafe { arena::fork_release(false) };
}

/// One thread makes an arena and a slab in it, one makes another slab, while a huge block is recorded
/// that has the slabs' entry.
fn shared_by_a_huge_block() {
    // An exploration that has found something ends in the middle.
    spans::remove(HUGE);
    let maker = || {
        in_segment(|| {
            // As `add_arena` does, and `alloc_run`.
            if !spans::aliases(BASE.addr(), SUPERSLAB) {
                publish_superslab(BASE.addr(), &DESCRIPTOR);
                if spans::aliases(BASE.addr(), SUPERSLAB) {
                    expect_shared();
                }
                name_class(BASE, 1, 7);
            }
        });
    };
    let another = || {
        in_segment(|| {
            if entry_taken(BASE.addr()) {
                name_class(BASE, 1, 8);
            }
        });
    };
    let holder = || {
        assert!(spans::insert(Span { at: HUGE, bytes: 1 }));
        arena::settle(HUGE);
        assert_eq!(named(), 0, "the block would be freed as one of a slab");
    };
    together(vec![Box::new(maker), Box::new(another), Box::new(holder)]);
    assert_eq!(named(), 0, "the block would be freed as one of a slab");
    spans::remove(HUGE);
}

#[test]
fn an_entry_that_a_huge_block_has_names_no_class() {
    // Outside of the executions: the table of huge blocks.
    let other = BASE.wrapping_add(2 * WINDOW + SUPERSLAB);
    assert!(spans::insert(Span { at: other, bytes: 1 }));
    spans::remove(other);
    check(
        "registry/shared",
        shared_by_a_huge_block,
        &[Flaw {
            file: "src/os/lock.rs",
            source: include_str!("../../os/lock.rs"),
            text: "self.state.swap(0, Ordering::Release)",
        }],
    );
}
