//! Means that one bad sample cannot move.

/// The share cut off at each end of a trimmed mean.
pub const TRIM: f64 = 0.2;

/// How many of `len` sorted values a trimmed mean drops at each end.
pub fn cut(len: usize) -> usize {
    (len as f64 * TRIM) as usize
}

/// The 20 % trimmed mean of `sorted` values (the mean of the middle three fifths); NaN if empty.
pub fn trimmed_mean(sorted: &[f64]) -> f64 {
    let cut = cut(sorted.len());
    let middle = &sorted[cut..sorted.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// The trimmed mean of the multiset that holds `sorted[i]` `counts[i]` times, `total` values in
/// all: what a bootstrap resample needs, without sorting it.
pub fn trimmed_mean_counted(sorted: &[f64], counts: &[u32], total: usize) -> f64 {
    let (first, last) = (cut(total), total - cut(total));
    let (mut seen, mut sum) = (0usize, 0.0);
    for (value, count) in sorted.iter().zip(counts) {
        let next = seen + *count as usize;
        let kept = next.min(last).saturating_sub(seen.max(first));
        sum += value * kept as f64;
        seen = next;
        if seen >= last {
            break;
        }
    }
    sum / (last - first) as f64
}

/// The median of values in any order; NaN if there are none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// The values in ascending order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
/// Figures that other implementations gave.
pub mod golden {
    /// Forty skewed values: 34 drawn from a normal and 6 from an exponential distribution.
    pub const FORTY: [f64; 40] = [
        0.401, 0.639, 0.181, -0.312, 0.036, -0.393, 0.448, 1.472, 0.006, -0.096, 0.792, 0.686,
        0.484, -0.344, 0.377, 0.956, -0.675, 0.034, -1.121, -0.632, -1.073, 0.212, -0.614, 0.617,
        0.525, 0.25, -1.613, -0.031, 0.361, 0.491, -0.824, 0.018, -0.383, -0.247, 1.587, 3.491,
        0.021, 2.26, 0.626, 0.889,
    ];
}

#[cfg(test)]
mod tests {
    use super::golden::FORTY;
    use super::*;

    #[test]
    fn trimmed_means_are_scipys() {
        // scipy.stats.trim_mean(x[:n], 0.2), SciPy 1.17.1.
        for (len, expected) in [
            (1, 0.401),
            (4, 0.22725),
            (5, 0.206),
            (9, 0.19985714285714287),
            (10, 0.16266666666666665),
            (37, 0.11547826086956521),
            (40, 0.17975),
        ] {
            let got = trimmed_mean(&sorted(&FORTY[..len]));
            assert!((got - expected).abs() < 1e-12, "{len} values: {got}, expected {expected}");
        }
    }

    #[test]
    fn counted_equals_spelled_out() {
        let values = sorted(&FORTY[..12]);
        let counts = [0, 3, 1, 0, 0, 2, 4, 1, 0, 1, 0, 2];
        let spelled: Vec<f64> = values
            .iter()
            .zip(counts)
            .flat_map(|(value, count)| std::iter::repeat_n(*value, count as usize))
            .collect();
        let got = trimmed_mean_counted(&values, &counts, spelled.len());
        assert!((got - trimmed_mean(&spelled)).abs() < 1e-12);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
