//! The table of settings: names, allowed values, defaults, what the modes say, and which knob of
//! which mechanism each one turns.
//!
//! A new setting is one row here. Assumes that `apply` is called with a value that its form allows.

use super::{auto, diet, engine};
use crate::base::sync::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use crate::class;
use crate::frontend::{magazine, stack};
use crate::guard;
use crate::harden;
use crate::large::{self, big_cache, elo, thermal, thermal::FreePolicy};
use crate::segment::{arena, slab};
use crate::thread::turn;
use core::fmt::{self, Write};

/// What a value of a setting looks like.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// One of these words; the value is its index.
    Words(&'static [&'static str]),
    /// A number of bytes, with an optional suffix k, m or g.
    Bytes { least: u64, most: u64 },
    /// "off", which is 0, or a number from 1 on.
    OffOr { most: u64 },
    /// A plain number.
    Number { least: u64, most: u64 },
    /// The path of a file, kept as text beside the value: 1, or 0 for none.
    Path,
}

/// Bytes that a path may have.
pub(super) const LONGEST_PATH: usize = 240;

/// One row of the table of settings.
pub(super) struct Setting {
    /// Without the prefix `HAKMEM_`.
    pub(super) name: &'static str,
    /// An older name that still works.
    pub(super) old: Option<&'static str>,
    pub(super) category: &'static str,
    pub(super) form: Form,
    pub(super) default: u64,
    /// Values in the modes, in the order of [`MODES`]; none: the mode does not touch it.
    pub(super) modes: Option<[u64; 5]>,
    /// Whether this build contains what the setting asks for.
    pub(super) compiled_in: bool,
    pub(super) apply: fn(u64),
}

impl Setting {
    /// What a mode asks of it; auto mode begins as the default one.
    pub(super) fn by_mode(&self, mode: u64) -> Option<u64> {
        let mode = if mode == AUTO { BALANCED } else { mode };
        self.modes?.get(mode as usize).copied()
    }

    /// Whether this build contains what the value asks for.
    pub(super) fn has(&self, value: u64) -> bool {
        let auto = matches!(self.form, Form::Words(words) if core::ptr::eq(words, &MODES));
        (self.compiled_in || value == self.default) && (auto::ON || !auto || value != AUTO)
    }
}

/// The words of the modes.
// Statics, as they are told by their address: a constant may have several.
pub(super) static MODES: [&str; 6] =
    ["minimal", "fast", "balanced", "learning", "research", "auto"];
static SWITCH: [&str; 2] = ["off", "on"];
pub(super) const MINIMAL: u64 = 0;
pub(super) const FAST: u64 = 1;
pub(super) const BALANCED: u64 = 2;
pub(super) const LEARNING: u64 = 3;
/// Not a mode of its own: one of the others is picked while the program runs (`auto`).
pub(super) const AUTO: u64 = 5;

/// Whether threads fill their magazines at their start.
/// Relaxed: a setting; a late look obeys the one before.
pub(super) static PREWARM: AtomicBool = AtomicBool::new(false);
/// Whether statistics are printed at process exit.
/// Relaxed: a setting; a late look obeys the one before.
pub(super) static DUMP: AtomicBool = AtomicBool::new(false);
/// The signals on which statistics may be printed.
pub(super) const STATS_SIGNALS: &[&str] = &["off", "usr1", "usr2", "hup", "quit"];
/// The signal on which they are, an index into [`STATS_SIGNALS`].
/// Relaxed: a setting; a late look obeys the one before.
pub(super) static STATS_SIGNAL: AtomicUsize = AtomicUsize::new(0);
/// Whether the configuration is printed once it is read.
/// Relaxed: read by the thread that has read the configuration.
pub(super) static PRINT: AtomicBool = AtomicBool::new(false);
/// When there is a background worker: off, auto, on.
/// Relaxed: a setting; a late look obeys the one before.
pub(super) static WORKER: AtomicU8 = AtomicU8::new(1);
/// The budget of BigCache's shared part when it is on.
const SHARED_BYTES: usize = 64 << 20;

fn absent(_: u64) {}

/// All settings. `MODE` is applied before the others.
pub(super) static SETTINGS: [Setting; COUNT] = [
    Setting {
        name: "MODE",
        old: None,
        category: "Alloc",
        form: Form::Words(&MODES),
        default: BALANCED,
        modes: None,
        compiled_in: true,
        apply: |value| auto::enable(value == AUTO),
    },
    Setting {
        name: "TINY_MAX_CLASS",
        old: None,
        category: "Alloc",
        form: Form::Number { least: 0, most: 7 },
        default: 7,
        modes: None,
        compiled_in: true,
        apply: |value| {
            let first = class::last_class_of_group(value as usize) + 1;
            magazine::FIRST_MID.store(first as u32, Ordering::Relaxed);
        },
    },
    Setting {
        name: "PREWARM",
        old: None,
        category: "Alloc",
        form: Form::Words(&SWITCH),
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| PREWARM.store(value != 0, Ordering::Relaxed),
    },
    Setting {
        name: "BIGCACHE",
        old: Some("HAKMEM_BIG_CACHE"),
        category: "Cache",
        form: Form::Words(&SWITCH),
        default: 1,
        modes: Some([0, 1, 1, 1, 1]),
        compiled_in: true,
        apply: |value| {
            big_cache::BYTES.store(if value == 0 { 0 } else { SHARED_BYTES }, Ordering::Relaxed);
        },
    },
    Setting {
        name: "FRONT_LAYERS",
        old: None,
        category: "Cache",
        form: Form::Words(&SWITCH),
        default: 1,
        modes: None,
        compiled_in: stack::ON,
        apply: |value| stack::enable(value != 0),
    },
    Setting {
        name: "THREAD_CACHE_BYTES",
        old: None,
        category: "Cache",
        form: Form::Bytes { least: 0, most: 1 << 40 },
        default: 32 << 20,
        modes: None,
        compiled_in: true,
        apply: |value| {
            magazine::GROWTH_BUDGET.store(value as usize, Ordering::Relaxed);
            // A quarter of it for large blocks.
            big_cache::SLOT_BYTES.store(value as usize / 4, Ordering::Relaxed);
        },
    },
    Setting {
        name: "LARGE_THRESHOLD",
        old: None,
        category: "Alloc",
        form: Form::Bytes { least: 256 << 10, most: 64 << 20 },
        default: large::FIXED_THRESHOLD as u64,
        modes: None,
        compiled_in: true,
        apply: |value| elo::set_fixed(value as usize),
    },
    Setting {
        name: "BATCH",
        old: Some("HAKMEM_BATCH_MADVISE"),
        category: "Memory",
        form: Form::Words(&SWITCH),
        default: 1,
        modes: Some([0, 1, 1, 1, 1]),
        compiled_in: true,
        apply: |value| slab::DISCARD_AT_ONCE.store(value == 0, Ordering::Relaxed),
    },
    Setting {
        name: "FREE_POLICY",
        old: None,
        category: "Memory",
        form: Form::Words(&["keep", "batch", "adaptive"]),
        default: FreePolicy::Adaptive as u64,
        modes: Some([0, 2, 2, 2, 2]),
        compiled_in: true,
        apply: |value| thermal::POLICY.store(value as u8, Ordering::Relaxed),
    },
    Setting {
        name: "THP",
        old: None,
        category: "Memory",
        form: Form::Words(&["off", "auto", "on"]),
        default: 1,
        modes: Some([0, 1, 1, 1, 1]),
        compiled_in: true,
        apply: |value| arena::HUGE_PAGES.store(value as u8, Ordering::Relaxed),
    },
    Setting {
        name: "DECAY_MS",
        old: None,
        category: "Memory",
        form: Form::Number { least: 0, most: 1 << 30 },
        default: 250,
        modes: None,
        compiled_in: true,
        apply: |value| thermal::DECAY_MS.store(value as u32, Ordering::Relaxed),
    },
    Setting {
        name: "WORKER",
        old: None,
        category: "Memory",
        form: Form::Words(&["off", "auto", "on"]),
        default: 1,
        modes: None,
        compiled_in: turn::ON,
        apply: |value| {
            if turn::ON {
                WORKER.store(value as u8, Ordering::Relaxed);
            }
        },
    },
    Setting {
        name: "MEM_LIMIT",
        old: Some("HAKMEM_MEM_DIET"),
        category: "Memory",
        form: Form::Bytes { least: 0, most: 1 << 46 },
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| diet::BUDGET.store(value as usize, Ordering::Relaxed),
    },
    Setting {
        name: "ELO",
        old: None,
        category: "Learning",
        form: Form::Words(&["off", "frozen", "learn"]),
        default: if elo::ON { 1 } else { 0 },
        modes: Some([0, 1, 1, 2, 2]),
        compiled_in: elo::ON,
        apply: elo::set_state,
    },
    Setting {
        name: "ELO_FILE",
        old: None,
        category: "Learning",
        form: Form::Path,
        default: 0,
        modes: None,
        compiled_in: elo::ON,
        // The file is read when the setting is stored.
        apply: absent,
    },
    Setting {
        name: "EVOLUTION",
        old: None,
        category: "Learning",
        form: Form::Words(&["off", "frozen", "learn", "canary"]),
        default: if elo::EVOLUTION { 1 } else { 0 },
        modes: Some([0, 1, 1, 2, 3]),
        compiled_in: elo::EVOLUTION,
        apply: elo::set_life,
    },
    Setting {
        name: "INTELLIGENCE",
        old: None,
        category: "Learning",
        form: Form::Words(&SWITCH),
        default: engine::ON as u64,
        modes: None,
        compiled_in: engine::ON,
        apply: |value| engine::enable(value != 0),
    },
    Setting {
        name: "POOL_HOTBOX",
        old: None,
        category: "Cache",
        form: Form::Words(&SWITCH),
        default: 0,
        modes: Some([0, 1, 0, 0, 1]),
        compiled_in: stack::pool_hotbox::ON,
        apply: |value| stack::pool_hotbox::enable(value != 0),
    },
    Setting {
        name: "STATS",
        old: None,
        category: "Debug",
        form: Form::Words(&SWITCH),
        default: 0,
        modes: Some([0, 0, 0, 0, 1]),
        compiled_in: true,
        apply: |value| DUMP.store(value != 0, Ordering::Relaxed),
    },
    Setting {
        name: "STATS_SIGNAL",
        old: None,
        category: "Debug",
        form: Form::Words(STATS_SIGNALS),
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| STATS_SIGNAL.store(value as usize, Ordering::Relaxed),
    },
    Setting {
        name: "GUARD_SAMPLE",
        old: None,
        category: "Debug",
        form: Form::OffOr { most: 1 << 20 },
        default: if guard::ON { 1024 } else { 0 },
        modes: None,
        compiled_in: guard::ON,
        apply: |value| {
            if guard::ON {
                guard::PERIOD.store(value as u32, Ordering::Relaxed);
            }
        },
    },
    Setting {
        name: "ZERO_ON_FREE",
        old: None,
        category: "Debug",
        form: Form::Bytes { least: 0, most: class::MID_MAX as u64 },
        default: harden::SHORT as u64,
        modes: None,
        compiled_in: harden::ON,
        apply: |value| {
            if harden::ON {
                harden::EMPTIED.store(value as u32, Ordering::Relaxed);
            }
        },
    },
    Setting {
        name: "PRINT_CONFIG",
        old: None,
        category: "Debug",
        form: Form::Words(&SWITCH),
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| PRINT.store(value != 0, Ordering::Relaxed),
    },
];
/// Number of settings.
pub(super) const COUNT: usize = 23;
impl Form {
    /// The value that a text means; `None` if it is not allowed.
    pub(super) fn parse(self, text: &[u8]) -> Option<u64> {
        match self {
            Form::Words(words) => {
                let switch = core::ptr::eq(words, &SWITCH);
                let text = match text {
                    b"0" | b"false" | b"no" if switch => b"off".as_slice(),
                    b"1" | b"true" | b"yes" if switch => b"on".as_slice(),
                    other => other,
                };
                let found =
                    words.iter().position(|word| word.as_bytes().eq_ignore_ascii_case(text));
                found.map(|index| index as u64)
            }
            Form::Bytes { least, most } => {
                let (digits, shift) = match text.split_last() {
                    Some((b'k' | b'K', digits)) => (digits, 10),
                    Some((b'm' | b'M', digits)) => (digits, 20),
                    Some((b'g' | b'G', digits)) => (digits, 30),
                    _ => (text, 0),
                };
                let value = number(digits)?.checked_mul(1 << shift)?;
                (least..=most).contains(&value).then_some(value)
            }
            Form::Path => (text.len() <= LONGEST_PATH).then_some(u64::from(!text.is_empty())),
            Form::OffOr { .. } if text.eq_ignore_ascii_case(b"off") => Some(0),
            Form::OffOr { most } => number(text).filter(|value| (1..=most).contains(value)),
            Form::Number { least, most } => {
                number(text).filter(|value| (least..=most).contains(value))
            }
        }
    }

    /// Whether a value is one that `parse` may give.
    pub(super) const fn takes(self, value: u64) -> bool {
        match self {
            Form::Words(words) => value < words.len() as u64,
            Form::Bytes { least, most } | Form::Number { least, most } => {
                least <= value && value <= most
            }
            Form::OffOr { most } => value <= most,
            Form::Path => value <= 1,
        }
    }

    /// Writes a value as a text that `parse` takes.
    pub(super) fn show(self, value: u64, out: &mut dyn Write) -> fmt::Result {
        match self {
            Form::Words(words) => out.write_str(words.get(value as usize).unwrap_or(&"?")),
            Form::Bytes { .. } if value != 0 && value.is_multiple_of(1 << 20) => {
                write!(out, "{}m", value >> 20)
            }
            Form::Bytes { .. } if value != 0 && value.is_multiple_of(1 << 10) => {
                write!(out, "{}k", value >> 10)
            }
            Form::Path => out.write_str(if value == 0 { "none" } else { "a file" }),
            Form::OffOr { .. } if value == 0 => out.write_str("off"),
            _ => write!(out, "{value}"),
        }
    }

    /// Writes what is allowed.
    pub(super) fn allowed(self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Form::Words(words) => {
                for (index, word) in words.iter().enumerate() {
                    write!(out, "{}{word}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Form::Bytes { least, most } => {
                write!(out, "bytes from {least} to {most}, suffixes k, m, g allowed")
            }
            Form::Path => write!(out, "a path of at most {LONGEST_PATH} bytes"),
            Form::OffOr { most } => write!(out, "off or a number from 1 to {most}"),
            Form::Number { least, most } => write!(out, "a number from {least} to {most}"),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
