//! What users call: the Rust allocator, and the functions that C's names forward to.

pub mod raw;
pub(crate) mod rust;
