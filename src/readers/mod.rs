//! Readers, in every build: what the heap holds and what the counters of the gates say.
//!
//! | file | what |
//! |---|---|
//! | [`rows`] | the figures of each gate, as types |
//! | [`stats`] | a snapshot of all of them, and of what the heap holds |
//! | [`table`] | every counter as a named table: what text, JSON and queries by name are made from |
//! | [`dump`] | statistics on a signal |
//! | [`learning`] | what the policies have learned |
//! | [`events`] | traces, rings and logs, as lines and as JSON |
//!
//! A counter that is not compiled in is reported as that, never as zero. Nothing here allocates.

pub(crate) mod dump;
pub(crate) mod events;
pub(crate) mod learning;
pub(crate) mod rows;
pub(crate) mod stats;
mod table;
