//! What the heap says when a pointer given to it can't be right: one line, then `abort`.
//!
//! Promises: nothing is allocated while saying it; the line names what happened, the address, what
//! lies there and what was expected.

use super::slab::Misuse;
use super::{registry, spans};
use crate::class::{self, CLASSES};
use crate::os::report::fatal;
use core::fmt;

/// The name of a class as reports print it: "C5 (256 bytes)" or "mid (5120 bytes)".
pub(crate) struct ClassName(pub(crate) usize);

impl fmt::Display for ClassName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = CLASSES.get(self.0).map_or(0, |class| class.size);
        if self.0 == 0 {
            write!(out, "large")
        } else if self.0 < class::FIRST_MID {
            write!(out, "C{} ({bytes} bytes)", class::group_of(self.0))
        } else {
            write!(out, "mid ({bytes} bytes)")
        }
    }
}

/// A block that came back to its slab is not what it should be.
#[cold]
#[inline(never)]
pub(crate) fn bad_block(at: *const u8, class: usize, misuse: Misuse) -> ! {
    let class = ClassName(class);
    match misuse {
        Misuse::DoubleFree => fatal(format_args!(
            "double free of {at:p}, class {class}: the block is free already, expected a block in use; aborting"
        )),
        Misuse::Interior => fatal(format_args!(
            "free of {at:p}, class {class}: the address is inside a block, expected the start of one; aborting"
        )),
        Misuse::NeverAllocated => fatal(format_args!(
            "free of {at:p}, class {class}: the block was never handed out, expected a block in use; aborting"
        )),
        Misuse::NotInUse => fatal(format_args!(
            "double free of {at:p}, class {class}: the block is free already (or zeros were written behind it), expected a block in use; aborting"
        )),
        Misuse::Overflow => fatal(format_args!(
            "overflow of {at:p}, class {class}: the bytes behind the block were overwritten, expected its canary; aborting"
        )),
        Misuse::WrittenFree => fatal(format_args!(
            "write to {at:p}, class {class}: the block was written to after its free, expected nobody to use it; aborting"
        )),
    }
}

/// A free block that held the link of a list does not hold it any more.
#[cold]
#[inline(never)]
pub(crate) fn written_when_free(at: *const u8, class: usize) -> ! {
    fatal(format_args!(
        "free block {at:p}, class {}: written to after it was freed, expected the link of a list of free blocks; aborting",
        ClassName(class)
    ))
}

/// A block came back under a class that is not its slab's.
#[cold]
#[inline(never)]
pub(crate) fn wrong_class(at: *const u8, given: usize, found: usize) -> ! {
    fatal(format_args!(
        "sized free of {at:p}: freed as class {}, but its slab holds class {}; expected the size it was allocated with; aborting",
        ClassName(given),
        ClassName(found)
    ))
}

/// A pointer given to `free`, `realloc` or their kin is not the start of a block of ours.
#[cold]
#[inline(never)]
pub(crate) fn not_ours(at: *const u8, what: &str) -> ! {
    let run = registry::run_of(at);
    // SAFETY: a published run is alive.
    if let Some(run) = unsafe { run.as_ref() } {
        let class = run.class as usize;
        if class == 0 && run.bytes.get() == 0 {
            let double = if what == "free" { "double " } else { "" };
            fatal(format_args!(
                "{double}{what} of {at:p}, class large: the block is free already, expected a block in use; aborting"
            ));
        }
        if class != 0 && run.index_of(at).is_ok() {
            // A tiny or mid block that came this way because of the size it was freed with.
            wrong_class(at, 0, class);
        }
        fatal(format_args!(
            "{what} of {at:p}, class {}: the address is inside a block, expected the start of one; aborting",
            ClassName(class)
        ));
    }
    if let Some(span) = spans::containing(at) {
        if span.at.cast_const() == at {
            fatal(format_args!(
                "sized {what} of {at:p}, class huge: freed as a small block, but it has {} bytes; expected the size it was allocated with; aborting",
                span.bytes
            ));
        }
        fatal(format_args!(
            "{what} of {at:p}, class huge: the address is inside the block at {:p} of {} bytes, expected its start; aborting",
            span.at, span.bytes
        ));
    }
    fatal(format_args!(
        "{what} of {at:p}, class none: not a block of this heap (or freed already), expected a pointer that it returned; aborting"
    ))
}
