//! Counters, each of which belongs to a gate.
//!
//! [`gates`] is the one table: a row makes a zero-sized marker type with `ON` and its slots. A
//! call site reads `heap.tally.hit::<TinyFreeCalls>(0)`. Off: no instruction, no byte, still
//! type-checked. On: one unlocked increment of a slot of the thread's heap; readers sum over all
//! heaps, those of finished threads included, so nothing is lost at thread exit.
//!
//! Assumes that one thread at a time has a heap. Promises: no decision reads a counter here.

pub(crate) mod gates;
pub(crate) mod tally;
