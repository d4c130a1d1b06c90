//! The golden counts of the fast paths: `ci/golden-fast-path.json`, written by `--bless`, compared
//! by `--check`. A change that makes a fast path longer has to say so in its commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::step::Function;
use crate::shared::paths;

/// What one function of one program executes in its steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Instructions from the first to the return, both included.
    pub instructions: u64,
    /// Of these, locked ones.
    pub locked: u64,
    /// Of these, calls.
    pub calls: u64,
}

impl From<&Function> for Count {
    fn from(function: &Function) -> Count {
        Count {
            instructions: function.median(),
            locked: function.path.locked,
            calls: function.path.inner_calls,
        }
    }
}

/// Counts by function, by program.
pub type Counts = BTreeMap<String, BTreeMap<String, Count>>;

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Golden {
    /// The form of the file.
    pub schema: u32,
    /// The size of the blocks.
    pub size: usize,
    /// The counts.
    pub counts: Counts,
}

/// Where the golden counts are kept.
pub fn path() -> PathBuf {
    paths::root().join("ci/golden-fast-path.json")
}

/// Reads the golden counts.
pub fn read() -> Result<Golden> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}; `cargo xtask asm --bless` writes it", path.display())
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} has another form", path.display()))
}

/// Writes the golden counts.
pub fn write(size: usize, counts: &Counts) -> Result<()> {
    let path = path();
    let golden = Golden { schema: 1, size, counts: counts.clone() };
    let text = serde_json::to_string_pretty(&golden)? + "\n";
    fs::create_dir_all(path.parent().context("the file lies in a folder")?)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Every way in which `found` is worse than `golden`, or cannot be compared with it.
pub fn faults(golden: &Counts, found: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (program, functions) in golden {
        for (function, golden) in functions {
            let Some(found) = found.get(program).and_then(|functions| functions.get(function))
            else {
                faults.push(format!("{program}: {function} is golden but was not found"));
                continue;
            };
            for (what, golden, found) in [
                ("instructions", golden.instructions, found.instructions),
                ("locked instructions", golden.locked, found.locked),
                ("calls", golden.calls, found.calls),
            ] {
                if found > golden {
                    faults.push(format!(
                        "{program}: {function} executes {found} {what}, golden {golden}"
                    ));
                }
            }
        }
    }
    for (program, functions) in found {
        for function in functions.keys() {
            if !golden.get(program).is_some_and(|functions| functions.contains_key(function)) {
                faults.push(format!(
                    "{program}: {function} has no golden count; `--bless` records it"
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: u64, locked: u64, calls: u64) -> Counts {
        let count = Count { instructions, locked, calls };
        BTreeMap::from([("lib".into(), BTreeMap::from([("malloc".into(), count)]))])
    }

    #[test]
    fn only_worse_is_a_fault() {
        let golden = counts(12, 0, 0);
        assert!(faults(&golden, &counts(12, 0, 0)).is_empty());
        assert!(faults(&golden, &counts(9, 0, 0)).is_empty());
        assert_eq!(
            faults(&golden, &counts(13, 1, 0)),
            [
                "lib: malloc executes 13 instructions, golden 12",
                "lib: malloc executes 1 locked instructions, golden 0"
            ]
        );
        assert_eq!(faults(&golden, &counts(12, 0, 1)).len(), 1);
    }

    #[test]
    fn what_is_missing_on_either_side_is_a_fault() {
        assert_eq!(faults(&counts(1, 0, 0), &Counts::new()).len(), 1);
        assert_eq!(faults(&Counts::new(), &counts(1, 0, 0)).len(), 1);
    }
}
