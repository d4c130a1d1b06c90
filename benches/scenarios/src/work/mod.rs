//! The scenarios themselves, by the kind of block they live on.

pub mod boundary;
pub mod idle;
pub mod large;
pub mod real;
pub mod slots;
pub mod small;
pub mod threads;
pub mod trees;
