//! Deterministic numbers and digests: a xorshift generator and 64-bit FNV-1a.

/// A generator of numbers from a fixed seed.
pub struct Numbers(u64);

impl Numbers {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// The next number below `limit`, as a length.
    pub fn length(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    /// A word of up to `limit` letters.
    pub fn word(&mut self, limit: usize) -> String {
        let length = 1 + self.length(limit);
        (0..length).map(|_| (b'a' + self.below(26) as u8) as char).collect()
    }
}

/// A digest of `bytes`.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
