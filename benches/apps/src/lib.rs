//! Real Rust programs, to be run on any `#[global_allocator]`: `hakmem-apps` has Hakmem, or with the
//! `system` feature the system's allocator, and the binaries of `benches/peers/rust` have the others.
//!
//! Each program prints what it computed, never a time or an address, so that all builds must print
//! the same: `cargo xtask real` compares them, and `cargo xtask bench --linked` times them.

mod boxes;
mod buffers;
mod digest;
mod documents;
mod maps;
mod messages;
mod parallel;
mod source;
mod strings;
mod text;

use std::process::ExitCode;

/// A program.
#[derive(Clone, Copy)]
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// The work, in a few words.
    pub about: &'static str,
    /// Whether it runs on several threads.
    pub threaded: bool,
    /// Does the work and returns what to print.
    pub run: fn() -> String,
}

/// Every program.
pub const APPS: &[App] = &[
    App {
        name: "serde_json",
        about: "typed and untyped documents made, written, read back, changed and dropped",
        threaded: false,
        run: documents::run,
    },
    App {
        name: "regex",
        about: "a log scanned, grouped and rewritten; many expressions compiled",
        threaded: false,
        run: text::run,
    },
    App {
        name: "rayon",
        about: "sorts, maps and nested joins on six workers",
        threaded: true,
        run: parallel::run,
    },
    App {
        name: "tokio",
        about: "a service asked by 2,000 tasks on four workers",
        threaded: true,
        run: messages::tokio,
    },
    App {
        name: "crossbeam-channel",
        about: "a pipeline of seven threads, and 900 threads that leave strings behind",
        threaded: true,
        run: messages::channels,
    },
    App {
        name: "boxes",
        about: "trees of boxes: grown, searched, pruned and dropped",
        threaded: false,
        run: boxes::run,
    },
    App {
        name: "maps",
        about: "hash and tree maps of strings and vectors that come and go",
        threaded: false,
        run: maps::run,
    },
    App {
        name: "sorting",
        about: "stable sorts of strings and records, runs merged from a heap",
        threaded: false,
        run: strings::sorting,
    },
    App {
        name: "strings",
        about: "text formatted, split, joined and replaced",
        threaded: false,
        run: strings::formatting,
    },
    App {
        name: "buffers",
        about: "byte buffers that grow to 64 MiB, are copied, cut and queued",
        threaded: false,
        run: buffers::run,
    },
    App {
        name: "syn",
        about: "Rust source parsed into syntax trees",
        threaded: false,
        run: source::run,
    },
];

const USAGE: &str = "usage: PROGRAM NAME... | --list | --describe | --heap";

/// The command line, from its word number `first` on, of a binary whose global allocator is called
/// `heap`.
pub fn main(heap: &str, first: usize) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(first).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => fail(USAGE),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["--list"] => {
            for app in APPS {
                println!("{}", app.name);
            }
            ExitCode::SUCCESS
        }
        ["--describe"] => {
            let rows: Vec<_> = APPS
                .iter()
                .map(|app| {
                    serde_json::json!({
                        "name": app.name, "about": app.about, "threaded": app.threaded
                    })
                })
                .collect();
            println!("{}", serde_json::Value::from(rows));
            ExitCode::SUCCESS
        }
        ["--heap"] => {
            println!("{heap}");
            ExitCode::SUCCESS
        }
        ref names => {
            for name in names {
                let Some(app) = APPS.iter().find(|app| app.name == *name) else {
                    return fail(&format!("no program `{name}`; {USAGE}"));
                };
                println!("== {name}\n{}", (app.run)());
            }
            ExitCode::SUCCESS
        }
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_prints_the_same_twice() {
        for App { name, run, .. } in APPS {
            let first = run();
            assert!(!first.is_empty(), "{name} printed nothing");
            assert_eq!(first, run(), "{name} is not deterministic");
        }
    }
}
