//! What is compared with what: builds, settings, and the most that each may cost.

use serde::Serialize;

/// A build of the preload library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Build {
    /// As users get it.
    Default,
    /// With ELO and Evolution.
    Learning,
    /// With every counter, a thread's own.
    Telemetry,
    /// With every counter, shared by all threads.
    Shared,
}

impl Build {
    /// All of them.
    pub const ALL: [Build; 4] = [Build::Default, Build::Learning, Build::Telemetry, Build::Shared];

    /// The gates that it has beside those of the default build.
    pub fn gates(self) -> &'static [&'static str] {
        match self {
            Build::Default => &[],
            Build::Learning => &["elo", "evolution"],
            Build::Telemetry => &["telemetry"],
            Build::Shared => &["telemetry", "telemetry-shared"],
        }
    }

    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Build::Default => "default",
            Build::Learning => "learning",
            Build::Telemetry => "telemetry",
            Build::Shared => "telemetry-shared",
        }
    }
}

/// A build under some settings.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// What it is called in the tables.
    pub name: String,
    /// The build.
    pub build: Build,
    /// Variables and their values.
    pub settings: Vec<(String, String)>,
    /// The most that its time may be, in per cent of the base's.
    pub limit: Option<f64>,
}

impl Arm {
    /// Under these settings, without a limit.
    pub fn new(name: &str, build: Build, settings: &[(&str, &str)]) -> Arm {
        let owned = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Arm { name: name.to_owned(), build, settings: owned.collect(), limit: None }
    }

    /// With a limit.
    pub fn within(self, percent: f64) -> Arm {
        Arm { limit: Some(percent), ..self }
    }
}

/// Minimal mode, and what BigCache and batched `madvise` make of it: the first is the base.
pub fn vm() -> Vec<Arm> {
    let minimal = ("HAKMEM_MODE", "minimal");
    let (cache, batch) = (("HAKMEM_BIGCACHE", "on"), ("HAKMEM_BATCH", "on"));
    let arm = |name, settings| Arm::new(name, Build::Default, settings);
    vec![
        arm("minimal mode", &[minimal]),
        arm("with BigCache", &[minimal, cache]),
        arm("with batched madvise", &[minimal, batch]),
        arm("with both", &[minimal, cache, batch]).within(10.0),
        arm("default mode", &[]),
    ]
}

/// The scenarios that suit different thresholds.
pub const SUITED: [&str; 2] = ["large-grown", "large-recycled"];

/// Every threshold that ELO has, in KiB, fixed.
pub fn fixed() -> Vec<(u64, Arm)> {
    let arm = |power: u32| {
        let kib = 512 << power;
        let bytes = format!("{kib}k");
        let settings = [("HAKMEM_ELO", "off"), ("HAKMEM_LARGE_THRESHOLD", &*bytes)];
        (kib, Arm::new(&size(kib), Build::Learning, &settings))
    };
    (0..6).map(arm).collect()
}

/// Settings under which a program learns into a file, with and without Evolution.
pub fn lessons() -> [(&'static str, [(&'static str, &'static str); 2]); 2] {
    [
        ("ELO", [("HAKMEM_ELO", "learn"), ("HAKMEM_EVOLUTION", "off")]),
        ("Evolution", [("HAKMEM_ELO", "learn"), ("HAKMEM_EVOLUTION", "learn")]),
    ]
}

/// What was learned into the files of [`lessons`], in force: ELO's as it is, Evolution's watched.
pub fn learned(files: &[String; 2]) -> [Arm; 2] {
    let arm = |name, evolution, file: &str| {
        let frozen = ("HAKMEM_ELO", "frozen");
        let settings = [frozen, ("HAKMEM_EVOLUTION", evolution), ("HAKMEM_ELO_FILE", file)];
        Arm::new(name, Build::Learning, &settings).within(102.0)
    };
    [arm("ELO, learned", "off", &files[0]), arm("Evolution, learned", "learn", &files[1])]
}

/// The fixed default, and learning from nothing.
pub fn from_nothing() -> Vec<Arm> {
    let [(elo, alone), (evolution, with)] = lessons();
    vec![
        Arm::new("default", Build::Default, &[]),
        Arm::new(elo, Build::Learning, &alone).within(105.0),
        Arm::new(evolution, Build::Learning, &with).within(105.0),
    ]
}

/// What the counters are timed in.
pub const COUNTED: [&str; 2] = ["random-mixed-400", "random-mixed-50000"];

/// No counter, and all of them.
pub fn telemetry() -> Vec<Arm> {
    vec![
        Arm::new("default", Build::Default, &[]),
        Arm::new("telemetry", Build::Telemetry, &[]).within(110.0),
        Arm::new("telemetry, shared", Build::Shared, &[]),
    ]
}

/// Bytes of the blocks whose `malloc` and `free` are counted.
pub const TINY: [usize; 4] = [8, 64, 256, 1024];

/// A size in KiB as people write it.
pub fn size(kib: u64) -> String {
    if kib.is_multiple_of(1024) { format!("{} MiB", kib / 1024) } else { format!("{kib} KiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_that_elo_has() {
        let names: Vec<String> = fixed().into_iter().map(|(_, arm)| arm.name).collect();
        assert_eq!(names, ["512 KiB", "1 MiB", "2 MiB", "4 MiB", "8 MiB", "16 MiB"]);
    }

    #[test]
    fn a_base_has_no_limit_and_each_question_has_one() {
        for arms in [vm(), from_nothing(), telemetry()] {
            assert!(arms[0].limit.is_none());
            assert!(arms.iter().any(|arm| arm.limit.is_some()));
        }
    }
}
