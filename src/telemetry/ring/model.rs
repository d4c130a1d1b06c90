//! The ring of events under the model checker: a reader drops what may have changed under it, and
//! sees whole events only.

use super::*;
use crate::base::sync::model::{Flaw, check, together};
use std::boxed::Box;
use std::vec;

static RING: Ring = Ring::new();

const fn without(text: &'static str) -> Flaw {
    Flaw { file: "src/telemetry/ring.rs", source: include_str!("../ring.rs"), text }
}

fn written_and_read() {
    let writer = || {
        for number in 0..EVENTS + 2 {
            RING.record(Event::Hit, number, number);
        }
    };
    let reader = || {
        RING.each(|event| {
            assert_eq!(event.what as u64, event.order, "half of another event");
            assert_eq!(event.class as u64, event.order, "half of another event");
        });
    };
    together(vec![Box::new(writer), Box::new(reader)]);
    let mut seen = 0;
    RING.each(|_| seen += 1);
    assert_eq!(seen, EVENTS);
}

#[test]
fn a_reader_never_sees_half_an_event() {
    assert!(TinyDebugRing::ON, "the models are built with the gate `tiny-debug-ring`");
    check(
        "ring",
        written_and_read,
        &[
            without("entry.what.store(what, Ordering::Release);"),
            without("done.store(order + 1, Ordering::Release);"),
        ],
    );
}
