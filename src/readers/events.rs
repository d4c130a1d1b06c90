//! Traces, rings and logs, as lines for people and as JSON.

use super::rows::Reading;
use super::table::missing;
use crate::segment::misuse::ClassName;
use crate::telemetry::gates::{Gate, HdrMismatchLog, P0ClassOobLog, TinyDebugRing, TinyFreeTrace};
use crate::telemetry::{classes, header, trace};
use crate::thread::{heap, park};
use core::fmt::{self, Write};

/// What is recorded event by event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// The first 128 frees of tiny blocks (gate `tiny-free-trace`).
    FreeTrace,
    /// The last 256 events of every heap (gate `tiny-debug-ring`).
    DebugRing,
    /// Refills of a class out of bounds (gate `p0-class-oob-log`).
    ClassOobLog,
    /// Frees that found no header before the block (gate `hdr-mismatch-log`).
    HdrMismatchLog,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The heap it is about, from 0 on in the order of their making; `None`: it is the process's.
    pub heap: Option<usize>,
    /// Its number in its heap or list, from 0 on.
    pub order: u64,
    /// What happened: `free`, `hit`, `refill`, `overflow`, `to-slab`, `to-other-heap`, `refused`,
    /// `no-header`.
    pub name: &'static str,
    /// The size class.
    pub class: usize,
    /// The block, where it is about one.
    pub address: Option<usize>,
    /// The number of blocks, where it is about a batch.
    pub blocks: Option<usize>,
    /// The byte before the block, where it is about that.
    pub byte: Option<u8>,
    /// Time-stamp cycles, their low 48 bits.
    pub stamp: Option<u64>,
}

impl Events {
    /// All of them.
    pub const ALL: [Events; 4] =
        [Events::FreeTrace, Events::DebugRing, Events::ClassOobLog, Events::HdrMismatchLog];

    /// How they are called in text and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Events::FreeTrace => "free_trace",
            Events::DebugRing => "debug_ring",
            Events::ClassOobLog => "class_oob_log",
            Events::HdrMismatchLog => "hdr_mismatch_log",
        }
    }

    fn gate(self) -> (bool, &'static str) {
        match self {
            Events::FreeTrace => (TinyFreeTrace::ON, TinyFreeTrace::NAME),
            Events::DebugRing => (TinyDebugRing::ON, TinyDebugRing::NAME),
            Events::ClassOobLog => (P0ClassOobLog::ON, P0ClassOobLog::NAME),
            Events::HdrMismatchLog => (HdrMismatchLog::ON, HdrMismatchLog::NAME),
        }
    }

    /// How many there have been; the oldest or the newest of them may not be remembered.
    #[must_use]
    pub fn count(self) -> Reading<u64> {
        match self.gate() {
            (false, gate) => Reading::NotCompiledIn(gate),
            (true, _) if self == Events::ClassOobLog => Reading::Value(classes::logged_total()),
            (true, _) if self == Events::HdrMismatchLog => Reading::Value(header::logged_total()),
            (true, _) => {
                let mut count = 0;
                self.each(|_| count += 1);
                Reading::Value(count)
            }
        }
    }

    /// Calls `visit` for every event that is remembered: heap by heap, oldest first. Events that
    /// happen meanwhile may be seen or not. False: not compiled in.
    pub fn each(self, mut visit: impl FnMut(Event)) -> bool {
        match self {
            Events::FreeTrace => trace::each(|order, class, address, stamp| {
                visit(Event {
                    heap: None,
                    order: order as u64,
                    name: "free",
                    class,
                    address: Some(address),
                    blocks: None,
                    byte: None,
                    stamp: Some(stamp & (u64::MAX >> 16)),
                });
            }),
            Events::DebugRing => {
                let mut heaps = 0usize;
                // The list has the newest first.
                park::each(|_| heaps += 1);
                park::each(|heap| {
                    heaps = heaps.saturating_sub(1);
                    // SAFETY: heaps in the list are real.
                    let tally = unsafe { heap::tally_of(heap) };
                    tally.events().each(|event| {
                        visit(Event {
                            heap: Some(heaps),
                            order: event.order,
                            name: event.name,
                            class: event.class,
                            address: event.is_address.then_some(event.what),
                            blocks: (!event.is_address).then_some(event.what),
                            byte: None,
                            stamp: Some(event.stamp),
                        });
                    });
                });
            }
            Events::ClassOobLog => classes::each_logged(|order, class| {
                visit(Event {
                    heap: None,
                    order: order as u64,
                    name: "refused",
                    class: class as usize,
                    address: None,
                    blocks: None,
                    byte: None,
                    stamp: None,
                });
            }),
            Events::HdrMismatchLog => header::each_logged(|order, class, address, byte| {
                visit(Event {
                    heap: None,
                    order: order as u64,
                    name: "no-header",
                    class,
                    address: Some(address),
                    blocks: None,
                    byte: Some(byte),
                    stamp: None,
                });
            }),
        }
        self.gate().0
    }

    /// Writes a line per event.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(self, out: &mut dyn Write) -> fmt::Result {
        let count = match self.count() {
            Reading::Value(count) => count,
            Reading::NotCompiledIn(gate) => return missing(out, self.name(), gate),
        };
        writeln!(out, "  {:<18} {count:>14}", self.name())?;
        let mut result = Ok(());
        self.each(|event| {
            if result.is_ok() {
                result = writeln!(out, "    {event}");
            }
        });
        result
    }

    /// Writes a JSON array of all events, or `null` if they are not compiled in.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(self, out: &mut dyn Write) -> fmt::Result {
        if !self.gate().0 {
            return out.write_str("null");
        }
        out.write_char('[')?;
        let (mut result, mut separator) = (Ok(()), "");
        self.each(|event| {
            if result.is_ok() {
                result = event.write_json(out, separator);
                separator = ",";
            }
        });
        result?;
        out.write_char(']')
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(heap) = self.heap {
            write!(out, "heap {heap:<4} ")?;
        }
        write!(out, "#{:<6} ", self.order)?;
        if let Some(stamp) = self.stamp {
            write!(out, "{stamp:>15} ")?;
        }
        write!(out, "{:<13} ", self.name)?;
        if let Some(address) = self.address {
            write!(out, "{address:#x} ")?;
        }
        if let Some(blocks) = self.blocks {
            write!(out, "{blocks} blocks ")?;
        }
        if let Some(byte) = self.byte {
            write!(out, "byte {byte:#04x} ")?;
        }
        if self.class == 0 || self.class >= crate::class::COUNT {
            write!(out, "class {}", self.class)
        } else {
            write!(out, "{}", ClassName(self.class))
        }
    }
}

impl Event {
    fn write_json(&self, out: &mut dyn Write, separator: &str) -> fmt::Result {
        write!(out, "{separator}{{\"event\":\"{}\",\"order\":{}", self.name, self.order)?;
        write!(out, ",\"class\":{}", self.class)?;
        if let Some(heap) = self.heap {
            write!(out, ",\"heap\":{heap}")?;
        }
        if let Some(address) = self.address {
            write!(out, ",\"address\":\"{address:#x}\"")?;
        }
        if let Some(blocks) = self.blocks {
            write!(out, ",\"blocks\":{blocks}")?;
        }
        if let Some(byte) = self.byte {
            write!(out, ",\"byte\":{byte}")?;
        }
        if let Some(stamp) = self.stamp {
            write!(out, ",\"stamp\":{stamp}")?;
        }
        out.write_char('}')
    }
}

/// Writes all events as lines.
pub(super) fn write_all(out: &mut dyn Write) -> fmt::Result {
    Events::ALL.into_iter().try_for_each(|events| events.write_text(out))
}
