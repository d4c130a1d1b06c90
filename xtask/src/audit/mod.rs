//! `cargo xtask audit`: every atomic operation of the source, placed: telemetry behind a gate, or
//! correctness with its reason. Nothing stays unknown.
//!
//! [`tree`] parses, [`index`] lists what [`declare`] reads, [`walk`] and [`operation`] find the
//! operations with the help of [`infer`] and [`macros`], [`gates`] knows what is behind one,
//! [`paths`] tells hot from cold, [`flow`] and [`feed`] follow the counters' values, and [`reason`]
//! reads the arguments. `docs/audit.md` has the rules.

mod declare;
mod feed;
mod flow;
mod gates;
mod index;
mod infer;
mod macros;
mod operation;
mod paths;
#[cfg(test)]
mod planted;
mod reason;
mod report;
mod site;
pub mod tree;
mod types;
mod walk;

use crate::shared::{paths as places, term};
use anyhow::{Result, bail};
use index::Index;
use paths::Level;
use report::{Class, Entry, Problem, Report};
use site::{Fault, Found, Site};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tree::File;

/// Arguments of `cargo xtask audit`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask audit                   the table by path, and what is wrong
  cargo xtask audit --sites           every operation with its reason
  cargo xtask audit --json > a.json   the same for programs

The reason for an operation is a sentence in a comment that begins with its ordering, beside the
operation, above its function or above the atomic's declaration:
  // Release: pairs with the acquire in `take`; the block's contents are seen there.
Exit code 1 means that something could not be placed. docs/audit.md has the rules.")]
pub struct Args {
    /// List every operation instead of every atomic
    #[arg(long)]
    sites: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Audit the checkout in this folder
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let root = args.root.as_deref().unwrap_or(places::root());
    let report = audit(root)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text(args.sites));
    }
    if let Some(first) = report.problems.first() {
        let more = match report.problems.len() {
            1 => String::new(),
            all => format!(" (and {} more, listed above)", all - 1),
        };
        term::error(&anyhow::anyhow!("{}: {}{more}", first.at, first.text));
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Audits the source of a checkout: the allocator, and the library that is preloaded.
fn audit(root: &Path) -> Result<Report> {
    let mut files = tree::read(root, "src", &[])?;
    if root.join("preload/src").is_dir() {
        files.extend(tree::read(root, "preload/src", &["preload"])?);
    }
    if files.is_empty() {
        bail!(
            "{} has no .rs file; expected the source of the allocator",
            root.join("src").display()
        );
    }
    let index = Index::build(&files);
    let found: Vec<Found> = (0..index.bodies.len()).map(|body| walk::walk(&index, body)).collect();
    let levels = paths::levels(&index, &found);
    let audit = Audit { files: &files, index: &index, levels: &levels };
    let gauges = flow::gauges(&index, &found);
    let mut faults: Vec<Fault> = found.iter().flat_map(|found| found.faults.clone()).collect();
    faults.extend(flow::faults(&index, &found));
    faults.extend(index.hidden.iter().map(|(file, line, name)| Fault {
        file: *file,
        line: *line,
        text: format!("unknown: `{name}` hides atomics that no audit sees; use os::lock::Lock or an atomic of base/sync.rs"),
    }));
    faults.extend(index.loose.iter().map(|(file, line, text)| Fault {
        file: *file,
        line: *line,
        text: format!("unknown: {text}"),
    }));
    faults.extend(unplaced_orderings(&files, &index, &found));
    let mut entries = Vec::new();
    for site in found.iter().flat_map(|found| &found.sites) {
        let (entry, wrong) = audit.place(site, &gauges);
        faults.extend(wrong);
        entries.push(entry);
    }
    faults.sort();
    // One word for a place is enough, and the nets come last.
    faults.dedup_by_key(|fault| {
        (fault.file, fault.line, fault.text.split(':').next().unwrap_or_default().to_owned())
    });
    entries.sort_by(|a, b| (a.path, &a.file, a.line).cmp(&(b.path, &b.file, b.line)));
    let problems = faults
        .into_iter()
        .map(|fault| Problem {
            at: format!("{}:{}", files[fault.file].path, fault.line),
            text: fault.text,
        })
        .collect();
    Ok(Report::new(entries, problems))
}

/// The second net: names of orderings, found token by token, that belong to no operation.
fn unplaced_orderings(files: &[File], index: &Index, found: &[Found]) -> Vec<Fault> {
    let mut known: HashSet<(usize, usize, usize)> = HashSet::new();
    for site in found.iter().flat_map(|found| &found.sites) {
        let file = index.bodies[site.body].file;
        known.extend(site.places.iter().map(|(line, column)| (file, *line, *column)));
    }
    let excused = |file: usize, line: usize| {
        let told =
            found.iter().flat_map(|found| &found.faults).map(|fault| (fault.file, fault.line));
        let loose = index.loose.iter().map(|(file, line, _)| (*file, *line));
        let tests = index.test_files.contains(&file);
        tests || told.chain(loose).any(|it| it == (file, line))
    };
    let mut faults = Vec::new();
    for (at, file) in files.iter().enumerate() {
        for (line, column, name) in &file.orderings {
            if !known.contains(&(at, *line, *column)) && !excused(at, *line) {
                let text = format!(
                    "unknown: the ordering `{name}` belongs to no operation that the audit sees; write the operation as a \
                     call on the atomic itself"
                );
                faults.push(Fault { file: at, line: *line, text });
            }
        }
    }
    faults
}

/// What placing an operation needs.
struct Audit<'a> {
    files: &'a [File],
    index: &'a Index,
    levels: &'a [Level],
}

impl Audit<'_> {
    /// Places one operation, and says what is wrong with it.
    fn place(&self, site: &Site, gauges: &HashSet<usize>) -> (Entry, Vec<Fault>) {
        let body = &self.index.bodies[site.body];
        let atomic = site.atomic.map(|at| &self.index.atomics[at]);
        let level = self.levels[site.body];
        let mut wrong = Vec::new();
        let mut fault = |text: String| wrong.push(Fault { file: body.file, line: site.line, text });
        let gauge = site.atomic.is_some_and(|at| gauges.contains(&at));
        let telemetry = atomic.is_some_and(|it| it.telemetry);
        let called = match atomic {
            Some(it) => format!("{} of {}", site.operation, it.name),
            None => site.operation.clone(),
        };
        let mut reason = None;
        let class = if let Some(why) = &site.unknown {
            fault(format!("unknown: {called}: {why}"));
            Class::Unknown
        } else if telemetry && body.module.iter().any(|part| part == "telemetry") {
            if site.gated || atomic.is_some_and(|it| it.behind_a_gate) {
                Class::Telemetry
            } else {
                fault(format!(
                    "{called}: a telemetry counter is touched outside of `if GATE::ON`; put it behind its gate"
                ));
                Class::Unknown
            }
        } else {
            match self.reasons(site) {
                Ok(found) => {
                    reason = Some(found);
                    if gauge && self.comment_for(site, "Gauge").is_none() {
                        fault(format!(
                            "{called}: a counter that no decision reads is telemetry; put it behind a gate, or say above its \
                             declaration why every build needs it: `Gauge: ...`"
                        ));
                        Class::Unknown
                    } else {
                        Class::Correctness
                    }
                }
                Err(head) => {
                    fault(format!(
                        "{called} has no reason; write a comment beside it, or above the declaration{}, that begins `{head}: ` and says \
                         why that is enough",
                        atomic.map_or(String::new(), |it| format!(
                            " ({}:{})",
                            self.files[it.file].path, it.line
                        ))
                    ));
                    Class::Unknown
                }
            }
        };
        if level == Level::Hot && class != Class::Telemetry && site.locked() {
            fault(format!(
                "{called} is a locked instruction on the hot path (in `{}`); move it behind a #[cold] function, or do without",
                body.name
            ));
        }
        let entry = Entry {
            path: level,
            class,
            atomic: atomic.map_or_else(|| "-".to_owned(), |it| it.name.clone()),
            declared: atomic.map(|it| format!("{}:{}", self.files[it.file].path, it.line)),
            operation: site.operation.clone(),
            orderings: site.orderings.clone(),
            locked: site.locked(),
            file: self.files[body.file].path.clone(),
            line: site.line,
            function: body.name.clone(),
            reason,
        };
        (entry, wrong)
    }

    /// The reasons for every ordering that needs one, or the first that has none.
    fn reasons(&self, site: &Site) -> Result<String, String> {
        let mut heads: Vec<String> = match (site.orderings.first(), site.operation.as_str()) {
            (Some(first), "asm!") => vec![first.split(' ').next().unwrap_or_default().to_owned()],
            (None, _) => vec!["Plain".to_owned()],
            _ => site.orderings.clone(),
        };
        // A failed exchange that is relaxed publishes nothing and learns nothing it relies on.
        if heads.len() > 1 && heads.last().is_some_and(|last| last == "Relaxed") {
            heads.pop();
        }
        heads.dedup();
        let mut reasons = Vec::new();
        for head in heads {
            reasons.push(self.comment_for(site, &head).ok_or(head)?);
        }
        reasons.dedup();
        Ok(reasons.join("; "))
    }

    /// The reason for `head`: beside the operation, above the function, above the declaration.
    fn comment_for(&self, site: &Site, head: &str) -> Option<String> {
        let body = &self.index.bodies[site.body];
        let file = &self.files[body.file];
        let beside = [
            file.comments_of(site.statement, site.line),
            file.comment_at(site.line),
            file.comment_at(body.line),
        ];
        let declared = site.atomic.map(|at| {
            let atomic = &self.index.atomics[at];
            self.files[atomic.file].comment_at(atomic.line)
        });
        beside.into_iter().chain(declared).find_map(|comment| reason::find(&comment, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_checkout_is_unknown() {
        let report = audit(places::root()).unwrap();
        let problems: Vec<String> =
            report.problems.iter().map(|it| format!("{}: {}", it.at, it.text)).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        assert!(report.totals.telemetry > 0 && report.totals.correctness > 50);
    }
}
