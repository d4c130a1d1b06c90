//! Refill policies: how many blocks a refill brings, and where they go.
//!
//! | policy | gate | a refill brings | where they go |
//! |---|---|---|---|
//! | P0 batch | none, the default | half a magazine | into the magazine, which serves the request |
//! | legacy | `legacy-refill` | one block | the same way; it shows what batches are worth |
//! | direct | `front-direct` | what the layers in front have room for, and one | the first to the caller, the others to these layers; the magazine is left out |
//!
//! Legacy binds the layers that bring in their own batches, too. Direct leaves those alone, as their
//! batches go straight to the front already, and where no layer in front has room it is P0 batch.

#[cfg(all(feature = "legacy-refill", feature = "front-direct"))]
compile_error!(
    "`legacy-refill` and `front-direct` do not go together: the one brings a block at a time, the other \
     as many as the layers in front have room for; turn one of them off"
);

/// Whether a refill brings one block, whatever it was asked for.
pub(super) const LEGACY: bool = cfg!(feature = "legacy-refill");

/// Whether refills go straight to the caller and the layers in front.
pub(crate) const DIRECT: bool = cfg!(feature = "front-direct");

/// Blocks that such a refill brings at most.
pub(crate) const DIRECT_BLOCKS: usize = 33;
