//! Counters, traces and logs, each of which belongs to a gate.
//!
//! | file | what |
//! |---|---|
//! | [`gates`] | the one table: every gate, and every family of counters with the gates that read it |
//! | [`tally`] | where counters live and how they are added to |
//! | [`cache`], [`slabs`], [`front`], [`pool`], [`system`] | what is counted: the thread cache, slabs, layers, the mid tier's pool, system calls |
//! | [`classes`] | classes out of range: counted, and logged |
//! | [`header`] | header bytes that are wrong: counted, and logged |
//! | [`trace`], [`ring`] | the first frees; the last events of every heap |
//!
//! A call site reads `heap.tally.hit(class)`. Off: no instruction, no byte, still type-checked. On:
//! one unlocked increment in the heap's own counters; readers sum over all heaps, those of finished
//! threads included, so nothing is lost at thread exit. Events that several gates report are counted
//! once, and each gate's reader takes its part. With `telemetry-shared` there is one set of counters
//! for all threads instead, and every increment is locked.
//!
//! Lies below the operating-system layer, which counts its calls here. Assumes that one thread at a
//! time has a heap. Promises: no decision reads a counter; nothing here allocates, locks or waits.

pub(crate) mod cache;
pub(crate) mod classes;
pub(crate) mod front;
pub(crate) mod gates;
pub(crate) mod header;
pub(crate) mod pool;
pub(crate) mod ring;
pub(crate) mod slabs;
pub(crate) mod system;
pub(crate) mod tally;
pub(crate) mod trace;
