//! Settings, and what follows from them. Policies act by writing the knobs that the mechanisms
//! read on their slow paths; nothing here is on any path of an allocation.

pub(crate) mod auto;
pub(crate) mod builder;
pub(crate) mod config;
pub(crate) mod diet;
pub(crate) mod engine;
pub(crate) mod file;
mod settings;
mod shown;
