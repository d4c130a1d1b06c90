//! Settings: five modes, single overrides, where each value came from, and what is not compiled in.
//!
//! What the program has built in (`builder`) is taken in on its allocator's first slow path. The
//! environment is read once, on the first slow path after the C library has set it up, and comes over
//! that. A bad value gets one line that names it, what is allowed and what is used; the program runs on.

use super::auto;
use super::builder::{Config, Worker};
use super::file::{self, Path};
use super::settings::{
    AUTO, COUNT, DUMP, Form, PREWARM, PRINT, SETTINGS, STATS_SIGNAL, STATS_SIGNALS, Setting, WORKER,
};
use super::shown::{Allowed, Shown, Written};
use crate::base::sync::{AtomicBool, Ordering};
use crate::frontend::stack;
use crate::os::{self, lock::Lock, report};
use core::fmt::{self, Write};
use static_assertions::const_assert;

/// Where a setting's value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Default,
    Mode,
    Builder,
    Variable,
    Call,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Origin::Default => "default",
            Origin::Mode => "mode",
            Origin::Builder => "builder",
            Origin::Variable => "variable",
            Origin::Call => "call",
        })
    }
}

/// Index of the mode, which is taken before the others.
const MODE: usize = 0;
const_assert!(matches!(SETTINGS[MODE].name.as_bytes(), b"MODE"));

const PREFIX: &[u8] = b"HAKMEM_";

#[derive(Clone, Copy)]
struct Value {
    value: u64,
    origin: Origin,
}

struct State {
    /// Whether the environment has been read.
    loaded: bool,
    /// Whether a program's own settings have been taken in.
    built: bool,
    values: [Value; COUNT],
    /// What `ELO_FILE` names.
    elo_file: Path,
    /// Whether it has been named since it was last read.
    unread: bool,
}

static STATE: Lock<State> = Lock::new(State {
    loaded: false,
    built: false,
    values: {
        let mut values = [Value { value: 0, origin: Origin::Default }; COUNT];
        let mut index = 0;
        while index < COUNT {
            values[index].value = SETTINGS[index].default;
            index += 1;
        }
        values
    },
    elo_file: Path::none(),
    unread: false,
});

/// Whether the environment has been read.
/// Acquire and Release: who sees it set sees the settings that were read.
static LOADED: AtomicBool = AtomicBool::new(false);

/// Whether a program's own settings have been taken in.
/// Acquire and Release: who sees it set sees the settings in force.
static BUILT: AtomicBool = AtomicBool::new(false);

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
    apply(&mut state);
    say_what_is_missing(&state);
    drop(state);
    LOADED.store(true, Ordering::Release);
    if PRINT.load(Ordering::Relaxed) {
        let _ = print(&mut report::FdWriter::new(2));
    }
}

/// Takes in what the program has built in: the first such settings that come, once. Cheap afterwards.
#[inline(always)]
pub(crate) fn build(config: &Config) {
    if !BUILT.load(Ordering::Acquire) {
        take_built(config);
    }
}

#[cold]
#[inline(never)]
fn take_built(config: &Config) {
    let mut state = STATE.lock();
    if state.built {
        return;
    }
    state.built = true;
    // The mode is the first of them.
    for (index, setting) in SETTINGS.iter().enumerate() {
        let Some(value) = config.value(index) else { continue };
        if !lies_below(&state, index) {
            continue;
        }
        if setting.has(value) {
            store(&mut state, index, value, config.path().as_bytes(), Origin::Builder);
        } else {
            report::warn(format_args!(
                "the program's own {}={} asks for what is not compiled in; using {}",
                setting.name,
                Written(setting.form, value),
                Written(setting.form, setting.default)
            ));
        }
    }
    apply(&mut state);
    // Before the environment, which most often comes next, nothing is final.
    let last = state.loaded;
    if last && state.values.get(MODE).is_some_and(|mode| mode.origin == Origin::Builder) {
        say_what_is_missing(&state);
    }
    drop(state);
    BUILT.store(true, Ordering::Release);
    if last && PRINT.load(Ordering::Relaxed) {
        let _ = print(&mut report::FdWriter::new(2));
    }
}

/// Whether what the program has built in counts for more than what a setting is now: a default, or
/// what its own mode says.
fn lies_below(state: &State, index: usize) -> bool {
    let origin = |index: usize| state.values.get(index).map(|value| value.origin);
    match origin(index) {
        Some(Origin::Default) => true,
        Some(Origin::Mode) => origin(MODE) == Some(Origin::Builder),
        _ => false,
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
    if !setting.has(value) {
        report::warn(format_args!(
            "{}={} asks for what is not compiled in; using {}",
            Shown(name),
            Shown(text),
            Written(setting.form, now)
        ));
        return;
    }
    if matches!(setting.form, Form::Path) && os::is_elevated() {
        report::warn(format_args!(
            "{} is ignored: the program has more rights than who started it",
            Shown(name)
        ));
        return;
    }
    store(state, index, value, text, Origin::Variable);
}

/// Stores a value that is allowed; a mode brings its values of the other settings along, as far as
/// they are compiled in.
fn store(state: &mut State, index: usize, value: u64, text: &[u8], origin: Origin) {
    if let Some(slot) = state.values.get_mut(index) {
        *slot = Value { value, origin };
    }
    if SETTINGS.get(index).is_some_and(|setting| matches!(setting.form, Form::Path)) {
        state.elo_file = Path::of(text);
        state.unread = true;
    }
    if index == MODE {
        for (setting, slot) in SETTINGS.iter().zip(&mut state.values) {
            // A variable may have come before what the program has built in.
            let kept =
                origin == Origin::Builder && matches!(slot.origin, Origin::Variable | Origin::Call);
            if let Some(wanted) = setting.by_mode(value)
                && !kept
            {
                *slot = if setting.compiled_in {
                    Value { value: wanted, origin: Origin::Mode }
                } else {
                    Value { value: setting.default, origin: Origin::Default }
                };
            }
        }
    }
}

/// Auto mode has picked a mode: it decides what nobody else has.
#[cold]
pub(crate) fn run_as(mode: u64) {
    let mut state = STATE.lock();
    if state.values.get(MODE).is_none_or(|chosen| chosen.value != AUTO) {
        return;
    }
    for (setting, slot) in SETTINGS.iter().zip(&mut state.values) {
        if setting.compiled_in
            && matches!(slot.origin, Origin::Default | Origin::Mode)
            && let Some(value) = setting.by_mode(mode)
        {
            *slot = Value { value, origin: Origin::Mode };
        }
    }
    apply(&mut state);
}

/// What the mode asks of each setting that is not compiled in.
fn missing(state: &State) -> impl Iterator<Item = (&'static Setting, u64)> {
    let mode = state.values.get(MODE).map_or(0, |mode| mode.value);
    SETTINGS.iter().zip(&state.values).filter_map(move |(setting, value)| {
        // Auto mode takes what there is.
        let wanted = setting.by_mode(mode).filter(|_| mode != AUTO)?;
        let open = !setting.compiled_in && value.origin == Origin::Default;
        (open && wanted != setting.default).then_some((setting, wanted))
    })
}

/// One line if a mode that somebody has chosen asks for what is not compiled in.
fn say_what_is_missing(state: &State) {
    struct List<'a>(&'a State, bool);
    impl fmt::Display for List<'_> {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            for (number, (setting, wanted)) in missing(self.0).enumerate() {
                let value = if self.1 { wanted } else { setting.default };
                let comma = if number == 0 { "" } else { ", " };
                write!(out, "{comma}{}={}", setting.name, Written(setting.form, value))?;
            }
            Ok(())
        }
    }
    let Some(mode) = state.values.get(MODE) else { return };
    if mode.origin != Origin::Default && missing(state).next().is_some() {
        report::warn(format_args!(
            "HAKMEM_MODE={} asks for {}, not compiled in; running with {}",
            Written(SETTINGS[MODE].form, mode.value),
            List(state, true),
            List(state, false)
        ));
    }
}

/// Turns the knobs of all settings that are not at their defaults.
fn apply(state: &mut State) {
    for (setting, value) in SETTINGS.iter().zip(&state.values) {
        if value.origin != Origin::Default {
            (setting.apply)(value.value);
        }
    }
    if core::mem::take(&mut state.unread) {
        file::load(&state.elo_file);
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
    if !setting.has(value) {
        return Err(ConfigError::NotCompiledIn);
    }
    let mut state = STATE.lock();
    store(&mut state, index, value, text.as_bytes(), Origin::Call);
    apply(&mut state);
    if index == MODE {
        say_what_is_missing(&state);
    }
    Ok(())
}

/// Writes a table of all settings: value, where it came from, whether it is compiled in; and a picture
/// of the front end, layer by layer.
///
/// # Errors
/// Those of `out`.
pub fn print(out: &mut dyn Write) -> fmt::Result {
    load_environment();
    let (values, path) = {
        let state = STATE.lock();
        (state.values, state.elo_file)
    };
    let mode = values.get(MODE).map_or(0, |mode| mode.value);
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
                let name = setting.name;
                write!(out, "  {category:<9} HAKMEM_{name:<19} ")?;
                match setting.form {
                    Form::Path if value.value != 0 => write!(out, "{:<12}", Shown(path.bytes()))?,
                    _ => write!(out, "{:<12}", shown.as_str())?,
                }
                write!(out, " {:<9} ", value.origin)?;
                match setting.by_mode(mode).filter(|_| mode != AUTO) {
                    _ if setting.compiled_in => out.write_str("yes\n")?,
                    Some(wanted) if wanted != setting.default => {
                        let (mode, wanted) =
                            (Written(SETTINGS[MODE].form, mode), Written(setting.form, wanted));
                        writeln!(out, "no, {mode} asks for {wanted}")?;
                    }
                    _ => out.write_str("no\n")?,
                }
            }
        }
    }
    if mode == AUTO
        && let Some(choice) = auto::choice()
    {
        let mode = Written(SETTINGS[MODE].form, choice.mode);
        writeln!(out, "  auto mode runs as {mode}: {choice}")?;
    }
    stack::draw(out)
}

/// Whether threads fill their magazines at their start.
pub(crate) fn prewarm_wanted() -> bool {
    PREWARM.load(Ordering::Relaxed)
}

/// What `HAKMEM_WORKER` says.
pub(crate) fn worker() -> Worker {
    match WORKER.load(Ordering::Relaxed) {
        0 => Worker::Off,
        1 => Worker::Auto,
        _ => Worker::On,
    }
}

/// Whether statistics are printed at process exit.
pub(crate) fn dump_wanted() -> bool {
    DUMP.load(Ordering::Relaxed)
}

/// The signal on which statistics are printed, if one is wanted.
pub(crate) fn stats_signal() -> Option<&'static str> {
    match STATS_SIGNAL.load(Ordering::Relaxed) {
        0 => None,
        signal => STATS_SIGNALS.get(signal).copied(),
    }
}

/// The file of ratings, if one is named.
pub(super) fn elo_file() -> Option<Path> {
    let path = STATE.lock().elo_file;
    (!path.bytes().is_empty()).then_some(path)
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    STATE.acquire();
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { STATE.reset() } else { STATE.release() } }
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
        assert_eq!(parsed("HAKMEM_GUARD_SAMPLE", "OFF"), Some(0));
        assert_eq!(parsed("HAKMEM_GUARD_SAMPLE", "0"), None);
        assert_eq!(parsed("HAKMEM_GUARD_SAMPLE", "100"), Some(100));
        assert_eq!(parsed("HAKMEM_NOTHING", "1"), None);
    }

    #[test]
    fn unknown_and_missing_are_told_apart() {
        assert_eq!(set("NO_SUCH", "1"), Err(ConfigError::UnknownName));
        assert_eq!(set("THP", "sometimes"), Err(ConfigError::BadValue));
        if !stack::pool_hotbox::ON {
            assert_eq!(set("POOL_HOTBOX", "on"), Err(ConfigError::NotCompiledIn));
        }
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
