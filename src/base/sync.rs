//! The one place that names the atomic types, so that a model checker can be put underneath.
//!
//! Under `--cfg hakmem_model` the unit tests get the types of `model` instead, which have the same
//! layout and the same constructors; everything else in the crate stays as it is shipped.

#[cfg(all(test, hakmem_model))]
pub(crate) mod model;

#[cfg(not(all(test, hakmem_model)))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        compiler_fence,
    },
};

#[cfg(all(test, hakmem_model))]
pub(crate) use model::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
    spin_loop, written,
};

/// Says that what is guarded at this address is about to be read or written by its only user. A
/// model checker holds it against the orderings; everywhere else it is nothing.
#[cfg(not(all(test, hakmem_model)))]
#[inline(always)]
pub(crate) fn written<T>(_at: *const T) {}
