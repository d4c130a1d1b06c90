//! Reading what `valgrind --tool=callgrind --dump-instr=yes` leaves: how often each instruction of
//! one loaded file ran.

use anyhow::Result;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

/// Executions of the instructions of one file, and of everything.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// By address in the file.
    pub executed: HashMap<u64, u64>,
    /// Of all loaded files.
    pub total: u64,
}

/// Valgrind, about to run the program that is added to it, leaving its profile in `file`.
pub fn command(file: &Path) -> Command {
    let mut run = Command::new("valgrind");
    run.args(["--tool=callgrind", "--dump-instr=yes", "--dump-line=no", "--demangle=no"]);
    run.args(["--compress-strings=no", "--compress-pos=no", "--collect-jumps=no"]);
    run.arg(format!("--callgrind-out-file={}", file.display()));
    run
}

/// Reads a profile. Addresses in it are those of the loaded file `object`; the distance to the file's
/// own is the one at which most of `functions` (symbol and address in the file) begin. `None`: no
/// function of the file is in the profile.
pub fn parse(
    text: &str,
    object: &str,
    functions: &BTreeMap<String, u64>,
) -> Result<Option<Profile>> {
    let mut total = 0;
    let mut loaded: HashMap<u64, u64> = HashMap::new();
    let mut first: HashMap<&str, u64> = HashMap::new();
    let (mut ours, mut function, mut inclusive) = (false, "", false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            ours = name == object;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            inclusive = true;
        } else if let Some((address, cost)) =
            line.strip_prefix("0x").and_then(|rest| rest.split_once(' '))
        {
            // The line after `calls=` repeats the cost of the callee.
            if std::mem::take(&mut inclusive) {
                continue;
            }
            let address = u64::from_str_radix(address, 16)?;
            let cost: u64 = cost.trim().parse()?;
            total += cost;
            if ours {
                *loaded.entry(address).or_default() += cost;
                let least = first.entry(function).or_insert(address);
                *least = address.min(*least);
            }
        }
    }
    let mut votes: HashMap<u64, usize> = HashMap::new();
    for (name, address) in &first {
        // Callgrind tells recursion levels apart with a suffix.
        if let Some(start) = functions.get(name.split('\'').next().unwrap_or(name)) {
            *votes.entry(address.wrapping_sub(*start)).or_default() += 1;
        }
    }
    let Some((bias, _)) = votes.into_iter().max_by_key(|(_, votes)| *votes) else {
        return Ok(None);
    };
    let executed =
        loaded.into_iter().map(|(address, cost)| (address.wrapping_sub(bias), cost)).collect();
    Ok(Some(Profile { executed, total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_executed_is_read_at_the_file_s_addresses() {
        let text = "events: Ir\nob=/lib/other.so\nfn=malloc\n0x9000 7\n\
                    ob=/lib/ours.so\nfn=malloc\n0x5010 3\n0x5014 3\ncalls=3 0x5100\n0x5014 90\n\
                    fn=free\n0x5100 5\n";
        let functions = BTreeMap::from([("malloc".into(), 0x10), ("free".into(), 0x100)]);
        let profile = parse(text, "/lib/ours.so", &functions).unwrap().unwrap();
        assert_eq!(profile.total, 7 + 3 + 3 + 5);
        assert_eq!(profile.executed, HashMap::from([(0x10, 3), (0x14, 3), (0x100, 5)]));
        assert!(parse(text, "/lib/none.so", &functions).unwrap().is_none());
    }
}
