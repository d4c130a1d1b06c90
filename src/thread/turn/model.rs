//! Turns under the model checker: never both inside, each sees what the other did, and nobody waits
//! for ever. The thread's fence for the compiler and the worker's barrier are full fences here, which
//! is what they come to together (`membarrier(2)`).

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use loom::cell::UnsafeCell;
use std::boxed::Box;
use std::cell::Cell;
use std::rc::Rc;
use std::vec;

static TURN: Turn = Turn::new();

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/thread/turn.rs", source: include_str!("../turn.rs"), text }
}

fn one_visit_and_two_slow_paths() {
    let door = Door::new(&TURN);
    let inside = Rc::new(UnsafeCell::new(()));
    let visits = Rc::new(Cell::new(0));
    let worker = {
        let (inside, visits) = (Rc::clone(&inside), Rc::clone(&visits));
        move || {
            if door.visit(|| inside.with_mut(|_| ())).is_some() {
                visits.set(visits.get() + 1);
            }
        }
    };
    let thread = move || {
        for _ in 0..2 {
            let _inside = door.enter();
            inside.with_mut(|_| ());
            // A call from inside of a slow path.
            let _nested = door.enter();
            inside.with_mut(|_| ());
        }
    };
    together(vec![Box::new(thread), Box::new(worker)]);
    assert!(visits.get() <= 1);
}

/// The worker comes again before the thread has woken from waiting for it.
fn two_visits_and_a_slow_path() {
    let door = Door::new(&TURN);
    let inside = Rc::new(UnsafeCell::new(()));
    let worker = {
        let inside = Rc::clone(&inside);
        move || {
            for _ in 0..2 {
                door.visit(|| inside.with_mut(|_| ()));
            }
        }
    };
    let thread = move || {
        let _inside = door.enter();
        inside.with_mut(|_| ());
    };
    together(vec![Box::new(thread), Box::new(worker)]);
}

#[test]
fn who_waits_lets_the_worker_come_again() {
    check(
        "turn/two-visits",
        two_visits_and_a_slow_path,
        &[
            without("turn.visited.store(0, Ordering::Release);"),
            without("os::wake(&turn.visited);"),
        ],
    );
}

#[test]
fn nobody_meets_anybody_inside() {
    assert!(ON, "the models are built with the gate `background-worker`");
    check(
        "turn/two-slow-paths",
        one_visit_and_two_slow_paths,
        &[
            without("compiler_fence(Ordering::SeqCst);"),
            without("os::barrier() &&"),
            without("turn.visited.store(0, Ordering::Release);"),
            without("turn.busy.store(self.before, Ordering::Release);"),
            without("os::wake(&turn.visited);"),
        ],
    );
}
