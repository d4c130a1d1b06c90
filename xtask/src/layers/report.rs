//! The stacks as tables: for the terminal, and as a document.

use super::stacks::{Stack, Stacks, Timed};
use crate::shared::document::{Column, Part};
use comfy_table::{CellAlignment, Table};

/// The title of every form.
pub const TITLE: &str = "Layers on top of each other";

/// What the old system's notes say of the same experiment.
const OLD: &str = "The old system with eleven layers on one path: 38 run-time checks, 1.98 misses of the \
    first-level cache an operation against the system heap's 0.17, 23.6 million operations a second \
    against its 92.6 million.";

/// The columns but the first, and a stack's cells.
const COLUMNS: [&str; 7] =
    ["malloc", "free", "fast paths", "text", "instructions", "L1 misses", "M operations/s"];

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

fn scenario_cells(timed: &Timed) -> [String; 3] {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    [figure(timed.instructions, 1), figure(timed.misses, 2), format!("{:.0}", timed.rate(0))]
}

/// Time against the unified cache alone, a scenario a column.
fn ratios(stacks: &Stacks, timed: &Timed) -> Vec<String> {
    let base = &stacks.stacks[0].timed;
    let ratio = |at: usize| match timed.against(base, at) {
        (ratio, Some(limits)) => format!("{ratio:.2} [{:.2}, {:.2}]", limits.low, limits.high),
        (ratio, None) => format!("{ratio:.2}"),
    };
    (0..stacks.scenarios.len()).map(ratio).collect()
}

/// Every stack, and the system's heap last: the name and the cells.
fn rows(stacks: &Stacks) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<_> =
        stacks.stacks.iter().map(|stack| (name(stack.depth), cells(stack))).collect();
    let none = std::iter::repeat_n("-".to_owned(), 4);
    rows.push(("system".to_owned(), none.chain(scenario_cells(&stacks.system)).collect()));
    rows
}

fn name(depth: usize) -> String {
    if depth == 1 { "1 layer".to_owned() } else { format!("{depth} layers") }
}

fn time_rows(stacks: &Stacks) -> Vec<(String, Vec<String>)> {
    let builds = stacks.stacks.iter().map(|stack| (name(stack.depth), &stack.timed));
    let all = builds.chain([("system".to_owned(), &stacks.system)]);
    all.map(|(name, timed)| (name, ratios(stacks, timed))).collect()
}

/// Both tables, for the terminal.
pub fn table(stacks: &Stacks) -> String {
    let show = |headings: Vec<&str>, rows: Vec<(String, Vec<String>)>| -> Table {
        let mut table = crate::real::table();
        let width = headings.len();
        table.set_header([""].into_iter().chain(headings));
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
        "{}\n\nTime against one layer, 90 % interval\n{}\n",
        show(COLUMNS.to_vec(), rows(stacks)),
        show(scenarios, time_rows(stacks))
    )
}

/// What the columns mean, and where it was measured.
pub fn legend(stacks: &Stacks) -> String {
    let scenario = stacks.scenarios.first().map_or("", String::as_str);
    let mut text = format!(
        "malloc, free: instructions of one call of 64 bytes. fast paths: bytes of malloc, free and their \
         C++ forms. text: bytes of code of the library. The last three are of {scenario}: instructions \
         of an operation, the scenario's own included; misses of a simulated first-level data cache; \
         median speed.\n\
         order of the layers around the unified cache: {}\n{}\n",
        stacks.layers.join(", "),
        circumstances(stacks)
    );
    for missing in &stacks.missing {
        text += &format!("missing: {missing}\n");
    }
    text
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
    let columns = |headings: &[&str]| -> Vec<Column> {
        let headings = headings.iter().map(|heading| Column::figures(heading));
        [Column::words("")].into_iter().chain(headings).collect()
    };
    let lines = |rows: Vec<(String, Vec<String>)>| -> Vec<Vec<String>> {
        rows.into_iter().map(|(name, cells)| [vec![name], cells].concat()).collect()
    };
    let scenarios: Vec<&str> = stacks.scenarios.iter().map(String::as_str).collect();
    vec![
        Part::Text(
            "Made by `cargo xtask layers`: the library with the unified cache alone, then with more and \
             more of the layers around it, in the order in which a request asks them."
                .to_owned(),
        ),
        Part::Picture(svg.to_owned(), "layers.svg".to_owned(), "cost against layers".to_owned()),
        Part::Table(columns(&COLUMNS), lines(rows(stacks))),
        Part::Text(legend(stacks)),
        Part::Heading("Time against one layer, 90 % interval".to_owned()),
        Part::Table(columns(&scenarios), lines(time_rows(stacks))),
        Part::Text(OLD.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::stacks::tests::sample;
    use super::*;
    use crate::shared::document;

    #[test]
    fn every_stack_has_its_figures() {
        let stacks = sample();
        let text = table(&stacks);
        for word in ["11 layers", "1 layer", "system", "random-mixed-400", "108.4 KiB", "2.00 ["] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let markdown = document::markdown(TITLE, &parts(&stacks, "<svg></svg>"));
        assert!(markdown.contains("| 3 layers |") && markdown.contains("(layers.svg)"));
        assert!(markdown.contains("23.6 million"));
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
