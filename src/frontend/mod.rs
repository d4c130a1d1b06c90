//! The per-thread layers in front of the SuperSlabs.
//!
//! Layer 0, the unified cache ([`magazine`]), is all that the fast path touches in the default build:
//! one magazine per class. Its batches come from and go to layer 2 (`refill`), which this folder does
//! not know: it moves pointers, and says when a magazine has run empty or full. The layers that stand
//! before it or right behind it ([`layers`], listed in [`stack`], joined by [`chain`]) are features, each a
//! [`layer::FrontendLayer`]. Two of them lead to the background worker, through the queues of [`handoff`].

mod arrays;
mod chain;
#[cfg(test)]
mod conformance;
pub(crate) mod handoff;
pub(crate) mod layer;
mod layers;
pub(crate) mod magazine;
pub(crate) mod stack;
pub(crate) mod tuning;
