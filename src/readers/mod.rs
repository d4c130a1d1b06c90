//! Readers, in every build: what the heap holds and what the counters of the gates say.

pub(crate) mod stats;
