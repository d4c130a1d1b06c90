//! What is said of a guarded block that was misused: one line on what happened, then the stacks.
//!
//! Promises: nothing here allocates or takes a lock of the heap. Every line begins with `hakmem: `.

use super::pool::{Slot, State, Trace};
use crate::os::{
    self,
    report::{Line, warn},
    trace,
};
use core::fmt::Write;

/// What is wrong with an address that was given back.
#[derive(Clone, Copy)]
pub(super) enum Wrong {
    /// The block was freed already.
    FreedTwice,
    /// The address lies inside a block in use.
    Inside,
    /// No block is there.
    NoBlock,
}

/// Reports a bad `free` (or `realloc`, `usable_size`), then aborts. `slot`: the one at that address.
#[cold]
#[inline(never)]
pub(super) fn bad_free(
    at: usize,
    what: &str,
    wrong: Wrong,
    slot: Option<&Slot>,
    here: &Trace,
) -> ! {
    let (size, start) = slot.map_or((0, 0), |slot| (slot.size, slot.at));
    match wrong {
        Wrong::FreedTwice => {
            let double = if what == "free" { "double " } else { "" };
            warn(format_args!(
                "{double}{what} of {at:#x}, class guarded ({size} bytes): the block is free already, expected a block in use; aborting"
            ));
        }
        Wrong::Inside => warn(format_args!(
            "{what} of {at:#x}, class guarded ({size} bytes): the address is inside the block at {start:#x}, expected its start; aborting"
        )),
        Wrong::NoBlock => warn(format_args!(
            "{what} of {at:#x}, class guarded: no block is there, expected a pointer that the heap returned; aborting"
        )),
    }
    stack("done here", here);
    if let (Wrong::FreedTwice | Wrong::Inside, Some(slot)) = (wrong, slot) {
        history(slot);
    }
    os::abort()
}

/// Reports a touch of what must not be touched. `beside`: the slot of the page, or those on either
/// side of a guard page; `None` if they could not be looked at.
pub(super) fn fault(fault: &trace::Fault, beside: Option<[Option<Slot>; 2]>, here: &Trace) {
    let access = if fault.write { "write" } else { "read" };
    let address = fault.address;
    let Some(slots) = beside else {
        warn(format_args!(
            "memory fault: {access} at {address:#x}, among guarded blocks, whose records are in use; expected no access there; the process ends"
        ));
        return;
    };
    let blamed = nearest(address, slots);
    match blamed {
        None => warn(format_args!(
            "memory fault: {access} at {address:#x}, beside guarded blocks, where none was ever handed out; expected no access there; the process ends"
        )),
        Some((what, distance, slot)) => warn(format_args!(
            "{what}: {access} at {address:#x}, {distance} bytes {} the block at {:#x} of {} bytes{}; expected no access there; the process ends",
            if address >= slot.at + slot.size {
                "behind"
            } else if address < slot.at {
                "before"
            } else {
                "into"
            },
            slot.at,
            slot.size,
            if slot.state == State::Freed { ", which was freed" } else { "" }
        )),
    }
    stack("done here", here);
    if let Some((_, _, slot)) = blamed {
        history(&slot);
    }
}

/// The block that an access was most likely meant for, and what the access then was.
fn nearest(address: usize, slots: [Option<Slot>; 2]) -> Option<(&'static str, usize, Slot)> {
    let mut best: Option<(&'static str, usize, Slot)> = None;
    for slot in slots.into_iter().flatten().filter(|slot| slot.state != State::Unused) {
        let end = slot.at + slot.size;
        let (what, distance) = if address >= end {
            ("overflow", address - end)
        } else if address < slot.at {
            ("underflow", slot.at - address)
        } else {
            ("use after free", address - slot.at)
        };
        // A page of a freed slot is untouchable wherever it is touched.
        let what = if slot.state == State::Freed { "use after free" } else { what };
        let better = best.is_none_or(|(_, least, other)| {
            // A block in use is meant sooner than one that is gone.
            (slot.state == State::Freed, distance) < (other.state == State::Freed, least)
        });
        if better {
            best = Some((what, distance, slot));
        }
    }
    best
}

fn history(slot: &Slot) {
    stack("allocated", &slot.made);
    if slot.state == State::Freed {
        stack("freed", &slot.freed);
    }
}

fn stack(what: &str, trace: &Trace) {
    if trace.frames().is_empty() {
        warn(format_args!("  {what} by thread {}, stack not known", trace.thread));
        return;
    }
    warn(format_args!("  {what} by thread {}:", trace.thread));
    for (number, &address) in trace.frames().iter().enumerate() {
        let mut line = Line::new();
        let _ = write!(line, "    #{number} {address:#x} ");
        let _ = trace::write_place(address, &mut line);
        line.send();
    }
}
