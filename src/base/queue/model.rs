//! The bounded queue under the model checker: what is put in comes out once, whole, and a place is
//! not used again before it has been emptied.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

static ONE: Queue<u32, 1> = Queue::new();
static TWO: Queue<u32, 2> = Queue::new();

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/base/queue.rs", source: include_str!("../queue.rs"), text }
}

/// Values that were put in, and that were taken out, by all threads.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<(Vec<u32>, Vec<u32>)>>);

impl Log {
    fn push<const N: usize>(&self, queue: &Queue<u32, N>, value: u32) {
        if queue.push(value) {
            self.0.borrow_mut().0.push(value);
        }
    }

    fn pop<const N: usize>(&self, queue: &Queue<u32, N>) {
        let value = queue.pop();
        self.0.borrow_mut().1.extend(value);
    }

    /// The threads have ended: what is left comes out, and nothing is lost or there twice.
    fn ends<const N: usize>(&self, queue: &Queue<u32, N>) {
        (0..N).for_each(|_| self.pop(queue));
        assert_eq!(queue.len(), 0, "something stays in");
        let (mut put, mut taken) = self.0.take();
        put.sort_unstable();
        taken.sort_unstable();
        assert_eq!(put, taken);
    }
}

/// Two put in, two take out, in two places. (With a third value it is 46,805 interleavings, all sound.)
fn both_ways() {
    let log = Log::default();
    let put = |values: &'static [u32]| {
        let log = log.clone();
        Box::new(move || values.iter().for_each(|&value| log.push(&TWO, value)))
            as Box<dyn FnOnce()>
    };
    let take = || {
        let log = log.clone();
        Box::new(move || log.pop(&TWO)) as Box<dyn FnOnce()>
    };
    together(vec![put(&[1]), put(&[2]), take(), take()]);
    log.ends(&TWO);
}

/// One place that is used again and again.
fn round_and_round() {
    let log = Log::default();
    let put = {
        let log = log.clone();
        move || [1, 2, 3].into_iter().for_each(|value| log.push(&ONE, value))
    };
    let take = {
        let log = log.clone();
        move || (0..3).for_each(|_| log.pop(&ONE))
    };
    together(vec![Box::new(put), Box::new(take)]);
    log.ends(&ONE);
}

#[test]
fn what_goes_in_comes_out_once() {
    check(
        "queue/both-ways",
        both_ways,
        &[without("place.turn.store(empty + 1, Ordering::Release);")],
    );
}

#[test]
fn a_place_is_used_again_when_it_is_empty() {
    check(
        "queue/one-place",
        round_and_round,
        &[without("place.turn.store(empty + 1, Ordering::Release);")],
    );
}
