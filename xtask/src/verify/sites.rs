//! The sites of a gate: its instructions, grouped by the place in the source that put them there.

use crate::ab::diff::Places;
use crate::ab::object::plain_name;
use crate::asm::annotate::Frame;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Where the counters live, as [`Frame::place`] says it.
const TELEMETRY: &str = "telemetry/";

/// One site.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// `file:line function`: where the heap calls into telemetry, or where the code itself stands.
    pub source: String,
    /// False for code of others that the compiler has only arranged in another way.
    pub own: bool,
    /// The functions of the program that it was compiled into.
    pub functions: BTreeSet<String>,
    /// How many instructions it has in all of them.
    pub instructions: usize,
    /// The instructions, copy by copy: the compiler puts an inlined site in many places.
    #[serde(skip)]
    pub copies: BTreeMap<Copy, Vec<u64>>,
}

/// One copy of a site: the function's symbol, and what it was inlined through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// The function's symbol.
    pub symbol: String,
    /// The calls between that function and the site.
    through: String,
}

/// Groups the instructions that only the arm with the gate has. With `counts_only`, a line that no
/// instruction of telemetry was inlined into is not the gate's own: the compiler gives the branch on
/// what telemetry says to the line that asks, so a line is the gate's as a whole or not at all.
pub fn group(
    own: &Places,
    counts_only: bool,
    frames: impl Fn(&str, u64) -> Vec<Frame>,
) -> Vec<Site> {
    let mut sites: BTreeMap<String, Site> = BTreeMap::new();
    for (symbol, offsets) in own {
        let function = plain_name(symbol);
        for offset in offsets {
            let frames = frames(symbol, *offset);
            let mine =
                !counts_only || frames.iter().any(|frame| frame.place.starts_with(TELEMETRY));
            let (source, through) =
                source(&frames).unwrap_or_else(|| (function.clone(), String::new()));
            let site = sites.entry(source.clone()).or_insert_with(|| Site {
                source,
                own: false,
                functions: BTreeSet::new(),
                instructions: 0,
                copies: BTreeMap::new(),
            });
            site.own |= mine;
            site.functions.insert(function.clone());
            site.instructions += 1;
            let copy = Copy { symbol: symbol.clone(), through };
            site.copies.entry(copy).or_default().push(*offset);
        }
    }
    sites.into_values().collect()
}

/// The place that stands for an instruction: the innermost of the allocator outside of telemetry,
/// else the innermost of the checkout. And what it is inlined through.
fn source(frames: &[Frame]) -> Option<(String, String)> {
    let allocator = |frame: &Frame| frame.ours && !frame.place.starts_with("benches/");
    let caller = |frame: &Frame| allocator(frame) && !frame.place.starts_with(TELEMETRY);
    let at = frames
        .iter()
        .position(caller)
        .or_else(|| frames.iter().position(allocator))
        .or_else(|| frames.iter().position(|frame| frame.ours))?;
    let through: Vec<String> = frames[at + 1..].iter().map(Frame::told).collect();
    Some((frames[at].told(), through.join(" < ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(place: &str, line: u32, function: &str) -> Frame {
        let ours = !place.starts_with("core/");
        Frame { place: place.to_owned(), line, function: function.to_owned(), ours }
    }

    /// A counter inlined into `pop`, the branch of the same line, another line of `pop`, a function of
    /// telemetry, and code of a scenario.
    fn frames(symbol: &str, offset: u64) -> Vec<Frame> {
        let pop = frame("hot.rs", 80, "pop");
        match (symbol, offset) {
            ("malloc", 0 | 4) => {
                vec![frame("core/cell.rs", 3, "set"), frame("telemetry/tally.rs", 9, "add"), pop]
            }
            ("malloc", 8) => vec![pop],
            ("malloc", _) => vec![frame("hot.rs", 82, "pop"), frame("api/raw.rs", 5, "malloc")],
            ("record", _) => vec![frame("telemetry/trace.rs", 30, "record")],
            ("run", _) => {
                vec![frame("telemetry/tally.rs", 9, "add"), pop, frame("benches/x.rs", 1, "run")]
            }
            _ => Vec::new(),
        }
    }

    fn places() -> Places {
        Places::from([
            ("malloc".to_owned(), vec![0, 4, 8, 12]),
            ("record".to_owned(), vec![0]),
            ("run".to_owned(), vec![12]),
            ("unknown".to_owned(), vec![0]),
        ])
    }

    #[test]
    fn a_counters_site_is_where_the_heap_counts() {
        let sites = group(&places(), true, frames);
        let told: Vec<(&str, bool, usize)> =
            sites.iter().map(|site| (site.source.as_str(), site.own, site.instructions)).collect();
        assert_eq!(
            told,
            [
                ("hot.rs:80 pop", true, 4),
                ("hot.rs:82 pop", false, 1),
                ("telemetry/trace.rs:30 record", true, 1),
                ("unknown", false, 1),
            ]
        );
        assert_eq!(sites[0].functions, BTreeSet::from(["malloc".to_owned(), "run".to_owned()]));
        // One copy in each function; the three instructions of one belong together.
        let copies: Vec<usize> = sites[0].copies.values().map(Vec::len).collect();
        assert_eq!(copies, [3, 1]);
    }

    #[test]
    fn all_of_a_layers_code_is_its_own() {
        assert!(group(&places(), false, frames).iter().all(|site| site.own));
    }
}
