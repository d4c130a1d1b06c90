//! `cargo xtask asm --diff FEATURE`: what a gate adds, instruction by instruction, to each fast path
//! and to every other function of the preload library that differs.
//!
//! Both builds are compared before linking, relocations resolved to names (`ab::object`), so that
//! where the linker puts things is no difference; names and source lines are those of the linked
//! files. An instruction is *moved* where only a displacement differs: a field or a frame lies
//! elsewhere.

use super::annotate::{Annotated, Text};
use super::library::{Builder, FAST_PATHS, Library};
use crate::ab::diff;
use crate::ab::object::{Code, Function, Instr, plain_name};
use crate::matrix::plan::{self, Group};
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::{Registry, nearest};
use crate::shared::{paths, term};
use anyhow::{Context, Result, bail};
use console::style;
use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Lines around a difference that are shown.
const CONTEXT: usize = 3;

/// What became of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Op {
    /// The same in both builds.
    Same,
    /// The same but for a displacement.
    Moved,
    /// Only in the build without the gate.
    Removed,
    /// Only in the build with it.
    Added,
}

/// One line of a listing.
#[derive(Clone, Debug, Serialize)]
struct Line {
    op: Op,
    text: String,
    source: String,
}

/// One function.
#[derive(Clone, Debug, Serialize)]
struct Changed {
    name: String,
    fast_path: bool,
    /// Instructions without the gate; none where the function is new.
    out: Option<usize>,
    /// Instructions with it; none where the function is gone.
    with: Option<usize>,
    removed: usize,
    added: usize,
    moved: usize,
    lines: Vec<Line>,
}

/// The finding.
#[derive(Debug, Serialize)]
struct Difference {
    schema: u32,
    feature: String,
    features: Vec<String>,
    gates: BTreeSet<String>,
    /// Functions that were compared.
    compared: usize,
    functions: Vec<Changed>,
    /// Named data with other contents or another size: bytes without and with.
    data: Vec<(String, u64, u64)>,
}

/// One build with its texts.
struct Side {
    code: Code,
    texts: Annotated,
}

/// Runs the command.
pub fn run(feature: &str, json: bool) -> Result<ExitCode> {
    let registry = Registry::read()?;
    if !registry.umbrellas.contains_key(feature) {
        // An unknown name is refused with the nearest ones.
        registry.gate(feature).map_err(|error| match near_umbrella(&registry, feature) {
            Some(near) => anyhow::anyhow!("{error}; there is also the union `{near}`"),
            None => error,
        })?;
    }
    let wanted = plan::in_default(&registry, feature, Group::Single, &[feature]);
    if let Some(reason) = &wanted.refused {
        bail!("{reason}");
    }
    let folder = paths::target().join("asm/diff");
    let builder = Builder::new(paths::root(), folder.join("build"));
    let side = |what: &str, file: &str, features: &[String]| -> Result<Side> {
        let spinner = term::spinner("Building", format!("the library {what} {feature}"));
        let built = builder.build(features).and_then(|library| keep(&library, folder.join(file)));
        spinner.finish_and_clear();
        built.with_context(|| format!("building the library {what} `{feature}`"))
    };
    // What users get, less the feature.
    let around = DefaultBuild::around(&registry, &registry.union(feature), &BTreeSet::new());
    let rest: Vec<String> = around.beside.into_iter().collect();
    let out = side("without", "out.so", &rest)?;
    let with = side("with", "in.so", &wanted.features)?;
    let comparison = diff::compare(&out.code, &with.code);
    let mut functions = Vec::new();
    for name in FAST_PATHS {
        functions.extend(compare(&out, &with, name, true));
    }
    for name in comparison.differing.keys().filter(|name| !FAST_PATHS.contains(&name.as_str())) {
        functions.extend(compare(&out, &with, name, false));
    }
    // Fast paths first and as they are listed, then what changed most, then what is new.
    functions.sort_by_key(|function| match function.fast_path {
        true => (false, false, 0),
        false => (true, function.out.is_none(), usize::MAX - function.added - function.removed),
    });
    let difference = Difference {
        schema: 1,
        feature: feature.to_owned(),
        features: wanted.features,
        gates: wanted.gates,
        compared: comparison.functions,
        functions,
        data: comparison.data.into_iter().map(|(name, (out, with))| (name, out, with)).collect(),
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&difference)?);
    } else {
        print(&difference);
    }
    Ok(ExitCode::SUCCESS)
}

fn near_umbrella<'a>(registry: &'a Registry, name: &str) -> Option<&'a str> {
    nearest(name, registry.umbrellas.keys().map(String::as_str))
}

/// Reads a build before the next one overwrites it.
fn keep(library: &Library, file: PathBuf) -> Result<Side> {
    std::fs::copy(&library.file, &file)
        .with_context(|| format!("cannot keep {}", file.display()))?;
    Ok(Side { code: library.code()?, texts: Annotated::read(&file)? })
}

/// The functions of one name, paired: equal ones first, which say nothing unless they are a fast
/// path, then by size.
fn compare(out: &Side, with: &Side, name: &str, fast_path: bool) -> Vec<Changed> {
    let of = |side: &'_ Side| -> Vec<Function> {
        side.code.functions.iter().filter(|function| function.name == name).cloned().collect()
    };
    let (left, mut right) = (of(out), of(with));
    let exact = |function: &Function| {
        function.instructions.iter().map(|instr| instr.exact.clone()).collect::<Vec<_>>()
    };
    let (mut pairs, mut rest) = (Vec::new(), Vec::new());
    for function in left {
        match right.iter().position(|other| exact(other) == exact(&function)) {
            Some(at) => pairs.push((Some(function), Some(right.swap_remove(at)))),
            None => rest.push(function),
        }
    }
    if !fast_path {
        pairs.clear();
    }
    rest.sort_by_key(|function| function.instructions.len());
    right.sort_by_key(|function| function.instructions.len());
    let (mut rest, mut right) = (rest.into_iter(), right.into_iter());
    loop {
        match (rest.next(), right.next()) {
            (None, None) => break,
            pair => pairs.push(pair),
        }
    }
    pairs
        .iter()
        .map(|(left, right)| {
            let lines = lines(out, with, left.as_ref(), right.as_ref());
            let count = |op: Op| lines.iter().filter(|line| line.op == op).count();
            Changed {
                name: name.to_owned(),
                fast_path,
                out: left.as_ref().map(|function| function.instructions.len()),
                with: right.as_ref().map(|function| function.instructions.len()),
                removed: count(Op::Removed),
                added: count(Op::Added),
                moved: count(Op::Moved),
                lines,
            }
        })
        .collect()
}

fn lines(out: &Side, with: &Side, left: Option<&Function>, right: Option<&Function>) -> Vec<Line> {
    let line = |op: Op, side: &Side, function: Option<&Function>, instr: &Instr| {
        let text = function.and_then(|function| side.texts.text(&function.symbol, instr.offset));
        let Text { mut words, source } =
            text.unwrap_or_else(|| Text { words: instr.unplaced.clone(), source: String::new() });
        // A reference through a table of addresses has its name in the relocation only.
        if let Some(name) = instr.refers.as_deref().map(plain_name)
            && !words.contains(&name)
        {
            words.push_str(&format!(" ; {name}"));
        }
        Line { op, text: words, source }
    };
    let empty = &[][..];
    let a = left.map_or(empty, |function| &function.instructions);
    let b = right.map_or(empty, |function| &function.instructions);
    align(a, b)
        .into_iter()
        .map(|(op, at)| match op {
            Op::Removed => line(op, out, left, &a[at]),
            _ => line(op, with, right, &b[at]),
        })
        .collect()
}

/// The instructions of both in one order; the index is into the first for what was removed, else
/// into the second.
fn align(a: &[Instr], b: &[Instr]) -> Vec<(Op, usize)> {
    let keys = |side: &[Instr]| side.iter().map(|instr| instr.unplaced.clone()).collect::<Vec<_>>();
    let mut lines = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &keys(a), &keys(b)) {
        if let DiffOp::Equal { .. } = op {
            for (old, new) in op.old_range().zip(op.new_range()) {
                let moved = a[old].exact != b[new].exact;
                lines.push((if moved { Op::Moved } else { Op::Same }, new));
            }
        } else {
            lines.extend(op.old_range().map(|at| (Op::Removed, at)));
            lines.extend(op.new_range().map(|at| (Op::Added, at)));
        }
    }
    lines
}

fn print(difference: &Difference) {
    let gates: Vec<&str> = difference.gates.iter().map(String::as_str).collect();
    println!("{}: {}", style(&difference.feature).bold(), gates.join(", "));
    for function in &difference.functions {
        print_function(function);
    }
    if !difference.data.is_empty() {
        println!("\n{}", style("data, bytes without and with").bold());
        for (name, out, with) in &difference.data {
            println!("  {name}: {out} -> {with}");
        }
    }
    let changed = difference.functions.iter().filter(|f| f.removed + f.added + f.moved > 0);
    println!(
        "\n{} of {} functions differ. - without, + with, ~ the same at another displacement",
        changed.count(),
        difference.compared
    );
}

fn print_function(function: &Changed) {
    let name = style(&function.name).bold();
    match (function.out, function.with) {
        (None, Some(with)) => println!("\n{name}: new, {with} instructions"),
        (Some(out), None) => println!("\n{name}: gone, it had {out} instructions"),
        (Some(out), Some(_)) if function.removed + function.added + function.moved == 0 => {
            println!("\n{name}: the same {out} instructions");
        }
        (out, with) => {
            println!(
                "\n{name}: {} -> {} instructions, +{} -{} ~{}",
                out.unwrap_or(0),
                with.unwrap_or(0),
                function.added,
                function.removed,
                function.moved
            );
            let context = if function.fast_path { usize::MAX } else { CONTEXT };
            let mut last = None;
            for at in shown(&function.lines, context) {
                if last.is_some_and(|last| last + 1 != at) {
                    println!("    ...");
                }
                last = Some(at);
                let line = &function.lines[at];
                let text = format!("{:<58} {}", line.text, style(&line.source).dim());
                match line.op {
                    Op::Same => println!("    {}", text.trim_end()),
                    Op::Moved => println!("  {} {}", style("~").yellow(), text.trim_end()),
                    Op::Removed => println!("  {}", style(format!("- {}", text.trim_end())).red()),
                    Op::Added => println!("  {}", style(format!("+ {}", text.trim_end())).green()),
                }
            }
        }
    }
}

/// Which lines to show: those that differ in what they do, with `context` lines around them. Where
/// a function has only moved instructions, none.
fn shown(lines: &[Line], context: usize) -> Vec<usize> {
    let differs = |line: &Line| matches!(line.op, Op::Removed | Op::Added);
    let places: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| differs(line)).map(|(at, _)| at).collect();
    let near = |at: usize| places.iter().any(|place| place.abs_diff(at) <= context);
    (0..lines.len()).filter(|at| near(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instr(at: usize, exact: &str) -> Instr {
        // "op@place": the place is the displacement.
        let unplaced = exact.split('@').next().unwrap_or(exact).to_owned();
        Instr { offset: at as u64, exact: exact.to_owned(), unplaced, jump: None, refers: None }
    }

    fn side(words: &[&str]) -> Vec<Instr> {
        words.iter().enumerate().map(|(at, word)| instr(at, word)).collect()
    }

    #[test]
    fn instructions_are_same_moved_removed_or_added() {
        let (a, b) = (side(&["mov@8", "test", "ret"]), side(&["mov@16", "inc", "test", "ret"]));
        assert_eq!(align(&a, &b), [(Op::Moved, 0), (Op::Added, 1), (Op::Same, 2), (Op::Same, 3)]);
        assert_eq!(align(&b[1..2], &[]), [(Op::Removed, 0)]);
        assert_eq!(align(&a, &a).iter().filter(|(op, _)| *op != Op::Same).count(), 0);
    }

    #[test]
    fn context_is_around_what_differs_and_moved_is_no_difference() {
        let line = |op| Line { op, text: String::new(), source: String::new() };
        let mut lines = vec![line(Op::Same); 20];
        lines[1] = line(Op::Moved);
        assert!(shown(&lines, 3).is_empty());
        lines[10] = line(Op::Added);
        assert_eq!(shown(&lines, 2), [8, 9, 10, 11, 12]);
        assert_eq!(shown(&lines, usize::MAX).len(), 20);
    }
}
