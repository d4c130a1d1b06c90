//! The per-thread layers in front of the SuperSlabs.
//!
//! Layer 0, the unified cache ([`magazine`]), is all that the fast path touches: one magazine per
//! class. Its batches come from and go to layer 2 (`refill`), which this folder does not know: it
//! moves pointers, and says when a magazine has run empty or full.

pub(crate) mod magazine;
