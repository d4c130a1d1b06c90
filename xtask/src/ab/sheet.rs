//! A verdict as a short report: what `docs/results/<name>.md` and the page hold.

use super::arms::Layouts;
use super::judge::{LOOKS, Verdict};
use super::outcome::{Outcome, Timed};
use super::question::Question;
use super::report::{call, interval, known, limits, per_op, shortened};
use super::trial::End;
use crate::shared::document::{Column, Part, Tone};
use crate::shared::page;

/// So many functions are listed; the JSON has the others.
const FUNCTIONS: usize = 10;

/// So many functions of a scenario are shown running.
const BUSIEST: usize = 4;

/// The report's title.
pub fn title(outcome: &Outcome) -> String {
    format!("Verdict: {}", outcome.question.name())
}

/// The whole page.
pub fn page(outcome: &Outcome) -> anyhow::Result<String> {
    let title = title(outcome);
    let parts = verdict(outcome, super::plot::verdict(outcome)?);
    Ok(page::page(&title, &crate::shared::document::html(&title, &parts)))
}

/// How a verdict is to be taken.
pub fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Go | Verdict::Neutral => Tone::Good,
        Verdict::NoGo | Verdict::Invalid => Tone::Bad,
        Verdict::NotExercised | Verdict::Inconclusive => Tone::Open,
    }
}

/// The report, with `figure` where there is one.
pub fn verdict(outcome: &Outcome, figure: Option<String>) -> Vec<Part> {
    let question = &outcome.question;
    let name = outcome.verdict.name().to_owned();
    let mut parts = vec![
        Part::Verdict(tone(outcome.verdict), name, outcome.reason.clone()),
        Part::Text(format!("{}.", question.about().trim_end_matches('.'))),
    ];
    if let Some(svg) = figure {
        let file = format!("{}.svg", question.slug());
        let about = format!("Effect and controls of {}, layout by layout", question.name());
        parts.push(Part::Picture(svg, file, about));
    }
    if !outcome.timed.is_empty() {
        measured(&mut parts, outcome);
        controls(&mut parts, outcome);
    }
    evidence(&mut parts, outcome);
    if !outcome.missing.is_empty() {
        parts.push(Part::Heading("What is missing".to_owned()));
        let numbered = outcome.missing.iter().enumerate();
        parts.push(Part::Facts(
            numbered.map(|(at, missing)| (format!("{}", at + 1), missing.clone())).collect(),
        ));
    }
    parts.push(Part::Heading("Circumstances".to_owned()));
    parts.push(Part::Facts(circumstances(outcome)));
    parts.push(Part::Heading("Again".to_owned()));
    parts.push(Part::Text(
        "The same seed gives the same layouts, orders and paddings; the recorded samples are judged \
         again without running."
            .to_owned(),
    ));
    parts.push(Part::Commands(again(outcome)));
    parts
}

fn measured(parts: &mut Vec<Part>, outcome: &Outcome) {
    let (out, with) = outcome.question.arms();
    let columns = vec![
        Column::words("scenario"),
        Column::figures("effect %"),
        Column::figures("interval"),
        Column::figures("layouts"),
        Column::figures(&format!("ns/op {out}")),
        Column::figures(&format!("ns/op {with}")),
        Column::figures("peak KiB"),
        Column::figures("final KiB"),
        Column::figures("memory"),
        Column::words("call"),
    ];
    let pair = |(out, with): (f64, f64)| known(out + with, format!("{out:.0}, {with:.0}"));
    let row = |timed: &Timed| {
        let judged = timed.judged.as_ref();
        let dash = || "-".to_owned();
        vec![
            timed.scenario.name.clone(),
            judged.map_or_else(dash, |judged| format!("{:+.2}", judged.effect.estimate)),
            judged.map_or_else(dash, |judged| interval(&judged.effect, judged.alpha)),
            timed.kept().count().to_string(),
            known(timed.ns_per_op.0, format!("{:.2}", timed.ns_per_op.0)),
            known(timed.ns_per_op.1, format!("{:.2}", timed.ns_per_op.1)),
            pair(timed.peak_kib),
            pair(timed.final_kib),
            known(timed.more_memory(), format!("{:+.1} %", timed.more_memory())),
            judged.map_or_else(dash, |judged| call(judged).to_owned()),
        ]
    };
    parts.push(Part::Heading("Measured".to_owned()));
    parts.push(Part::Table(columns, outcome.timed.iter().map(row).collect()));
    let mut text = format!(
        "Effect: 100 times the logarithm of the ratio of times, the 20 % trimmed mean over layouts; {}. \
         The interval is widened as the controls ask, at the level that the call was made at; the \
         memory is that of both arms, and the greater of the differences.",
        outcome.positive_means
    );
    let effects: Vec<f64> = outcome
        .timed
        .iter()
        .filter_map(|timed| timed.judged.as_ref().map(|judged| judged.effect.estimate))
        .collect();
    if effects.len() > 1 {
        let mean = effects.iter().sum::<f64>() / effects.len() as f64;
        text += &format!(" Geometric mean over the scenarios: {mean:+.2} % (not decided on).");
    }
    parts.push(Part::Text(text));
}

fn controls(parts: &mut Vec<Part>, outcome: &Outcome) {
    let columns = vec![
        Column::words("scenario"),
        Column::figures("same code twice %"),
        Column::figures("90 %"),
        Column::figures("1 % more work %"),
        Column::figures("90 %"),
        Column::figures("interval widened"),
        Column::figures("disturbed"),
    ];
    let rows = outcome.timed.iter().filter_map(|timed| {
        let judged = timed.judged.as_ref()?;
        Some(vec![
            timed.scenario.name.clone(),
            format!("{:+.2}", judged.control.estimate),
            limits(&judged.control),
            format!("{:+.2}", judged.slow.estimate),
            limits(&judged.slow),
            format!("{:.2} times", judged.inflation),
            format!("{} of {}", timed.dropped, timed.blocks.len()),
        ])
    });
    parts.push(Part::Heading("Controls".to_owned()));
    parts.push(Part::Text(
        "Both ride in the same blocks: the first arm linked with another seed must come out near 0, and \
         doing 1 % more operations near +1. Disturbed blocks were dropped whole."
            .to_owned(),
    ));
    parts.push(Part::Table(columns, rows.collect()));
    let faults = outcome.timed.iter().filter_map(|timed| {
        let faults = timed.judged.as_ref().map(|judged| &judged.faults)?;
        (!faults.is_empty()).then(|| (timed.scenario.name.clone(), faults.join("; ")))
    });
    let faults: Vec<_> = faults.collect();
    if !faults.is_empty() {
        parts.push(Part::Facts(faults));
    }
}

fn evidence(parts: &mut Vec<Part>, outcome: &Outcome) {
    let arms = &outcome.arms;
    parts.push(Part::Heading("Does the code run?".to_owned()));
    let features: Vec<String> = arms.features.iter().map(|name| format!("`{name}`")).collect();
    let own = arms.differing.values().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    let compared = match (&outcome.question, arms.differing.len() + arms.left_out) {
        (Question::Peer { .. }, _) => {
            "Two programs, not two builds of one: no code is compared.".to_owned()
        }
        (question, differ) => {
            let one = match question {
                Question::Gates { .. } => {
                    format!("The arms differ in {} and in nothing else. ", features.join(", "))
                }
                _ => String::new(),
            };
            let listed = if arms.left_out > 0 { " in those listed" } else { "" };
            format!(
                "{one}Of {} functions compared before linking, {differ} differ: {} instructions stand in \
                 the first arm alone, {} in the second{listed}.",
                arms.functions, own.0, own.1
            )
        }
    };
    parts.push(Part::Text(compared));
    executed(parts, outcome);
    if !outcome.passed_over.is_empty() {
        let list: Vec<String> =
            outcome.passed_over.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        parts.push(Part::Text(format!("Not timed: {}.", list.join(", "))));
    }
    differing(parts, outcome);
}

/// The functions and data that differ, whether they ran or not.
fn differing(parts: &mut Vec<Part>, outcome: &Outcome) {
    let arms = &outcome.arms;
    if !arms.differing.is_empty() {
        let mut list: Vec<_> = arms.differing.iter().collect();
        list.sort_by_key(|(name, (out, with))| (std::cmp::Reverse(out + with), name.as_str()));
        let row = |(name, (out, with)): &(&String, &(usize, usize))| {
            vec![format!("`{}`", code(name)), out.to_string(), with.to_string()]
        };
        let columns = vec![
            Column::words("function that differs most, run or not"),
            Column::figures("own instructions, first arm"),
            Column::figures("second arm"),
        ];
        parts.push(Part::Table(columns, list.iter().take(FUNCTIONS).map(row).collect()));
        if list.len() > FUNCTIONS {
            parts.push(Part::Text(format!(
                "And {} more; the JSON lists them.",
                list.len() - FUNCTIONS
            )));
        }
    }
    if !arms.data.is_empty() {
        let data = arms.data.iter().take(FUNCTIONS).map(|(name, (out, with))| {
            (
                format!("`{}`", code(name)),
                format!("{out} bytes in the first arm, {with} in the second"),
            )
        });
        parts.push(Part::Text("Data that differ:".to_owned()));
        parts.push(Part::Facts(data.collect()));
    }
}

fn executed(parts: &mut Vec<Part>, outcome: &Outcome) {
    let columns = vec![
        Column::words("scenario"),
        Column::figures("own, first arm"),
        Column::figures("own, second arm"),
        Column::figures("displaced"),
        Column::figures("all instructions"),
        Column::words("counted by"),
    ];
    let rows = outcome.timed.iter().filter_map(|timed| {
        let evidence = timed.evidence.as_ref()?;
        let least = if evidence.at_least { ">= " } else { "" };
        let all = evidence
            .instructions_per_op
            .map_or_else(|| "-".to_owned(), |(out, with)| format!("{out:.2}, {with:.2}"));
        Some(vec![
            timed.scenario.name.clone(),
            format!("{least}{}", per_op(evidence.own_per_op.0)),
            format!("{least}{}", per_op(evidence.own_per_op.1)),
            format!("{least}{}", per_op(evidence.moved_per_op.1)),
            all,
            evidence.counter.name().to_owned(),
        ])
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    parts.push(Part::Text(
        "Executed per operation: each arm's own instructions, those that differ in a displacement only, \
         and all of both arms."
            .to_owned(),
    ));
    parts.push(Part::Table(columns, rows));
    let columns = vec![
        Column::words("scenario"),
        Column::words("function whose own instructions ran"),
        Column::figures("hits/op"),
        Column::figures("share"),
    ];
    let busiest = outcome.timed.iter().flat_map(|timed| {
        let evidence = timed.evidence.as_ref();
        let functions = evidence.map_or(&[][..], |evidence| &evidence.functions);
        let ops = evidence.map_or(1, |evidence| evidence.ops).max(1) as f64;
        let all = functions.iter().map(|(_, hits)| hits).sum::<u64>().max(1) as f64;
        functions.iter().take(BUSIEST).filter(move |(_, hits)| *hits as f64 > all / 100.0).map(
            // The timed part and the warm-up before it, a tenth.
            move |(name, hits)| {
                vec![
                    timed.scenario.name.clone(),
                    format!("`{}`", code(name)),
                    per_op(*hits as f64 / (ops * 1.1)),
                    format!("{:.0} %", *hits as f64 * 100.0 / all),
                ]
            },
        )
    });
    parts.push(Part::Table(columns, busiest.collect()));
}

/// A name that can stand between backticks.
fn code(name: &str) -> String {
    shortened(&name.replace('`', "'"), 90)
}

fn circumstances(outcome: &Outcome) -> Vec<(String, String)> {
    let machine = &outcome.machine;
    let arms = &outcome.arms;
    let moved = format!(
        "two seeds place {} of {} functions differently",
        arms.moved.elsewhere, arms.moved.functions
    );
    let layouts = match arms.layouts {
        Layouts::Vary => format!("re-linked for each; {moved}"),
        Layouts::PeerFixed => {
            format!(
                "program and hakmem re-linked for each, {moved}; one layout of the peer's library"
            )
        }
        Layouts::Single => "one only: this linker cannot shuffle functions".to_owned(),
    };
    let looks: Vec<String> = outcome.rules.looks.iter().map(|(at, _)| at.to_string()).collect();
    let ended = match outcome.end {
        None => "nothing to time".to_owned(),
        Some(End::Decided) => format!("a declared look (at {} layouts)", looks.join(", ")),
        Some(End::Budget) => "the budget".to_owned(),
        Some(End::Interrupted) => "Ctrl-C".to_owned(),
    };
    let changed = if machine.changed { ", with local changes" } else { "" };
    let mut flags: Vec<String> = arms.flags.iter().map(|flag| format!("`{flag}`")).collect();
    flags.extend(machine.rustflags.iter().map(|flags| format!("RUSTFLAGS `{flags}`")));
    let mut facts = vec![
        ("date".to_owned(), outcome.date()),
        ("commit".to_owned(), format!("`{}`{changed}", machine.commit)),
        ("machine".to_owned(), machine.name()),
        ("compiler".to_owned(), machine.compiler.clone()),
        ("flags".to_owned(), format!("release profile, {}", flags.join(", "))),
        ("layouts".to_owned(), layouts),
        ("seed".to_owned(), outcome.seed.to_string()),
        ("ended by".to_owned(), format!("{ended}, after {:.0} s", outcome.seconds)),
        (
            "addresses".to_owned(),
            if arms.fixed_addresses { "not randomised" } else { "randomised" }.to_owned(),
        ),
    ];
    if !outcome.question.old_verdict().is_empty() {
        facts.push((
            "the old system's figure".to_owned(),
            outcome.question.old_verdict().to_owned(),
        ));
    }
    facts
}

/// The commands that give the same again.
fn again(outcome: &Outcome) -> Vec<String> {
    let mut measure =
        format!("cargo xtask ab {} --seed {}", asked(&outcome.question), outcome.seed);
    for timed in &outcome.timed {
        measure += &format!(" --scenario {}", timed.scenario.name);
    }
    let most = LOOKS[LOOKS.len() - 1].0;
    if outcome.timed.iter().any(|timed| timed.kept().count() >= most) {
        measure += " --budget 10m";
    }
    let rejudge = format!("cargo xtask ab --rejudge docs/results/{}.json", outcome.question.slug());
    vec![measure, rejudge]
}

/// The arguments that ask a question.
fn asked(question: &Question) -> String {
    match question {
        Question::Gates { gates, .. } => match &gates[..] {
            [gate] => gate.name.clone(),
            _ => {
                let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
                format!("--features {}", names.join(","))
            }
        },
        Question::Revisions { from, to } => format!("{}..{}", from.commit, to.commit),
        Question::Peer { peer, .. } => format!("--vs {peer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;
    use crate::shared::document;

    #[test]
    fn a_verdict_reads_as_markdown() {
        let outcome = canned::outcome("tiny-free-calls", &[2.0, 0.0]);
        let text = document::markdown(&title(&outcome), &verdict(&outcome, Some("<svg/>".into())));
        assert!(
            text.starts_with("# Verdict: tiny-free-calls\n\n**GO**: compiling it out"),
            "{text}"
        );
        assert!(text.contains("every &lt;free> &amp; more"), "{text}");
        assert!(text.contains("| `hakmem::hot::free<T \\| U>` | 0 | 3 |"), "{text}");
        assert!(text.contains("(tiny-free-calls.svg)"), "{text}");
        assert!(text.contains("cargo xtask ab tiny-free-calls --seed 11 --scenario scenario-0"));
        assert!(text.contains("--rejudge docs/results/tiny-free-calls.json"));
        // Every table row has as many cells as its heading.
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(next) =
                lines.peek().filter(|next| next.starts_with('|') && line.starts_with('|'))
            {
                assert_eq!(cells(line), cells(next), "{line}\n{next}");
            }
        }
    }

    #[test]
    fn a_verdict_reads_as_a_page() {
        let outcome = canned::outcome("tiny-free-calls", &[2.0, 0.0]);
        let page = page(&outcome).unwrap();
        assert!(page.contains("<svg") && page.contains("<b>GO</b>"));
        assert!(page.contains("A &amp; B &lt;Processor&gt;") && !page.contains("<Processor>"));
        assert!(page.contains("<code>hakmem::hot::free&lt;T | U&gt;</code>"));
        assert!(page.contains("hardware counters: &lt;none&gt; here"));
    }

    #[test]
    fn without_samples_there_are_no_figures_and_no_faults() {
        let outcome = canned::outcome("tiny-free-calls", &[]);
        let text = document::markdown(&title(&outcome), &verdict(&outcome, None));
        assert!(text.contains("**NEUTRAL**: both arms are the same code"), "{text}");
        assert!(!text.contains("## Measured") && !text.contains("NaN") && !text.contains("!["));
    }
}
