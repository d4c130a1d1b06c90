//! Heaps and threads: a thread has one heap at a time, a heap outlives its thread.
//!
//! A finished thread's heap is parked whole, magazines and slabs as they are, and handed to the
//! next thread that needs one. A parked heap can still receive remote frees, and any thread may
//! take it for a moment to purge it. Heaps are never freed. `turn` keeps a background worker and a
//! heap's thread apart.

pub(crate) mod heap;
pub(crate) mod park;
mod restless;
pub(crate) mod tls;
pub(crate) mod turn;
