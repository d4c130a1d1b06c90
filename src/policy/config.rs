//! Settings: five modes, single overrides, where each value came from, and what is not compiled in.
//!
//! The environment is read once, on the first slow path after the C library has set it up. A bad
//! value gets one line that names it, what is allowed and what is used; the program runs on.

use super::diet;
use crate::base::sync::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use crate::class;
use crate::frontend::magazine;
use crate::large::{THRESHOLD, big_cache, thermal, thermal::FreePolicy};
use crate::os::{self, lock::Lock, report};
use crate::segment::{arena, slab};
use core::fmt::{self, Write};

/// Where a setting's value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Default,
    Mode,
    Variable,
    Call,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Origin::Default => "default",
            Origin::Mode => "mode",
            Origin::Variable => "variable",
            Origin::Call => "call",
        })
    }
}

/// What a value of a setting looks like.
#[derive(Clone, Copy)]
enum Form {
    /// One of these words; the value is its index.
    Words(&'static [&'static str]),
    /// A number of bytes, with an optional suffix k, m or g.
    Bytes { least: u64, most: u64 },
    /// A plain number.
    Number { least: u64, most: u64 },
}

/// One row of the table of settings.
struct Setting {
    /// Without the prefix `HAKMEM_`.
    name: &'static str,
    /// An older name that still works.
    old: Option<&'static str>,
    category: &'static str,
    form: Form,
    default: u64,
    /// Values in the modes, in the order of [`MODES`]; none: the mode does not touch it.
    modes: Option<[u64; 5]>,
    /// Whether this build contains what the setting asks for.
    compiled_in: bool,
    apply: fn(u64),
}

const MODES: &[&str] = &["minimal", "fast", "balanced", "learning", "research"];
const SWITCH: &[&str] = &["off", "on"];
const BALANCED: u64 = 2;

static PREWARM: AtomicBool = AtomicBool::new(false);
static DUMP: AtomicBool = AtomicBool::new(false);
static PRINT: AtomicBool = AtomicBool::new(false);
/// Group up to which sizes count as tiny.
pub(crate) static TINY_MAX_GROUP: AtomicU8 = AtomicU8::new(7);
/// The budget of the shared cache when it is on.
static CACHE_BYTES: AtomicU32 = AtomicU32::new(64);

fn absent(_: u64) {}

static SETTINGS: [Setting; COUNT] = [
    Setting {
        name: "MODE",
        old: None,
        category: "Alloc",
        form: Form::Words(MODES),
        default: BALANCED,
        modes: None,
        compiled_in: true,
        apply: absent,
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
            TINY_MAX_GROUP.store(value as u8, Ordering::Relaxed);
            let first = class::last_class_of_group(value as usize) + 1;
            magazine::FIRST_MID.store(first as u32, Ordering::Relaxed);
        },
    },
    Setting {
        name: "PREWARM",
        old: None,
        category: "Alloc",
        form: Form::Words(SWITCH),
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| PREWARM.store(value != 0, Ordering::Relaxed),
    },
    Setting {
        name: "BIGCACHE",
        old: Some("HAKMEM_BIG_CACHE"),
        category: "Cache",
        form: Form::Words(SWITCH),
        default: 1,
        modes: Some([0, 1, 1, 1, 1]),
        compiled_in: true,
        apply: |value| {
            let bytes = (CACHE_BYTES.load(Ordering::Relaxed) as usize) << 20;
            big_cache::BYTES.store(if value == 0 { 0 } else { bytes }, Ordering::Relaxed);
        },
    },
    Setting {
        name: "THREAD_CACHE_BYTES",
        old: None,
        category: "Cache",
        form: Form::Bytes { least: 0, most: 1 << 40 },
        default: 8 << 20,
        modes: None,
        compiled_in: true,
        apply: |value| {
            magazine::GROWTH_BUDGET.store(value as usize, Ordering::Relaxed);
            big_cache::SLOT_BYTES.store(value as usize, Ordering::Relaxed);
        },
    },
    Setting {
        name: "LARGE_THRESHOLD",
        old: None,
        category: "Alloc",
        form: Form::Bytes { least: 256 << 10, most: 64 << 20 },
        default: 2 << 20,
        modes: None,
        compiled_in: true,
        apply: |value| THRESHOLD.store(value as usize, Ordering::Relaxed),
    },
    Setting {
        name: "BATCH",
        old: Some("HAKMEM_BATCH_MADVISE"),
        category: "Memory",
        form: Form::Words(SWITCH),
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
        default: 0,
        modes: None,
        compiled_in: false,
        apply: absent,
    },
    Setting {
        name: "EVOLUTION",
        old: None,
        category: "Learning",
        form: Form::Words(&["off", "frozen", "learn", "canary"]),
        default: 0,
        modes: None,
        compiled_in: false,
        apply: absent,
    },
    Setting {
        name: "POOL_HOTBOX",
        old: None,
        category: "Cache",
        form: Form::Words(SWITCH),
        default: 0,
        modes: None,
        compiled_in: false,
        apply: absent,
    },
    Setting {
        name: "STATS",
        old: None,
        category: "Debug",
        form: Form::Words(SWITCH),
        default: 0,
        modes: Some([0, 0, 0, 0, 1]),
        compiled_in: true,
        apply: |value| DUMP.store(value != 0, Ordering::Relaxed),
    },
    Setting {
        name: "PRINT_CONFIG",
        old: None,
        category: "Debug",
        form: Form::Words(SWITCH),
        default: 0,
        modes: None,
        compiled_in: true,
        apply: |value| PRINT.store(value != 0, Ordering::Relaxed),
    },
];
const COUNT: usize = 16;
const PREFIX: &[u8] = b"HAKMEM_";

#[derive(Clone, Copy)]
struct Value {
    value: u64,
    origin: Origin,
}

struct State {
    loaded: bool,
    values: [Value; COUNT],
}

static STATE: Lock<State> = Lock::new(State {
    loaded: false,
    values: {
        let mut values = [Value { value: 0, origin: Origin::Default }; COUNT];
        let mut index = 0;
        while index < COUNT {
            values[index].value = SETTINGS[index].default;
            index += 1;
        }
        values
    },
});

static LOADED: AtomicBool = AtomicBool::new(false);

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// There is no setting of that name.
    UnknownName,
    /// The value is not one that the setting takes.
    BadValue,
    /// The setting exists, but this build does not contain what it asks for.
    NotCompiledIn,
}

impl Form {
    fn parse(self, text: &[u8]) -> Option<u64> {
        match self {
            Form::Words(words) => {
                let switch = core::ptr::eq(words, SWITCH);
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
            Form::Number { least, most } => {
                number(text).filter(|value| (least..=most).contains(value))
            }
        }
    }

    fn show(self, value: u64, out: &mut dyn Write) -> fmt::Result {
        match self {
            Form::Words(words) => out.write_str(words.get(value as usize).unwrap_or(&"?")),
            Form::Bytes { .. } if value != 0 && value.is_multiple_of(1 << 20) => {
                write!(out, "{}m", value >> 20)
            }
            Form::Bytes { .. } if value != 0 && value.is_multiple_of(1 << 10) => {
                write!(out, "{}k", value >> 10)
            }
            _ => write!(out, "{value}"),
        }
    }

    fn allowed(self, out: &mut dyn Write) -> fmt::Result {
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

/// Text of the environment, for messages; bytes that are not ASCII show as `?`.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take(60) {
            out.write_char(if byte.is_ascii_graphic() || byte == b' ' {
                byte as char
            } else {
                '?'
            })?;
        }
        if self.0.len() > 60 { out.write_str("...") } else { Ok(()) }
    }
}

/// The allowed values of a setting, for messages.
struct Allowed(Form);

impl fmt::Display for Allowed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.allowed(out)
    }
}

/// A value as the setting writes it, for messages.
struct Written(Form, u64);

impl fmt::Display for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(self.1, out)
    }
}

fn find(name: &[u8]) -> Option<(usize, &'static Setting, bool)> {
    SETTINGS.iter().enumerate().find_map(|(index, setting)| {
        let plain = name.strip_prefix(PREFIX) == Some(setting.name.as_bytes());
        let old = setting.old.is_some_and(|old| old.as_bytes() == name);
        (plain || old).then_some((index, setting, old))
    })
}

/// Reads `HAKMEM_*` once the C library has set the environment up; cheap afterwards.
#[inline]
pub(crate) fn load_environment() {
    if !LOADED.load(Ordering::Acquire) && os::environment_ready() {
        load();
    }
}

#[cold]
fn load() {
    let mut state = STATE.lock();
    if state.loaded {
        return;
    }
    state.loaded = true;
    // The mode first, whatever the order of the variables; single variables override it.
    os::variables(PREFIX, |name, text| {
        if name == b"HAKMEM_MODE" {
            take(&mut state, name, text);
        }
    });
    os::variables(PREFIX, |name, text| {
        if name != b"HAKMEM_MODE" {
            take(&mut state, name, text);
        }
    });
    for (setting, value) in SETTINGS.iter().zip(&state.values) {
        if value.origin != Origin::Default {
            (setting.apply)(value.value);
        }
    }
    drop(state);
    LOADED.store(true, Ordering::Release);
    if PRINT.load(Ordering::Relaxed) {
        let _ = print(&mut report::FdWriter::new(2));
    }
}

/// Takes one variable in; says so if it can't.
fn take(state: &mut State, name: &[u8], text: &[u8]) {
    let Some((index, setting, old)) = find(name) else {
        report::warn(format_args!(
            "{} is not a setting, ignored; HAKMEM_PRINT_CONFIG=1 lists them",
            Shown(name)
        ));
        return;
    };
    if old {
        report::warn(format_args!("{} is an old name, use HAKMEM_{}", Shown(name), setting.name));
    }
    let now = state.values.get(index).map_or(setting.default, |value| value.value);
    let Some(value) = setting.form.parse(text) else {
        report::warn(format_args!(
            "{}={} is not allowed, expected {}; using {}",
            Shown(name),
            Shown(text),
            Allowed(setting.form),
            Written(setting.form, now)
        ));
        return;
    };
    if !setting.compiled_in && value != setting.default {
        report::warn(format_args!(
            "{}={} asks for what is not compiled in; using {}",
            Shown(name),
            Shown(text),
            Written(setting.form, setting.default)
        ));
        return;
    }
    if let Some(slot) = state.values.get_mut(index) {
        *slot = Value { value, origin: Origin::Variable };
    }
    if setting.name == "MODE" {
        for (setting, slot) in SETTINGS.iter().zip(&mut state.values) {
            if let Some(by_mode) = setting.modes
                && let Some(&value) = by_mode.get(value as usize)
            {
                *slot = Value { value, origin: Origin::Mode };
            }
        }
    }
}

/// Changes one setting while the program runs; `name` with or without the prefix `HAKMEM_`.
///
/// # Errors
/// See [`ConfigError`]; nothing has changed then.
pub fn set(name: &str, text: &str) -> Result<(), ConfigError> {
    load_environment();
    let mut full = [0u8; 64];
    let bare = name.strip_prefix("HAKMEM_").unwrap_or(name).as_bytes();
    let end = PREFIX.len() + bare.len();
    let (Some(to), true) = (full.get_mut(..end), end <= 64) else {
        return Err(ConfigError::UnknownName);
    };
    to[..PREFIX.len()].copy_from_slice(PREFIX);
    to[PREFIX.len()..].copy_from_slice(bare);
    let Some((index, setting, _)) = find(to) else { return Err(ConfigError::UnknownName) };
    let Some(value) = setting.form.parse(text.as_bytes()) else {
        return Err(ConfigError::BadValue);
    };
    if !setting.compiled_in && value != setting.default {
        return Err(ConfigError::NotCompiledIn);
    }
    let mut state = STATE.lock();
    if let Some(slot) = state.values.get_mut(index) {
        *slot = Value { value, origin: Origin::Call };
    }
    (setting.apply)(value);
    if setting.name == "MODE" {
        for (setting, slot) in SETTINGS.iter().zip(&mut state.values) {
            if let Some(by_mode) = setting.modes
                && let Some(&value) = by_mode.get(value as usize)
            {
                *slot = Value { value, origin: Origin::Mode };
                (setting.apply)(value);
            }
        }
    }
    Ok(())
}

/// Writes a table of all settings: value, where it came from, whether it is compiled in.
///
/// # Errors
/// Those of `out`.
pub fn print(out: &mut dyn Write) -> fmt::Result {
    load_environment();
    let values = STATE.lock().values;
    writeln!(out, "hakmem {} configuration", env!("CARGO_PKG_VERSION"))?;
    writeln!(
        out,
        "  {:<9} {:<26} {:<12} {:<9} compiled in",
        "category", "setting", "value", "origin"
    )?;
    for category in ["Alloc", "Cache", "Learning", "Memory", "Debug"] {
        for (setting, value) in SETTINGS.iter().zip(&values) {
            if setting.category == category {
                let mut shown = report::Small::new();
                setting.form.show(value.value, &mut shown)?;
                writeln!(
                    out,
                    "  {:<9} HAKMEM_{:<19} {:<12} {:<9} {}",
                    category,
                    setting.name,
                    shown.as_str(),
                    value.origin,
                    if setting.compiled_in { "yes" } else { "no" }
                )?;
            }
        }
    }
    Ok(())
}

/// Whether threads fill their magazines at their start.
pub(crate) fn prewarm_wanted() -> bool {
    PREWARM.load(Ordering::Relaxed)
}

/// Whether statistics are printed at process exit.
pub(crate) fn dump_wanted() -> bool {
    DUMP.load(Ordering::Relaxed)
}

/// The value of a setting as text, for tests.
#[cfg(test)]
fn parsed(name: &str, text: &str) -> Option<u64> {
    find(name.as_bytes()).and_then(|(_, setting, _)| setting.form.parse(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_and_refused() {
        assert_eq!(parsed("HAKMEM_MODE", "Fast"), Some(1));
        assert_eq!(parsed("HAKMEM_MODE", "quick"), None);
        assert_eq!(parsed("HAKMEM_BIGCACHE", "1"), Some(1));
        assert_eq!(parsed("HAKMEM_BIG_CACHE", "off"), Some(0));
        assert_eq!(parsed("HAKMEM_MEM_LIMIT", "64m"), Some(64 << 20));
        assert_eq!(parsed("HAKMEM_MEM_LIMIT", "64q"), None);
        assert_eq!(parsed("HAKMEM_MEM_LIMIT", ""), None);
        assert_eq!(parsed("HAKMEM_MEM_LIMIT", "99999999999999999999"), None);
        assert_eq!(parsed("HAKMEM_TINY_MAX_CLASS", "8"), None);
        assert_eq!(parsed("HAKMEM_NOTHING", "1"), None);
    }

    #[test]
    fn unknown_and_missing_are_told_apart() {
        assert_eq!(set("NO_SUCH", "1"), Err(ConfigError::UnknownName));
        assert_eq!(set("THP", "sometimes"), Err(ConfigError::BadValue));
        assert_eq!(set("ELO", "learn"), Err(ConfigError::NotCompiledIn));
        assert_eq!(set("HAKMEM_DECAY_MS", "250"), Ok(()));
    }

    #[test]
    fn the_table_names_every_setting() {
        let mut text = std::string::String::new();
        print(&mut text).unwrap();
        for setting in &SETTINGS {
            assert!(text.contains(setting.name), "{}", setting.name);
        }
    }
}
