//! How far the repetitions of a row lie apart: in two heaps, or wide.

use serde::Serialize;

/// A ratio whose interval is wider than this (upper limit over lower) is marked.
pub const WIDE: f64 = 1.10;

/// Two heaps of values with nothing between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Modes {
    /// The middle of the lower values, and how many there are.
    pub low: (f64, usize),
    /// The middle of the upper values, and how many there are.
    pub high: (f64, usize),
}

/// The heaps, if at least two values lie in each and the gap between them is more than 8 % and
/// more than twice what either heap spans. Below five values there is no telling.
pub fn modes(values: &[f64]) -> Option<Modes> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.len() < 5 || sorted[0] <= 0.0 {
        return None;
    }
    let gap = |at: usize| (sorted[at] / sorted[at - 1]).ln();
    let cut = (2..=sorted.len() - 2).max_by(|one, other| gap(*one).total_cmp(&gap(*other)))?;
    let (low, high) = sorted.split_at(cut);
    let span = |heap: &[f64]| (heap[heap.len() - 1] / heap[0]).ln();
    let apart = gap(cut) > 1.08f64.ln() && gap(cut) > 2.0 * span(low).max(span(high));
    apart.then(|| Modes {
        low: (low[low.len() / 2], low.len()),
        high: (high[high.len() / 2], high.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_told_from_one() {
        let modes = modes(&[44.0, 61.0, 44.2, 61.5, 44.1, 61.2, 44.3]).unwrap();
        assert_eq!((modes.low.1, modes.high.1), (4, 3));
        assert_eq!(modes.high.0, 61.2);
    }

    #[test]
    fn one_heap_one_stray_and_few_values_are_not_two_heaps() {
        assert_eq!(modes(&[44.0, 44.5, 44.2, 45.0, 44.1, 44.9, 44.3]), None);
        assert_eq!(modes(&[44.0, 44.5, 44.2, 45.0, 44.1, 44.9, 90.0]), None);
        assert_eq!(modes(&[44.0, 46.0, 49.0, 53.0, 58.0, 64.0, 71.0]), None);
        assert_eq!(modes(&[44.0, 44.0, 80.0, 80.0]), None);
    }
}
