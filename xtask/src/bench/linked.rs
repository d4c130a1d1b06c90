//! The allocators as Rust programs have them, compiled in as `#[global_allocator]`: hakmem, the
//! system's, the crates of the peers, and rusty_alloc. One binary each, of `benches/peers/rust`,
//! with the same scenarios and Rust programs, the same flags, fat link-time optimisation.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::limits::locked_version;
use super::peers::{Allocator, Missing, OURS};
use super::task::{Group, Task, Work, check_names};
use crate::shared::{command, paths, registry, term};

/// One allocator that Rust programs can have.
struct Peer {
    /// Its name, its feature, and `peer-` before it its binary.
    name: &'static str,
    /// The crate; empty for the standard library's own.
    package: &'static str,
    /// The compilers that the crate's sources need, and the Debian package that has each.
    needs: &'static [(&'static str, &'static str)],
}

const CC: (&str, &str) = ("cc", "gcc");
const CXX: (&str, &str) = ("c++", "g++");

const PEERS: &[Peer] = &[
    Peer { name: OURS, package: registry::PACKAGE, needs: &[] },
    Peer { name: "system", package: "", needs: &[] },
    Peer { name: "mimalloc2", package: "mimalloc", needs: &[CC] },
    Peer { name: "mimalloc3", package: "mimalloc", needs: &[CC] },
    Peer { name: "snmalloc", package: "snmalloc-rs", needs: &[CXX] },
    Peer { name: "rpmalloc", package: "rpmalloc", needs: &[CC] },
    Peer { name: "jemalloc", package: "tikv-jemallocator", needs: &[CC, ("make", "make")] },
    Peer { name: "tcmalloc", package: "tcmalloc-better", needs: &[CXX] },
    Peer { name: "rusty_alloc", package: "rusty_alloc-api", needs: &[] },
];

/// The names that `--peer` takes with `--linked`.
pub fn names() -> Vec<&'static str> {
    PEERS[1..].iter().map(|peer| peer.name).collect()
}

/// Builds ours and the peers named in `only` (all if it is empty).
pub fn make(only: &[String], features: &[String]) -> Result<(Vec<Allocator>, Vec<Missing>)> {
    check_names("peer with --linked", only, &names())?;
    let wanted: Vec<&Peer> = PEERS
        .iter()
        .filter(|peer| {
            peer.name == OURS || only.is_empty() || only.iter().any(|name| name == peer.name)
        })
        .collect();
    let bar = term::progress("Building", wanted.len() as u64);
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for peer in wanted {
        bar.set_message(peer.name);
        match make_one(peer, features) {
            Ok(allocator) => ready.push(allocator),
            Err(error) if peer.name == OURS => return Err(error),
            Err(error) => {
                missing.push(Missing { name: peer.name.to_owned(), reason: format!("{error:#}") });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for Missing { name, reason } in &missing {
        term::note(format!("{name} is left out: {reason}"));
    }
    Ok((ready, missing))
}

fn make_one(peer: &Peer, features: &[String]) -> Result<Allocator> {
    for (tool, debian) in peer.needs {
        if paths::which(tool).is_none() {
            bail!("its crate needs `{tool}`; `apt-get install {debian}`");
        }
    }
    let manifest = paths::root().join("benches/peers/rust/Cargo.toml");
    let target = paths::target().join("peers/rust");
    let binary = format!("peer-{}", peer.name);
    let mut build = command::cargo();
    build.args(["build", "--release", "--bin", &binary, "--features", peer.name]);
    build.arg("--manifest-path").arg(&manifest).env("CARGO_TARGET_DIR", &target);
    if peer.name == OURS {
        for feature in features {
            build.args(["--features", &format!("{}/{feature}", registry::PACKAGE)]);
        }
    }
    command::output(&mut build)?;
    // A copy, so that a build with other features cannot replace it under a running program.
    let built = target.join("release").join(&binary);
    let program = target.join(&binary);
    let _ = std::fs::remove_file(&program);
    std::fs::copy(&built, &program)
        .with_context(|| format!("cannot copy {} beside its folder", built.display()))?;
    let version = match peer.package {
        "" => "of the standard library".to_owned(),
        package => {
            let lock = std::fs::read_to_string(manifest.with_file_name("Cargo.lock"))?;
            let version = locked_version(&lock, package).context("its lock file lacks it")?;
            if peer.name == OURS { version } else { format!("({package} {version})") }
        }
    };
    let told = command::stdout(Command::new(&program).args(["app", "--heap"]))?;
    if told.trim() != peer.name {
        bail!("its binary says that it runs on `{}`", told.trim());
    }
    Ok(Allocator { name: peer.name.to_owned(), version, library: None, program: Some(program) })
}

/// A Rust program, as the binaries describe it.
#[derive(Deserialize)]
struct App {
    name: String,
    about: String,
    threaded: bool,
}

/// The Rust programs as rows.
pub fn apps(ours: &Allocator) -> Result<Vec<Task>> {
    let program: &PathBuf = ours.program.as_ref().context("it has no program of its own")?;
    let text = command::stdout(Command::new(program).args(["app", "--describe"]))?;
    let apps: Vec<App> =
        serde_json::from_str(&text).context("the Rust programs describe themselves in JSON")?;
    Ok(apps
        .into_iter()
        .map(|App { name, about, threaded }| Task {
            name,
            about,
            threaded,
            unit: "run".into(),
            ops: 1,
            settle_ms: 0,
            group: Group::Apps,
            work: Work::App,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_its_binary_and_its_feature() {
        let folder = paths::root().join("benches/peers/rust");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let lock = std::fs::read_to_string(folder.join("Cargo.lock")).unwrap();
        for peer in PEERS {
            assert!(folder.join(format!("src/bin/{}.rs", peer.name)).is_file(), "{}", peer.name);
            assert!(manifest.contains(&format!("name = \"peer-{}\"", peer.name)), "{}", peer.name);
            assert!(manifest.contains(&format!("\n{} = [", peer.name)), "{}", peer.name);
            let locked = peer.package.is_empty() || locked_version(&lock, peer.package).is_some();
            assert!(locked, "{}", peer.package);
        }
    }

    #[test]
    fn an_unknown_peer_is_named_with_the_nearest() {
        let error = make(&["rusty".to_owned()], &[]).unwrap_err().to_string();
        assert!(
            error.contains("did you mean 'rusty_alloc'?") && error.contains("system"),
            "{error}"
        );
    }
}
