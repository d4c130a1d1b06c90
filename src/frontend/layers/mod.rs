//! The layers, one file each. `super::stack` has them in their order; a build has those whose features
//! are on.

pub(super) mod fast_cache;
pub(super) mod ultra_hot;
