//! Statistics of the verdict: a robust mean, its bootstrap interval, correction for several tests.
//!
//! Pure functions of numbers; nothing here knows what was measured. No maintained BCa crate exists,
//! so [`bootstrap`] is written here and checked against SciPy's figures.

pub mod bootstrap;
pub mod holm;
pub mod resample;
pub mod robust;

pub use bootstrap::{Bootstrap, Interval};
