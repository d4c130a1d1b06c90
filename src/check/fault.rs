//! Faults made on purpose, for the tests of what must survive or find them.
//!
//! A class out of range comes from a table that something has overwritten; `*_of_class` stand for
//! that. A call that the operating system refuses comes from a machine without memory; [`refuse`]
//! stands for that. A background worker that does not get round to its work comes from a busy machine;
//! [`man_queues`] stands for that. Without the gate that is needed they do nothing.

use crate::frontend::handoff;
use crate::os::fault;
pub use crate::os::fault::{Kind, Plan};
use crate::readers::rows::Reading;
use crate::telemetry::classes::{CHECKED, REFILLS_CHECKED};
use crate::{cold, hot};
use core::ptr;

/// Asks for a block of a class as if a table had given it. Null if nothing would catch a bad one.
#[doc(hidden)]
#[must_use]
pub fn malloc_of_class(class: usize) -> *mut u8 {
    if CHECKED { hot::malloc_class(class) } else { ptr::null_mut() }
}

/// Frees a block as if a table had given its class. Nothing happens if nothing would catch a bad one.
///
/// # Safety
/// `block` is a block in use; with a class that is not its own the process ends.
#[doc(hidden)]
pub unsafe fn free_of_class(block: *mut u8, class: usize) {
    if CHECKED {
        // SAFETY: as the caller promised; a class out of range is caught.
        unsafe { hot::free_class(block, class) }
    }
}

/// Refills as if a table had given the class. Null if nothing would catch a bad one.
#[doc(hidden)]
#[must_use]
pub fn refill_of_class(class: usize) -> *mut u8 {
    if REFILLS_CHECKED { cold::refill(class) } else { ptr::null_mut() }
}

/// From now on calls of the operating system are refused as `plan` says; `None`: none is.
#[doc(hidden)]
pub fn refuse(plan: Option<Plan>) {
    fault::plan(plan);
}

/// From now on overflow goes to a worker that never comes, or (`false`) that has gone.
#[doc(hidden)]
pub fn man_queues(manned: bool) {
    handoff::man(manned);
}

/// Calls that the plan is about since it was made.
#[doc(hidden)]
#[must_use]
pub fn calls() -> Reading<u64> {
    if fault::ON {
        Reading::Value(fault::calls())
    } else {
        Reading::NotCompiledIn("fault-injection")
    }
}
