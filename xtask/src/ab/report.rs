//! The experiment for a reader: the verdict first, then the figures, then what they rest on.

use super::arms::Layouts;
use super::judge::{Call, Estimate, Judged, Verdict};
use super::outcome::Outcome;
use super::question::Question;
use comfy_table::{CellAlignment, Table};
use console::style;
use std::fmt::Write;

/// The whole report.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, outcome);
    text
}

fn write(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let question = &outcome.question;
    writeln!(text, "\n{} ({})", style(question.name()).bold(), question.about())?;
    let name = style(outcome.verdict.name()).bold();
    let name = match outcome.verdict {
        Verdict::Go | Verdict::Neutral => name.green(),
        Verdict::NoGo | Verdict::Invalid => name.red(),
        Verdict::NotExercised | Verdict::Inconclusive => name.yellow(),
    };
    writeln!(text, "{name}: {}\n", outcome.reason)?;
    if !outcome.timed.is_empty() {
        writeln!(text, "{}", table(outcome))?;
        writeln!(
            text,
            "Effect in per cent (100 times the logarithm of the ratio of times): {}.",
            outcome.positive_means
        )?;
        let better = outcome
            .timed
            .iter()
            .filter_map(|timed| timed.judged.as_ref().map(|judged| judged.effect.estimate));
        let effects: Vec<f64> = better.collect();
        if effects.len() > 1 {
            let mean = effects.iter().sum::<f64>() / effects.len() as f64;
            writeln!(text, "Geometric mean over the scenarios: {mean:+.2} % (not decided on).")?;
        }
        controls(text, outcome)?;
    }
    evidence(text, outcome)?;
    if !question.old_verdict().is_empty() {
        writeln!(text, "The old system's figure: {}.", question.old_verdict())?;
    }
    for missing in &outcome.missing {
        writeln!(text, "{} {missing}", style("missing:").yellow())?;
    }
    Ok(())
}

fn table(outcome: &Outcome) -> Table {
    let (out, with) = outcome.question.arms();
    let mut table = Table::new();
    table.set_header([
        "scenario",
        "effect %",
        "interval",
        "layouts",
        &format!("ns/op {out}"),
        &with,
        "added/op",
        "memory",
        "call",
    ]);
    for timed in &outcome.timed {
        let judged = timed.judged.as_ref();
        let dash = || "-".to_owned();
        let added = timed.evidence.as_ref().map_or_else(dash, |evidence| {
            let least = if evidence.at_least { ">= " } else { "" };
            format!("{least}{}", per_op(evidence.own_per_op.1))
        });
        table.add_row([
            timed.scenario.name.clone(),
            judged.map_or_else(dash, |judged| format!("{:+.2}", judged.effect.estimate)),
            judged.map_or_else(dash, |judged| interval(&judged.effect, judged.alpha)),
            judged.map_or_else(
                || timed.kept().count().to_string(),
                |judged| judged.layouts.to_string(),
            ),
            known(timed.ns_per_op.0, format!("{:.2}", timed.ns_per_op.0)),
            known(timed.ns_per_op.1, format!("{:.2}", timed.ns_per_op.1)),
            added,
            known(timed.more_memory(), format!("{:+.1} %", timed.more_memory())),
            judged.map_or_else(dash, |judged| call(judged).to_owned()),
        ]);
    }
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The text of a figure, or a dash where there was nothing to make it from.
pub fn known(figure: f64, text: String) -> String {
    if figure.is_finite() { text } else { "-".to_owned() }
}

/// The call on a scenario in a word.
pub fn call(judged: &Judged) -> &'static str {
    match judged.call {
        Some(Call::Go) => "GO",
        Some(Call::NoGo) => "NO-GO",
        Some(Call::Neutral) => "NEUTRAL",
        None => "open",
    }
}

/// An estimate's interval with its level.
pub fn interval(estimate: &Estimate, alpha: f64) -> String {
    format!("{} {:.1}%", limits(estimate), (1.0 - alpha) * 100.0)
}

/// An estimate's interval.
pub fn limits(estimate: &Estimate) -> String {
    format!("[{:+.2}, {:+.2}]", estimate.interval.low, estimate.interval.high)
}

/// A count per operation: short where it is small, and never a zero that is none.
pub fn per_op(count: f64) -> String {
    match count {
        0.0 => "0".to_owned(),
        count if count < 0.001 => format!("{count:.1e}"),
        count if count < 10.0 => {
            format!("{count:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        count => format!("{count:.0}"),
    }
}

/// A name cut to `most` characters: generic ones fill screens.
pub fn shortened(name: &str, most: usize) -> String {
    match name.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

fn controls(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    for timed in &outcome.timed {
        let Some(judged) = &timed.judged else { continue };
        if let Some(cpu) = timed.cpu_effect(outcome.question.removal()) {
            writeln!(
                text,
                "{} has several threads: judged by wall time; by processor time of all threads the effect is {cpu:+.2} %.",
                timed.scenario.name
            )?;
        }
        writeln!(
            text,
            "Controls in {}: the same code twice {:+.2} {}, 1 % more work {:+.2} {}{}{}.",
            timed.scenario.name,
            judged.control.estimate,
            limits(&judged.control),
            judged.slow.estimate,
            limits(&judged.slow),
            if judged.inflation > 1.0 {
                format!("; interval widened {:.2} times", judged.inflation)
            } else {
                String::new()
            },
            match timed.dropped {
                0 => String::new(),
                count =>
                    format!("; {count} of {} blocks disturbed and dropped", timed.blocks.len()),
            }
        )?;
    }
    Ok(())
}

fn evidence(text: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let arms = &outcome.arms;
    let features: Vec<&str> = arms.features.iter().map(String::as_str).collect();
    match outcome.question {
        Question::Gates { .. } => writeln!(
            text,
            "The arms differ in {} and in nothing else; {} functions compared before linking.",
            features.join(", "),
            arms.functions
        )?,
        Question::Revisions { .. } => {
            writeln!(text, "{} functions compared before linking.", arms.functions)?;
        }
        Question::Peer { .. } => {}
    }
    if !arms.differing.is_empty() {
        let (out, with) =
            arms.differing.values().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        writeln!(
            text,
            "{} functions differ: {out} instructions are in the arm without alone, {with} in the arm with it{}.",
            arms.differing.len() + arms.left_out,
            if arms.left_out > 0 { " (of the functions listed in the JSON)" } else { "" }
        )?;
    }
    if !arms.data.is_empty() {
        let data: Vec<String> = arms
            .data
            .iter()
            .take(4)
            .map(|(name, (out, with))| format!("{name} ({out}, {with} bytes)"))
            .collect();
        writeln!(
            text,
            "Data that differ (out, in): {}{}.",
            data.join(", "),
            if arms.data.len() > 4 { ", ..." } else { "" }
        )?;
    }
    for timed in &outcome.timed {
        let Some(evidence) = &timed.evidence else { continue };
        let exact = match evidence.instructions_per_op {
            Some((out, with)) => {
                format!("; in all {out:.2} and {with:.2} instructions per {}", timed.scenario.unit)
            }
            None => String::new(),
        };
        writeln!(
            text,
            "Executed in {} ({}): {} own instructions per {} in the arm without, {} in the arm with it, {} merely displaced{exact}.",
            timed.scenario.name,
            evidence.counter.name(),
            per_op(evidence.own_per_op.0),
            timed.scenario.unit,
            per_op(evidence.own_per_op.1),
            per_op(evidence.moved_per_op.1),
        )?;
        let all: u64 = evidence.functions.iter().map(|(_, executed)| executed).sum();
        for (name, executed) in evidence.functions.iter().take(3) {
            let share = *executed as f64 * 100.0 / all.max(1) as f64;
            if share < 1.0 {
                break;
            }
            writeln!(text, "  {share:.0} % of that in {}", shortened(name, 80))?;
        }
    }
    if !outcome.passed_over.is_empty() {
        let list: Vec<String> =
            outcome.passed_over.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        writeln!(text, "Not timed: {}.", list.join(", "))?;
    }
    let moved = format!(
        "two seeds place {} of {} functions differently",
        arms.moved.elsewhere, arms.moved.functions
    );
    let layouts = match arms.layouts {
        Layouts::Vary => format!("re-linked for each layout; {moved}"),
        Layouts::PeerFixed => {
            format!(
                "program and hakmem re-linked for each block, {moved}; ONE LAYOUT of the peer's library"
            )
        }
        Layouts::Single => "ONE LAYOUT ONLY: this linker cannot shuffle functions".to_owned(),
    };
    writeln!(text, "Layouts: {layouts}. Seed {}; {:.0} s.", outcome.seed, outcome.seconds)?;
    let machine = &outcome.machine;
    let commit: String = machine.commit.chars().take(12).collect();
    let changed = if machine.changed { " with local changes" } else { "" };
    writeln!(text, "{}, commit {commit}{changed}.", machine.name())
}

#[cfg(test)]
mod tests {
    use super::per_op;

    #[test]
    fn counts_per_operation_are_short_and_never_a_false_zero() {
        assert_eq!(per_op(0.0), "0");
        assert_eq!(per_op(1.0), "1");
        assert_eq!(per_op(0.25), "0.25");
        assert_eq!(per_op(0.00004), "4.0e-5");
        assert_eq!(per_op(123.4), "123");
    }
}
