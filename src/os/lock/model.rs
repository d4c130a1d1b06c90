//! The lock under the model checker: one holder at a time, what it wrote is seen by the next, and
//! nobody sleeps for ever.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use std::boxed::Box;
use std::vec;

static VALUE: Lock<u32> = Lock::new(0);

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/os/lock.rs", source: include_str!("../lock.rs"), text }
}

fn add() {
    *VALUE.lock() += 1;
}

fn try_to_add() {
    // Whoever can't have it goes on without.
    if let Some(mut value) = VALUE.try_lock() {
        *value += 1;
    } else {
        add();
    }
}

fn start() {
    *VALUE.lock() = 0;
}

fn three_threads() {
    start();
    together(vec![Box::new(add), Box::new(add), Box::new(add)]);
    assert_eq!(*VALUE.lock(), 3);
}

fn one_only_tries() {
    start();
    together(vec![Box::new(add), Box::new(try_to_add)]);
    assert_eq!(*VALUE.lock(), 2);
}

#[test]
fn one_holder_at_a_time_and_all_come_in() {
    check(
        "lock/three-threads",
        three_threads,
        &[
            without("self.state.swap(0, Ordering::Release)"),
            without("self.state.swap(2, Ordering::Acquire)"),
            without("super::wake(&self.state)"),
        ],
    );
}

#[test]
fn trying_takes_the_lock_or_leaves_it() {
    check(
        "lock/trying",
        one_only_tries,
        &[without(
            "if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {",
        )],
    );
}
