//! Why a verdict is what it is, in a sentence: from the samples' side, so that a verdict that is
//! judged again from its record says it too.

use super::arms::Layouts;
use super::judge::Verdict;
use super::outcome::{Arms, Timed};
use super::question::Question;
use super::trial::End;
use crate::shared::registry::Kind;

/// With more resident memory than this, per cent, a layer or a policy needs a GO to be adopted.
pub const MEMORY_LIMIT: f64 = 5.0;

/// The reason of a verdict that rests on the clock.
pub fn reason(
    question: &Question,
    arms: &Arms,
    verdict: Verdict,
    timed: &[Timed],
    end: End,
) -> String {
    let text = match verdict {
        Verdict::Go | Verdict::NoGo | Verdict::Neutral => question.explain(verdict),
        Verdict::Invalid => {
            let faults: Vec<String> = timed
                .iter()
                .flat_map(|timed| {
                    let faults = timed.judged.iter().flat_map(|judged| &judged.faults);
                    faults.map(|fault| format!("{}: {fault}", timed.scenario.name))
                })
                .collect();
            return format!("a control failed, so the figures say nothing: {}", faults.join("; "));
        }
        Verdict::Inconclusive => inconclusive(timed, end),
        Verdict::NotExercised => "what differs never ran".to_owned(),
    };
    let memory = memory(question, verdict, timed);
    let layouts = match arms.layouts {
        Layouts::Vary => "",
        Layouts::PeerFixed => " (single layout of the peer's library)",
        Layouts::Single => " (single layout: the linker cannot shuffle functions)",
    };
    let about_code = !matches!(question, Question::Peer { .. });
    let unproven = if about_code && timed.iter().all(|timed| timed.evidence.is_none()) {
        " (whether its code ran is not shown)"
    } else {
        ""
    };
    format!("{text}{memory}{layouts}{unproven}")
}

/// What the memory says beside the time. A layer or a policy that takes more than the limit is for
/// a GO alone to adopt; in a gate that is asked about for its removal, more memory is one more
/// reason to leave it out, and needs no rule.
fn memory(question: &Question, verdict: Verdict, timed: &[Timed]) -> String {
    let heavy = timed
        .iter()
        .filter(|timed| timed.more_memory() > MEMORY_LIMIT)
        .max_by(|a, b| a.more_memory().total_cmp(&b.more_memory()));
    let Some(heavy) = heavy else { return String::new() };
    let found =
        format!("; it takes {:.0} % more memory in {}", heavy.more_memory(), heavy.scenario.name);
    let rule = match (question.kind(), verdict) {
        (Some(Kind::Layer | Kind::Policy), Verdict::Go) => {
            format!(": above {MEMORY_LIMIT} % only a GO has it adopted, and this is one")
        }
        (Some(Kind::Layer | Kind::Policy), _) => {
            format!(": above {MEMORY_LIMIT} % only a GO could have it adopted, and this is none")
        }
        _ => String::new(),
    };
    found + &rule
}

fn inconclusive(timed: &[Timed], end: End) -> String {
    let why = match end {
        End::Interrupted => {
            "interrupted before a declared look could decide; the same command goes on from here"
        }
        End::Budget => {
            "the budget ended before the interval cleared the lines at 0.5 %; try --budget 10m"
        }
        End::Decided => "the interval still crosses a line at 0.5 % after the last declared look",
    };
    let dropped: usize = timed.iter().map(|timed| timed.dropped).sum();
    let all: usize = timed.iter().map(|timed| timed.blocks.len()).sum();
    let busy = if dropped * 3 > all {
        format!("; the machine is busy: {dropped} of {all} blocks were disturbed")
    } else {
        String::new()
    };
    format!("{why}{busy}")
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;

    /// The reason for a gate of `kind` that takes `more` per cent more memory.
    fn told(kind: Kind, verdict: Verdict, more: u64) -> String {
        let mut outcome = canned::outcome("a-gate", &[0.0]);
        let Question::Gates { gates, .. } = &mut outcome.question else { unreachable!() };
        gates[0].kind = kind;
        for timed in &mut outcome.timed {
            timed.blocks.iter_mut().for_each(|block| block.peak_kib = (1000, 1000 + more * 10));
            timed.summarise();
        }
        reason(&outcome.question, &outcome.arms, verdict, &outcome.timed, End::Decided)
    }

    #[test]
    fn a_heavy_layer_or_policy_is_for_a_go_alone_to_adopt() {
        for kind in [Kind::Layer, Kind::Policy] {
            let neutral = told(kind, Verdict::Neutral, 8);
            assert!(neutral.contains("8 % more memory in scenario-0"), "{neutral}");
            assert!(neutral.contains("only a GO could have it adopted"), "{neutral}");
            assert!(
                told(kind, Verdict::Go, 8).contains("only a GO has it adopted, and this is one")
            );
            let open = told(kind, Verdict::Inconclusive, 8);
            assert!(open.contains("only a GO could"), "{open}");
        }
    }

    #[test]
    fn memory_within_the_limit_is_not_mentioned() {
        assert!(!told(Kind::Layer, Verdict::Go, 5).contains("memory"));
        assert!(told(Kind::Layer, Verdict::Go, 6).contains("memory"));
    }

    #[test]
    fn what_is_asked_about_for_its_removal_has_its_memory_named_and_no_rule() {
        let told = told(Kind::Telemetry, Verdict::Neutral, 8);
        assert!(told.contains("8 % more memory") && !told.contains("adopted"), "{told}");
    }
}
