//! The percentile bootstrap of a comparison: B. Efron, R. Tibshirani, "An Introduction to the
//! Bootstrap" (1993), chapter 13. For a handful of paired ratios a row, as a benchmark has them.

use super::bootstrap::Interval;
use super::robust::{median, sorted};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Resamples of one interval.
const RESAMPLES: usize = 2000;

/// The interval that errs with probability `alpha` (both sides together) around the geometric mean,
/// over the rows, of each row's median ratio; of a single row, around its median. Each row's ratios
/// are resampled on their own. The same ratios give the same limits. `None` without rows, for a row
/// of fewer than two ratios, or where one is not positive.
pub fn interval(rows: &[Vec<f64>], alpha: f64) -> Option<Interval> {
    let sound = |row: &Vec<f64>| row.len() > 1 && row.iter().all(|r| *r > 0.0 && r.is_finite());
    if rows.is_empty() || !rows.iter().all(sound) {
        return None;
    }
    let rng = &mut StdRng::seed_from_u64(90);
    let mut drawn = Vec::new();
    let replicates: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let logs = rows.iter().map(|row| {
                drawn.clear();
                drawn.extend((0..row.len()).map(|_| row[rng.random_range(0..row.len())]));
                median(&drawn).ln()
            });
            (logs.sum::<f64>() / rows.len() as f64).exp()
        })
        .collect();
    let replicates = sorted(&replicates);
    let at = |share: f64| replicates[((RESAMPLES - 1) as f64 * share).round() as usize];
    Some(Interval { low: at(alpha / 2.0), high: at(1.0 - alpha / 2.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_seven_lies_between_the_second_and_the_sixth() {
        // Of seven values drawn from seven, the median is at most the smallest with probability
        // 0.0099 and at most the second with 0.1010 (binomial): the 5 % limits are the second and
        // the sixth.
        let row = vec![1.3, 0.7, 1.0, 0.9, 1.1, 0.8, 1.2];
        assert_eq!(interval(&[row], 0.1), Some(Interval { low: 0.8, high: 1.2 }));
    }

    #[test]
    fn rows_that_err_apart_err_less_together() {
        let one = vec![1.3, 0.7, 1.0, 0.9, 1.1, 0.8, 1.2];
        let single = interval(std::slice::from_ref(&one), 0.1).unwrap();
        let many = interval(&vec![one; 16], 0.1).unwrap();
        let width = |interval: Interval| (interval.high / interval.low).ln();
        assert!(width(many) < width(single) / 3.0, "{many:?} {single:?}");
        assert!(many.holds(1.0));
    }

    #[test]
    fn what_has_no_interval_gets_none() {
        assert_eq!(interval(&[], 0.1), None);
        assert_eq!(interval(&[vec![1.0]], 0.1), None);
        assert_eq!(interval(&[vec![1.0, 0.0]], 0.1), None);
        let exact = interval(&[vec![2.0; 5]], 0.1).unwrap();
        assert!((exact.low - 2.0).abs() < 1e-12 && (exact.high - 2.0).abs() < 1e-12);
    }
}
