//! Holm's step-down correction: S. Holm, "A Simple Sequentially Rejective Multiple Test
//! Procedure", Scand. J. Statistics 6 (1979).

/// For each p-value, the level at which Holm's procedure tests it at family-wise level `alpha`, and
/// whether it passes. The smallest is held to `alpha / m`, the next to `alpha / (m - 1)`, and so
/// on; the first failure fails all larger ones too.
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<(f64, bool)> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut outcome = vec![(alpha, false); p_values.len()];
    let (mut level, mut passing) = (alpha, true);
    for (rank, index) in order.iter().enumerate() {
        if passing {
            level = alpha / (p_values.len() - rank) as f64;
            passing = p_values[*index] <= level;
        }
        outcome[*index] = (level, passing);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::holm;

    #[test]
    fn steps_down_and_stops_at_the_first_failure() {
        // Holm's own pattern: 0.01 <= 0.05/4, 0.015 <= 0.05/3, 0.03 > 0.05/2, so 0.04 fails too,
        // though 0.04 <= 0.05.
        let passed: Vec<bool> =
            holm(&[0.03, 0.01, 0.04, 0.015], 0.05).iter().map(|(_, pass)| *pass).collect();
        assert_eq!(passed, [false, true, false, true]);
    }

    #[test]
    fn passes_where_the_adjusted_p_values_of_statsmodels_do() {
        // statsmodels 0.15.0, multipletests(p, method="holm"): the least level at which each passes.
        let cases: [(&[f64], &[f64]); 3] = [
            (&[0.01, 0.02, 0.03, 0.04, 0.05], &[0.05, 0.08, 0.09, 0.09, 0.09]),
            (&[0.001, 0.008, 0.039, 0.041, 0.042], &[0.005, 0.032, 0.117, 0.117, 0.117]),
            (&[0.6, 0.0005, 0.2], &[0.6, 0.0015, 0.4]),
        ];
        for (p, adjusted) in cases {
            for level in [0.001, 0.01, 0.045, 0.06, 0.085, 0.1, 0.25, 0.5, 0.7] {
                let passed: Vec<bool> = holm(p, level).iter().map(|(_, pass)| *pass).collect();
                let expected: Vec<bool> = adjusted.iter().map(|value| *value <= level).collect();
                assert_eq!(passed, expected, "{p:?} at {level}");
            }
        }
    }

    #[test]
    fn one_test_needs_no_correction() {
        assert_eq!(holm(&[0.05], 0.05), [(0.05, true)]);
        assert!(holm(&[], 0.05).is_empty());
    }
}
