//! Settings that a program has built in: [`Config`], whose functions are `const`.
//!
//! Each function stands for a row of the table of settings. What a row does not take does not
//! compile; what this build does not contain is said when the program runs, as for a variable.

use super::settings::{AUTO, COUNT, LONGEST_PATH, MODES, SETTINGS, STATS_SIGNALS};
use crate::large::elo::State as EloState;
use crate::large::thermal::FreePolicy;
use static_assertions::const_assert;

/// The presets (`HAKMEM_MODE`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Nothing is cached beyond the threads' small blocks.
    Minimal,
    /// Everything that saves time.
    Fast,
    /// The default.
    Balanced,
    /// The policies learn.
    Learning,
    /// They learn and try, and statistics are printed at exit.
    Research,
    /// One of the others is picked while the program runs (gate `auto-mode`).
    Auto,
}

/// Whether huge pages are asked for (`HAKMEM_THP`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thp {
    /// Never.
    Off,
    /// Where a large heap is filled densely.
    Auto,
    /// Always.
    On,
}

/// When there is a background worker (`HAKMEM_WORKER`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worker {
    /// Never.
    Off,
    /// Once the heap has grown.
    Auto,
    /// Always.
    On,
}

/// The life cycle around ELO (`HAKMEM_EVOLUTION`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evolution {
    /// There is none.
    Off,
    /// The winner stays for good.
    Frozen,
    /// A shift of the sizes leads back to learning.
    Learn,
    /// A shift leads to trials on a small share of the traffic.
    Canary,
}

/// The signal on which statistics are printed (`HAKMEM_STATS_SIGNAL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatsSignal {
    /// None.
    Off,
    /// `SIGUSR1`.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
    /// `SIGHUP`.
    Hup,
    /// `SIGQUIT`.
    Quit,
}

// They are numbered as the words of their settings.
const_assert!(Mode::Auto as u64 == AUTO && MODES.len() == AUTO as usize + 1);
const_assert!(STATS_SIGNALS.len() == StatsSignal::Quit as usize + 1);

/// Settings for [`Hakmem::with`](crate::Hakmem::with), to be made at compile time.
///
/// ```
/// use hakmem::{Config, Hakmem, Mode, Thp};
///
/// #[global_allocator]
/// static HEAP: Hakmem = Hakmem::with(Config::new().mode(Mode::Fast).thp(Thp::Off));
///
/// fn main() {
///     let mut table = String::new();
///     hakmem::print_config(&mut table).unwrap();
///     let thp = table.lines().find(|line| line.contains("HAKMEM_THP")).unwrap();
///     assert_eq!(thp.split_whitespace().skip(2).collect::<Vec<_>>(), ["off", "builder", "yes"]);
/// }
/// ```
///
/// Variables come over it: `HAKMEM_THP=on` wins over `.thp(Thp::Off)`, and `HAKMEM_MODE` brings its
/// values of all settings along. [`print_config`](crate::print_config) calls the origin of what is set
/// here `builder`.
///
/// # Panics
/// A value that a setting does not take makes its function panic, which is an error of the compiler in
/// a `static` or a `const`:
///
/// ```compile_fail
/// static HEAP: hakmem::Hakmem = hakmem::Hakmem::with(hakmem::Config::new().tiny_max_class(8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Config {
    /// What was set, by the number of the setting.
    values: [Option<u64>; COUNT],
    elo_file: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// The number of a setting.
const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < COUNT {
        if same(SETTINGS[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("no setting of that name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

impl Config {
    /// No setting but the defaults.
    pub const fn new() -> Self {
        Config { values: [None; COUNT], elo_file: "" }
    }

    const fn set(mut self, index: usize, value: u64) -> Self {
        assert!(
            SETTINGS[index].form.takes(value),
            "the setting does not take this value: its documentation says which it takes"
        );
        self.values[index] = Some(value);
        self
    }

    /// What a setting was set to.
    pub(super) fn value(&self, index: usize) -> Option<u64> {
        self.values.get(index).copied().flatten()
    }

    /// The file of ratings, if one is named.
    pub(super) fn path(&self) -> &'static str {
        self.elo_file
    }
}

/// Makes a function for each setting: `name(type) ROW = number`.
macro_rules! settings {
    ($($(#[$about:meta])* $name:ident($value:ident: $type:ty) $row:ident = $number:expr;)*) => {
        impl Config {
            $(
                $(#[$about])*
                #[doc = concat!("\n\nThe variable is `HAKMEM_", stringify!($row), "`.")]
                pub const fn $name(self, $value: $type) -> Self {
                    const ROW: usize = index_of(stringify!($row));
                    self.set(ROW, $number)
                }
            )*
        }

        /// The settings that have a function; the path has one of its own.
        #[cfg(test)]
        const ROWS: &[&str] = &[$(stringify!($row),)* "ELO_FILE"];
    };
}

settings! {
    /// The preset that the other settings depart from.
    mode(mode: Mode) MODE = mode as u64;
    /// The last class group of the tiny tier, 0 to 7.
    tiny_max_class(group: u8) TINY_MAX_CLASS = group as u64;
    /// Whether threads fill their magazines at their start.
    prewarm(on: bool) PREWARM = on as u64;
    /// Whether freed large blocks are kept for the next request.
    big_cache(on: bool) BIGCACHE = on as u64;
    /// Whether the front-end layers that are compiled in hold blocks.
    front_layers(on: bool) FRONT_LAYERS = on as u64;
    /// Bytes by which a thread's caches may grow, up to 1 TiB.
    thread_cache_bytes(bytes: usize) THREAD_CACHE_BYTES = bytes as u64;
    /// Bytes up to which a large block is a run of an arena, 256 KiB to 64 MiB.
    large_threshold(bytes: usize) LARGE_THRESHOLD = bytes as u64;
    /// Whether free runs go back to the system together, some time later.
    batch(on: bool) BATCH = on as u64;
    /// What becomes of freed large blocks.
    free_policy(policy: FreePolicy) FREE_POLICY = policy as u64;
    /// Whether huge pages are asked for.
    thp(thp: Thp) THP = thp as u64;
    /// Milliseconds of a decay period, up to 2^30.
    decay_ms(milliseconds: u32) DECAY_MS = milliseconds as u64;
    /// When there is a background worker.
    worker(worker: Worker) WORKER = worker as u64;
    /// Bytes that the heap is to hold at most, up to 64 TiB; 0 for no limit.
    mem_limit(bytes: usize) MEM_LIMIT = bytes as u64;
    /// Whether ELO learns the threshold of large blocks.
    elo(state: EloState) ELO = state as u64;
    /// The life cycle around ELO.
    evolution(evolution: Evolution) EVOLUTION = evolution as u64;
    /// Whether the intelligence engine tunes magazines.
    intelligence(on: bool) INTELLIGENCE = on as u64;
    /// Whether Pool Hotbox v2 serves its range.
    pool_hotbox(on: bool) POOL_HOTBOX = on as u64;
    /// Whether statistics are printed at exit.
    stats(on: bool) STATS = on as u64;
    /// The signal on which statistics are printed.
    stats_signal(signal: StatsSignal) STATS_SIGNAL = signal as u64;
    /// One refill in so many is sampled, up to 2^20; 0 for none.
    guard_sample(refills: u32) GUARD_SAMPLE = refills as u64;
    /// Bytes of the longest block that a hardened heap empties whole when it is freed, up to 256 KiB less 8.
    zero_on_free(bytes: usize) ZERO_ON_FREE = bytes as u64;
    /// Whether the configuration is printed at the start.
    print_config(on: bool) PRINT_CONFIG = on as u64;
}

impl Config {
    /// The file that ratings are read from and written to, a path of at most 240 bytes; "" for none.
    ///
    /// The variable is `HAKMEM_ELO_FILE`.
    pub const fn elo_file(mut self, path: &'static str) -> Self {
        const ROW: usize = index_of("ELO_FILE");
        assert!(path.len() <= LONGEST_PATH, "the path has more than 240 bytes");
        self.elo_file = path;
        self.set(ROW, !path.is_empty() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_function() {
        for setting in &SETTINGS {
            assert!(ROWS.contains(&setting.name), "{}", setting.name);
        }
        assert_eq!(ROWS.len(), COUNT);
    }

    #[test]
    fn what_is_set_is_kept_and_nothing_else() {
        const CONFIG: Config = Config::new().thp(Thp::On).decay_ms(7).elo_file("ratings");
        let set: std::vec::Vec<_> = (0..COUNT)
            .filter_map(|index| CONFIG.value(index).map(|value| (SETTINGS[index].name, value)))
            .collect();
        assert_eq!(set.len(), 3);
        for wanted in [("THP", 2), ("DECAY_MS", 7), ("ELO_FILE", 1)] {
            assert!(set.contains(&wanted), "{set:?}");
        }
        assert_eq!(CONFIG.path(), "ratings");
        assert_eq!(CONFIG.thp(Thp::Off).value(index_of("THP")), Some(0), "the last one counts");
    }

    #[test]
    #[should_panic(expected = "does not take this value")]
    fn a_value_out_of_range_is_refused() {
        let _ = Config::new().large_threshold(1);
    }
}
