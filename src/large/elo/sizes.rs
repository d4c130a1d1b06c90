//! How the sizes of large requests are distributed, by powers of two.

/// Bins: up to 256 KiB, up to 512 KiB, ..., above 256 MiB.
pub(crate) const BINS: usize = 12;
/// The power of two that the first bin ends at.
const FIRST: u32 = 18;

/// Counts of requests by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes([u32; BINS]);

/// The bin of a size.
pub(crate) fn bin(size: usize) -> usize {
    let power = usize::BITS - size.saturating_sub(1).leading_zeros();
    (power.saturating_sub(FIRST) as usize).min(BINS - 1)
}

impl Sizes {
    pub(crate) const fn new() -> Self {
        Sizes([0; BINS])
    }

    /// From counts by bin.
    pub(crate) fn of(counts: [u32; BINS]) -> Self {
        Sizes(counts)
    }

    /// Counts one request.
    #[cfg(test)]
    pub(crate) fn count(&mut self, size: usize) {
        self.0[bin(size)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Sizes) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            *to = to.saturating_add(*from);
        }
    }

    /// Lets the past count half.
    pub(crate) fn halve(&mut self) {
        self.0.iter_mut().for_each(|count| *count /= 2);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|&count| u64::from(count)).sum()
    }

    /// Whether a size lies above one of two thresholds (powers of two) and not above the other.
    pub(crate) fn any_between(&self, one: usize, other: usize) -> bool {
        let (low, high) = (bin(one.min(other)), bin(one.max(other)));
        self.0.iter().skip(low + 1).take(high - low).any(|&count| count != 0)
    }

    /// How far two distributions are apart: the percentage of requests that would have to change
    /// their bin (the total variation distance).
    pub(crate) fn distance(&self, other: &Sizes) -> u32 {
        let (mine, theirs) = (self.total(), other.total());
        if mine == 0 || theirs == 0 {
            return if mine == theirs { 0 } else { 100 };
        }
        let apart: u64 = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(&a, &b)| (u64::from(a) * theirs).abs_diff(u64::from(b) * mine))
            .sum();
        // Windows hold thousands of requests: no product overflows.
        (apart / 2 * 100 / (mine * theirs)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_end_at_powers_of_two() {
        assert_eq!((bin(0), bin(1), bin(256 << 10)), (0, 0, 0));
        assert_eq!((bin((256 << 10) + 1), bin(512 << 10)), (1, 1));
        assert_eq!((bin(2 << 20), bin((2 << 20) + 1)), (3, 4));
        assert_eq!((bin(1 << 40), bin(usize::MAX)), (BINS - 1, BINS - 1));
    }

    #[test]
    fn a_threshold_divides_where_it_says() {
        let mut sizes = Sizes::new();
        sizes.count(2 << 20);
        assert!(sizes.any_between(1 << 20, 2 << 20));
        assert!(!sizes.any_between(2 << 20, 4 << 20));
        assert!(!sizes.any_between(2 << 20, 2 << 20));
    }

    #[test]
    fn distance_is_the_share_that_has_moved() {
        let of = |small: u32, large: u32| {
            let mut counts = [0; BINS];
            (counts[2], counts[6]) = (small, large);
            Sizes::of(counts)
        };
        assert_eq!(of(100, 0).distance(&of(50, 0)), 0);
        assert_eq!(of(100, 0).distance(&of(0, 7)), 100);
        assert_eq!(of(100, 0).distance(&of(75, 25)), 25);
        assert_eq!(Sizes::new().distance(&of(1, 0)), 100);
        assert_eq!(Sizes::new().distance(&Sizes::new()), 0);
    }
}
