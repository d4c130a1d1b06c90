//! The map of addresses under the model checker: who finds a SuperSlab or a run by an address sees
//! it as it was when it was published.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
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
            publish_run(BASE.wrapping_add(GRANULE), 2, RUN, 7);
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
