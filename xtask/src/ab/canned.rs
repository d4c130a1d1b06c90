//! Measurements made up from a seed, for the tests of everything that comes after the measuring.

use super::arms::{self, Layouts};
use super::count::Counter;
use super::evidence::Evidence;
use super::judge::{Rules, Verdict};
use super::link::Moved;
use super::measure::Block;
use super::outcome::{Arms, Machine, Outcome, SCHEMA, Timed};
use super::question::Question;
use super::reason::reason;
use super::scenario::Fitted;
use super::trial::{self, End, Finished};
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::{Gate, Kind};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::collections::{BTreeMap, BTreeSet};

/// `count` blocks in which the second arm takes `effect` per cent longer, give or take the noise of
/// a layout.
pub fn blocks(seed: u64, count: usize, effect: f64) -> Vec<Block> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let block = |layout: usize| {
        let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() * 0.3 - 1.8;
        let mut time = |effect: f64| {
            let ns = 14e6 * ((effect + noise()) / 100.0).exp();
            [ns as u64, (ns * 1.001) as u64]
        };
        Block {
            layout,
            seed: layout as u32 * 7 + 1,
            control_seed: layout as u32 * 7 + 3_000_000_000,
            order: "owcsscwo".to_owned(),
            padding: layout % 4096,
            out: time(0.0),
            with: time(effect),
            control: time(0.0),
            slow: time(0.995),
            cpu: None,
            peak_kib: (2304, 2308),
            rss_kib: (2300, 2304),
            stolen_ms: 0,
            preempted: 17,
            off_processor: 0.0123,
            load: 0.52,
            dropped: None,
        }
    };
    (0..count).map(block).collect()
}

/// A scenario for each of `effects`, with so many layouts, not judged yet.
pub fn timed(layouts: usize, effects: &[f64]) -> Vec<Timed> {
    let scenario = |(at, effect): (usize, &f64)| {
        let fitted = Fitted {
            name: format!("scenario-{at}"),
            unit: "block".to_owned(),
            threaded: false,
            ops: 1_000_000,
            ns_per_op: 14.0,
            turns: 0,
        };
        let blocks = blocks(at as u64 + 1, layouts, *effect);
        Timed { blocks, ..Timed::new(fitted, None) }
    };
    effects.iter().enumerate().map(scenario).collect()
}

/// A whole outcome about a telemetry gate called `name`, by the real rules: with an effect for each
/// scenario, or of the same code where there are none.
pub fn outcome(name: &str, effects: &[f64]) -> Outcome {
    let gate = Gate {
        name: name.to_owned(),
        kind: Kind::Telemetry,
        path: "hot".to_owned(),
        phase: String::new(),
        counts: "every <free> & more".to_owned(),
        reader: String::new(),
        old_verdict: "NEUTRAL -0.46 %".to_owned(),
        implies: Vec::new(),
        more: BTreeMap::new(),
    };
    let question = Question::Gates {
        called: name.to_owned(),
        gates: vec![gate],
        needs: BTreeSet::new(),
        default_build: DefaultBuild::default(),
    };
    let differing = match effects {
        [] => BTreeMap::new(),
        _ => BTreeMap::from([("hakmem::hot::free<T | U>".to_owned(), (0, 3))]),
    };
    let arms = Arms {
        flags: arms::PROFILE.map(str::to_owned).to_vec(),
        features: BTreeSet::from([name.to_owned()]),
        functions: 1234,
        differing,
        left_out: 0,
        data: BTreeMap::new(),
        layouts: Layouts::Vary,
        moved: Moved { functions: 1200, elsewhere: 1190 },
        fixed_addresses: true,
    };
    let evidence = Evidence {
        counter: Counter::Callgrind,
        at_least: false,
        ops: 30_000,
        own: (0, 90_000),
        own_per_op: (0.0, 3.0),
        moved_per_op: (0.0, 0.5),
        functions: vec![("hakmem::hot::free<T | U>".to_owned(), 90_000)],
        instructions_per_op: Some((42.0, 45.0)),
    };
    let seed = 11;
    let finished = (!effects.is_empty()).then(|| {
        let recorded = timed(240, effects);
        trial::replay(seed, true, &recorded, End::Budget).expect("a record always ends")
    });
    let (verdict, mut timed, end) = match finished {
        Some(Finished { verdict, timed, end, .. }) => (verdict, timed, Some(end)),
        None => (Verdict::Neutral, Vec::new(), None),
    };
    timed.iter_mut().for_each(|timed| timed.evidence = Some(evidence.clone()));
    let reason = end.map_or("both arms are the same code".to_owned(), |end| {
        reason(&question, &arms, verdict, &timed, end)
    });
    Outcome {
        schema: SCHEMA,
        positive_means: question.positive_means(),
        question,
        verdict,
        reason,
        machine: Machine {
            processor: "A & B <Processor>".to_owned(),
            processors: 2,
            kernel: "6.1.0".to_owned(),
            compiler: "rustc 1.95.0".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            changed: false,
            rustflags: None,
            started: 1_795_000_000,
        },
        seed,
        arms,
        timed,
        passed_over: BTreeMap::from([("vm".to_owned(), "not exercised".to_owned())]),
        missing: vec!["hardware counters: <none> here".to_owned()],
        seconds: 61.5,
        measuring: 40.0,
        end,
        rules: Rules::today(),
    }
}
