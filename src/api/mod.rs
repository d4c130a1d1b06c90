//! What users see: the Rust allocator, the functions that C's names forward to, readers.

pub mod raw;
pub(crate) mod rust;
pub(crate) mod stats;
