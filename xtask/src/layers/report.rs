//! The stacks as tables: for the terminal, and as a document.

use super::stacks::{Stack, Stacks};
use crate::bench::paired::Timed;
use crate::shared::document::{Column, Part};
use comfy_table::{CellAlignment, Table};

/// What a kind of table is called.
pub struct Words {
    /// The title of every form.
    pub title: &'static str,
    /// The name of the recorded files.
    pub name: &'static str,
    about: &'static str,
    picture: &'static str,
    /// The heading of the first column in a document.
    column: &'static str,
    /// The heading of the second table.
    against: &'static str,
    /// What the first column holds, and what the list of layers is.
    layers: &'static str,
    order: &'static str,
}

const STACKED: Words = Words {
    title: "Layers on top of each other",
    name: "layers",
    about: "Made by `cargo xtask layers`: the library with the unified cache alone, then with more and \
        more of the layers around it, in the order in which a request asks them.",
    picture: "cost against layers",
    column: "layers, the last added",
    against: "Time against one layer, 90 % interval",
    layers: "on the path of a request, the unified cache included",
    order: "order of the layers",
};

const ALONE: Words = Words {
    title: "Each layer alone",
    name: "layers-alone",
    about: "Made by `cargo xtask layers --alone`: the library with the unified cache alone, then with each \
        of the layers around it, and no other but what that one needs.",
    picture: "time of each layer",
    column: "layer",
    against: "Time against the unified cache alone, 90 % interval",
    layers: "the one around the unified cache, with what it needs",
    order: "layers, as the registry has them",
};

/// The words for these stacks.
pub fn words(stacks: &Stacks) -> &'static Words {
    if stacks.alone { &ALONE } else { &STACKED }
}

/// What the old system's notes say of the same experiment.
const OLD: &str = "The old system with eleven layers on one path: 38 run-time checks, 1.98 misses of the \
    first-level cache an operation against the system heap's 0.17, 23.6 million operations a second \
    against its 92.6 million.";

/// The columns but the first, as a terminal has room for them.
const SHORT: [&str; 8] =
    ["malloc", "free", "fast", "text", "instr.", "misses", "mispred.", "Mop/s"];

/// The columns but the first, and a stack's cells.
const COLUMNS: [&str; 8] = [
    "malloc",
    "free",
    "fast paths",
    "text",
    "instructions",
    "L1 misses",
    "mispredicted",
    "M operations/s",
];

fn cells(stack: &Stack) -> Vec<String> {
    let mut cells = vec![
        stack.malloc.to_string(),
        stack.free.to_string(),
        format!("{} B", stack.fast_paths),
        format!("{:.1} KiB", stack.text as f64 / 1024.0),
    ];
    cells.extend(scenario_cells(&stack.timed));
    cells
}

fn scenario_cells(timed: &Timed) -> [String; 4] {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    [
        figure(timed.instructions, 1),
        figure(timed.misses, 2),
        figure(timed.mispredicted, 2),
        format!("{:.0}", timed.rate(0)),
    ]
}

/// Time against the unified cache alone, a scenario a column.
fn ratios(stacks: &Stacks, timed: &Timed) -> Vec<String> {
    let base = &stacks.stacks[0].timed;
    (0..stacks.scenarios.len()).map(|at| timed.ratio(base, at)).collect()
}

/// Every stack, and the system's heap last: the name and the cells.
fn rows(stacks: &Stacks) -> Vec<(String, Vec<String>)> {
    let names = names(stacks);
    let mut rows: Vec<_> = names.into_iter().zip(stacks.stacks.iter().map(cells)).collect();
    let none = std::iter::repeat_n("-".to_owned(), 4);
    rows.push(("system".to_owned(), none.chain(scenario_cells(&stacks.system)).collect()));
    rows
}

/// The number of layers, and the layer that came to those of the row above where it is one.
fn names(stacks: &Stacks) -> Vec<String> {
    if stacks.alone {
        let name = |stack: &Stack| stack.added.clone().unwrap_or_else(|| "none".to_owned());
        return stacks.stacks.iter().map(name).collect();
    }
    let mut above = 0;
    let name = |stack: &Stack| {
        let depth = stack.depth;
        let added = stack.added.as_ref().filter(|_| above + 1 == depth);
        let added = added.map(|layer| format!(" {layer}"));
        above = depth;
        format!("{depth}{}", added.unwrap_or_default())
    };
    stacks.stacks.iter().map(name).collect()
}

fn time_rows(stacks: &Stacks) -> Vec<(String, Vec<String>)> {
    let builds = stacks.stacks.iter().map(|stack| &stack.timed);
    let all = names(stacks).into_iter().zip(builds).chain([("system".to_owned(), &stacks.system)]);
    all.map(|(name, timed)| (name, ratios(stacks, timed))).collect()
}

/// Both tables, for the terminal.
pub fn table(stacks: &Stacks) -> String {
    let show = |headings: Vec<&str>, rows: Vec<(String, Vec<String>)>| -> Table {
        let mut table = crate::real::table();
        let width = headings.len();
        table.set_header(["layers"].into_iter().chain(headings));
        for (name, cells) in rows {
            table.add_row([name].into_iter().chain(cells));
        }
        for at in 1..=width {
            if let Some(column) = table.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    };
    let scenarios = stacks.scenarios.iter().map(String::as_str).collect();
    format!(
        "{}\n\n{}\n{}\n",
        show(SHORT.to_vec(), rows(stacks)),
        words(stacks).against,
        show(scenarios, time_rows(stacks))
    )
}

/// What the columns mean, and where it was measured: names and texts.
fn facts(stacks: &Stacks) -> Vec<(String, String)> {
    let scenario = stacks.scenarios.first().map_or("", String::as_str);
    let fact = |name: &str, text: String| (name.to_owned(), text);
    let words = words(stacks);
    let mut facts = vec![
        fact("layers", words.layers.to_owned()),
        fact("malloc, free", "instructions of one call of 64 bytes, single-stepped".to_owned()),
        fact("fast paths", "bytes of malloc, free and their C++ forms".to_owned()),
        fact("text", "bytes of code of the library".to_owned()),
        fact(
            "the rest",
            format!(
                "of an operation of {scenario}, the scenario's own included: instructions, misses of a \
                 first-level data cache and mispredicted branches as valgrind simulates them; median speed"
            ),
        ),
        fact(words.order, stacks.layers.join(", ")),
        fact("where", circumstances(stacks)),
    ];
    facts.extend(stacks.missing.iter().map(|missing| fact("missing", missing.clone())));
    facts
}

/// The same for the terminal.
pub fn legend(stacks: &Stacks) -> String {
    facts(stacks).iter().map(|(name, text)| format!("{name}: {text}\n")).collect()
}

fn circumstances(stacks: &Stacks) -> String {
    let machine = &stacks.machine;
    format!(
        "{}, {} processors, Linux {}, commit {}{}, median of {} paired repetitions",
        machine.processor,
        machine.processors,
        machine.kernel,
        machine.commit.get(..12).unwrap_or(&machine.commit),
        if machine.changed { " with changes on top" } else { "" },
        stacks.system.times.first().map_or(0, Vec::len)
    )
}

/// The document.
pub fn parts(stacks: &Stacks, svg: &str) -> Vec<Part> {
    let words = words(stacks);
    let columns = |headings: &[&str]| -> Vec<Column> {
        let headings = headings.iter().map(|heading| Column::figures(heading));
        [Column::words(words.column)].into_iter().chain(headings).collect()
    };
    let lines = |rows: Vec<(String, Vec<String>)>| -> Vec<Vec<String>> {
        rows.into_iter().map(|(name, cells)| [vec![name], cells].concat()).collect()
    };
    let scenarios: Vec<&str> = stacks.scenarios.iter().map(String::as_str).collect();
    let mut parts = vec![
        Part::Text(words.about.to_owned()),
        Part::Picture(svg.to_owned(), format!("{}.svg", words.name), words.picture.to_owned()),
        Part::Table(columns(&COLUMNS), lines(rows(stacks))),
        Part::Facts(facts(stacks)),
        Part::Heading(words.against.to_owned()),
        Part::Table(columns(&scenarios), lines(time_rows(stacks))),
    ];
    if !stacks.alone {
        parts.push(Part::Text(OLD.to_owned()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::stacks::tests::{alone, sample};
    use super::*;
    use crate::shared::document;

    #[test]
    fn every_stack_has_its_figures() {
        let stacks = sample();
        assert!(rows(&stacks).iter().all(|(_, cells)| cells.len() == COLUMNS.len()));
        let text = table(&stacks);
        for word in ["layers", "11", "system", "random-mixed-400", "108.4 KiB", "2.00 ["] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let markdown = document::markdown(words(&stacks).title, &parts(&stacks, "<svg></svg>"));
        assert!(markdown.contains("| 3 |") && markdown.contains("(layers.svg)"));
        assert!(markdown.contains("23.6 million"));
        let stacks = alone();
        let markdown = document::markdown(words(&stacks).title, &parts(&stacks, "<svg></svg>"));
        assert!(markdown.contains("| ring |") && markdown.contains("(layers-alone.svg)"));
        assert!(!markdown.contains("23.6 million"));
    }

    #[test]
    fn a_layer_is_named_where_it_is_the_one_that_came() {
        let mut stacks = sample();
        assert_eq!(names(&stacks), ["1", "3", "11"]);
        stacks.stacks[1].depth = 2;
        stacks.stacks[1].added = Some("layer-1".to_owned());
        assert_eq!(names(&stacks), ["1", "2 layer-1", "11"]);
        assert_eq!(names(&alone()), ["none", "ring", "slot"]);
    }

    #[test]
    fn what_was_not_counted_is_a_dash_and_a_line() {
        let mut stacks = sample();
        stacks.missing = vec!["instructions: no valgrind".into()];
        for stack in &mut stacks.stacks {
            (stack.timed.instructions, stack.timed.misses) = (None, None);
        }
        assert_eq!(cells(&stacks.stacks[0])[4..6], ["-", "-"]);
        assert!(legend(&stacks).contains("missing: instructions: no valgrind"));
    }
}
