//! What the heap has learned: ratings, the decision log, the engine's counts.

use super::rows::Reading;
use super::table::missing;
use crate::base::sync::Ordering;
use crate::large::THRESHOLD;
use crate::large::elo::{self, Decision, KEPT, Stage, State, league};
use crate::policy::{config, engine};
use core::fmt::{self, Write};

/// A candidate threshold's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The threshold, in bytes.
    pub threshold: usize,
    /// Its Elo rating; 1500 at first.
    pub rating: i32,
    /// Matches won.
    pub won: u32,
    /// Matches drawn.
    pub drawn: u32,
    /// Matches lost.
    pub lost: u32,
}

/// What ELO knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratings {
    /// `HAKMEM_ELO`.
    pub state: State,
    /// The leader's threshold, in bytes.
    pub leader: usize,
    /// Rounds played in this process.
    pub rounds: u64,
    /// All candidates, by threshold.
    pub candidates: [Rating; league::COUNT],
}

/// Where the life cycle stands, and how it got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeCycle {
    /// The stage.
    pub stage: Stage,
    /// Decisions so far.
    pub decisions: u64,
    /// The last of them, the oldest first.
    kept: [Option<Decision>; KEPT],
}

impl LifeCycle {
    /// The decisions that the log still holds, the oldest first.
    pub fn log(&self) -> impl Iterator<Item = &Decision> {
        self.kept.iter().flatten()
    }
}

/// What the intelligence engine has seen and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Refills and overflows that were told.
    pub events: u64,
    /// Of these, the ones that found the queue full.
    pub dropped: u64,
    /// Of these, the ones that were taken in; the rest waits.
    pub taken: u64,
    /// Times that a class was tuned.
    pub tunings: u64,
}

/// What the heap has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// The threshold in force, in bytes.
    pub threshold: usize,
    /// Ratings (gate `elo`).
    pub elo: Reading<Ratings>,
    /// The life cycle (gate `evolution`).
    pub evolution: Reading<LifeCycle>,
    /// The intelligence engine (gate `intelligence-engine`).
    pub engine: Reading<Engine>,
}

/// What the heap has learned.
#[must_use]
pub fn learning() -> Learning {
    // Before the first allocation nothing has been read yet.
    config::load_environment();
    snapshot(elo::look(true), engine::look(true))
}

/// The same without waiting for a lock: `None` if it is taken.
pub(super) fn try_learning() -> Option<Learning> {
    let (look, engine) = (elo::look(false), engine::look(false));
    let all = (!elo::ON || look.is_some()) && (!engine::ON || engine.is_some());
    all.then(|| snapshot(look, engine))
}

fn snapshot(look: Option<elo::Look>, engine: Option<engine::Look>) -> Learning {
    let engine = engine.map(|engine::Look { events, dropped, taken, tunings }| Engine {
        events,
        dropped,
        taken,
        tunings,
    });
    let ratings = look.as_ref().map(|look| Ratings {
        state: elo::state(),
        leader: league::threshold(look.league.leader()),
        rounds: look.rounds,
        candidates: core::array::from_fn(|candidate| {
            let record = look.league.of(candidate);
            Rating {
                threshold: league::threshold(candidate),
                rating: record.points(),
                won: record.won,
                drawn: record.drawn,
                lost: record.lost,
            }
        }),
    });
    let life = look.as_ref().and_then(|look| {
        let log = look.log.as_ref()?;
        let mut kept = [None; KEPT];
        for (to, decision) in kept.iter_mut().zip(log.iter()) {
            *to = Some(*decision);
        }
        Some(LifeCycle { stage: look.stage, decisions: log.count(), kept })
    });
    Learning {
        threshold: THRESHOLD.load(Ordering::Relaxed),
        elo: ratings.map_or(Reading::NotCompiledIn("elo"), Reading::Value),
        evolution: life.map_or(Reading::NotCompiledIn("evolution"), Reading::Value),
        engine: engine.map_or(Reading::NotCompiledIn("intelligence-engine"), Reading::Value),
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Off => "off",
        State::Frozen => "frozen",
        State::Learn => "learn",
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Learn => "LEARN",
        Stage::Frozen => "FROZEN",
        Stage::Canary => "CANARY",
    }
}

impl Learning {
    /// Writes a table for people.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "hakmem {} learning", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  {:<18} {:>14}", "large_threshold", self.threshold)?;
        match &self.elo {
            Reading::NotCompiledIn(gate) => missing(out, "elo", gate)?,
            Reading::Value(elo) => {
                writeln!(out, "  {:<18} {:>14}", "elo", state_name(elo.state))?;
                writeln!(out, "  {:<18} {:>14}", "rounds", elo.rounds)?;
                writeln!(out, "    threshold   rating      won    drawn     lost")?;
                for row in &elo.candidates {
                    let mark = if row.threshold == elo.leader { "  leads" } else { "" };
                    writeln!(
                        out,
                        "    {:>9} {:>8} {:>8} {:>8} {:>8}{mark}",
                        row.threshold, row.rating, row.won, row.drawn, row.lost
                    )?;
                }
            }
        }
        match &self.evolution {
            Reading::NotCompiledIn(gate) => missing(out, "evolution", gate)?,
            Reading::Value(life) => {
                writeln!(out, "  {:<18} {:>14}", "evolution", stage_name(life.stage))?;
                writeln!(out, "  {:<18} {:>14}", "decisions", life.decisions)?;
                for decision in life.log() {
                    let Decision { round, step, from, to, figure } = *decision;
                    let step = step.name();
                    writeln!(out, "    round {round:<8} {step:<10} {from:>9} -> {to:<9} {figure}")?;
                }
            }
        }
        match &self.engine {
            Reading::NotCompiledIn(gate) => missing(out, "engine", gate),
            Reading::Value(Engine { events, dropped, taken, tunings }) => {
                writeln!(out, "  {:<18} {events:>14}", "engine_events")?;
                writeln!(out, "    {:<16} {dropped:>14}", "dropped")?;
                writeln!(out, "    {:<16} {taken:>14}", "taken")?;
                writeln!(out, "    {:<16} {tunings:>14}", "tunings")
            }
        }
    }

    /// Writes one JSON object; what is not compiled in is `null`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{{\"large_threshold\":{},\"elo\":", self.threshold)?;
        match &self.elo {
            Reading::NotCompiledIn(_) => out.write_str("null")?,
            Reading::Value(elo) => {
                let (state, leader, rounds) = (state_name(elo.state), elo.leader, elo.rounds);
                write!(
                    out,
                    "{{\"state\":\"{state}\",\"leader\":{leader},\"rounds\":{rounds},\"candidates\":["
                )?;
                for (number, row) in elo.candidates.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(
                        out,
                        "{comma}{{\"threshold\":{},\"rating\":{},\"won\":{},\"drawn\":{},\"lost\":{}}}",
                        row.threshold, row.rating, row.won, row.drawn, row.lost
                    )?;
                }
                out.write_str("]}")?;
            }
        }
        out.write_str(",\"evolution\":")?;
        match &self.evolution {
            Reading::NotCompiledIn(_) => out.write_str("null")?,
            Reading::Value(life) => {
                let (stage, decisions) = (stage_name(life.stage), life.decisions);
                write!(out, "{{\"stage\":\"{stage}\",\"decisions\":{decisions},\"log\":[")?;
                for (number, decision) in life.log().enumerate() {
                    let Decision { round, step, from, to, figure } = *decision;
                    let (comma, step) = (if number == 0 { "" } else { "," }, step.name());
                    write!(
                        out,
                        "{comma}{{\"round\":{round},\"step\":\"{step}\",\"from\":{from},\"to\":{to},\"figure\":{figure}}}"
                    )?;
                }
                out.write_str("]}")?;
            }
        }
        out.write_str(",\"engine\":")?;
        match &self.engine {
            Reading::NotCompiledIn(_) => out.write_str("null")?,
            Reading::Value(Engine { events, dropped, taken, tunings }) => write!(
                out,
                "{{\"events\":{events},\"dropped\":{dropped},\"taken\":{taken},\"tunings\":{tunings}}}"
            )?,
        }
        out.write_char('}')
    }
}
