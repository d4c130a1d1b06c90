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
    fn one_test_needs_no_correction() {
        assert_eq!(holm(&[0.05], 0.05), [(0.05, true)]);
        assert!(holm(&[], 0.05).is_empty());
    }
}
