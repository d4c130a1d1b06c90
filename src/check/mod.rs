//! Checks of the whole heap against its invariants. For tests and for `collect`-time debugging:
//! nothing here runs by itself.

pub mod fault;
pub(crate) mod walker;
