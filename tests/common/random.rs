//! A seeded generator: the same numbers on every machine, so that a failure can be run again.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A size as programs ask for them: mostly small, now and then up to `most`, and often right at
    /// a power of two or beside one.
    pub fn size(&mut self, most: usize) -> usize {
        let bits = match self.below(100) {
            0..60 => 8,
            60..85 => 11,
            85..95 => 15,
            95..99 => 19,
            _ => 23,
        };
        let size = self.below(1 << bits);
        let size = if self.below(8) == 0 {
            (size + 1).next_power_of_two().wrapping_add(self.below(3)).wrapping_sub(1)
        } else {
            size
        };
        size.min(most)
    }

    /// An alignment up to `most`, mostly small.
    pub fn align(&mut self, most: usize) -> usize {
        let shift = match self.below(100) {
            0..70 => self.below(7),
            70..97 => self.below(14),
            _ => self.below(23),
        };
        (1 << shift).min(most)
    }
}
