//! Real Rust programs on `#[global_allocator] Hakmem`; with the `system` feature, the same ones on
//! the system's allocator. Each prints what it computed, never a time or an address, so that both
//! builds must print the same: `cargo xtask real` compares them.

mod digest;
mod documents;
mod messages;
mod parallel;
mod text;

use std::process::ExitCode;

#[cfg(not(feature = "system"))]
#[global_allocator]
static HEAP: hakmem::Hakmem = hakmem::Hakmem::new();

/// A program: its name, and what it prints.
type App = (&'static str, fn() -> String);

const APPS: &[App] = &[
    ("serde_json", documents::run),
    ("regex", text::run),
    ("rayon", parallel::run),
    ("tokio", messages::tokio),
    ("crossbeam-channel", messages::channels),
];

const USAGE: &str = "usage: hakmem-apps NAME... | --list | --heap";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => fail(USAGE),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["--list"] => {
            for (name, _) in APPS {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        ["--heap"] => {
            println!("{}", heap());
            ExitCode::SUCCESS
        }
        ref names => {
            for name in names {
                let Some((_, app)) = APPS.iter().find(|(known, _)| known == name) else {
                    return fail(&format!("no program `{name}`; {USAGE}"));
                };
                println!("== {name}\n{}", app());
            }
            ExitCode::SUCCESS
        }
    }
}

/// Which heap this build is on.
fn heap() -> &'static str {
    if cfg!(feature = "system") { "system" } else { "hakmem" }
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
        for (name, app) in APPS {
            let first = app();
            assert!(!first.is_empty(), "{name} printed nothing");
            assert_eq!(first, app(), "{name} is not deterministic");
        }
    }
}
