//! Memory in bulk: address space, SuperSlabs, slabs, and the map that knows every address.
//!
//! Order of dependence: `guarded` (mappings between guard pages) < `meta` (storage for metadata) < `registry` (address to slab), `spans`
//! (address to mapping) < `arena`
//! (runs of granules) < `slab` (blocks of one class) < `header` (the byte before a block, a gate). Nothing here knows that threads have caches.
//!
//! Assumes the OS contract. Promises: any failure to get memory is reported as `None` with state
//! unchanged; metadata never lies inside the memory handed to users.

use crate::base::sync::AtomicBool;

pub(crate) mod arena;
pub(crate) mod guarded;
pub(crate) mod header;
pub(crate) mod meta;
pub(crate) mod misuse;
pub(crate) mod registry;
pub(crate) mod slab;
pub(crate) mod spans;

/// Whether memory is short, by the mem diet: caches behave as if they were smaller. One flag, so that
/// all of them agree however its changes meet.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static ON_DIET: AtomicBool = AtomicBool::new(false);

/// Length and alignment of a SuperSlab, in bytes.
pub(crate) const SUPERSLAB: usize = 1 << SUPERSLAB_SHIFT;
/// log2 of the SuperSlab length.
pub(crate) const SUPERSLAB_SHIFT: u32 = 21;
/// Granules in a SuperSlab.
pub(crate) const SUPERSLAB_GRANULES: usize = SUPERSLAB / crate::class::GRANULE;
