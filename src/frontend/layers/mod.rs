//! The layers, one file each. `super::stack` has them in their order; a build has those whose features
//! are on.

pub(super) mod background_bin;
pub(super) mod background_spill;
pub(super) mod class5;
pub(super) mod fast_cache;
pub(super) mod front_c23;
pub(super) mod heap_v2;
pub(super) mod hot_mag;
pub(super) mod hot_pop;
pub(super) mod mini_mag;
pub(crate) mod pool_hotbox;
pub(super) mod quick_slots;
pub(super) mod ring_cache;
pub(super) mod sfc;
pub(super) mod tls_sll;
pub(super) mod ultra_front;
pub(super) mod ultra_hot;
