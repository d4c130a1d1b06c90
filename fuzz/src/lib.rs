//! What the targets share: the model of a heap that the tests have, and operations read from bytes.
//!
//! Any bytes are an input: what is missing reads as zero, and no input makes a target ask for more
//! than it bounds, so that only an error of the heap ends it.

#[path = "../../tests/common/memory.rs"]
pub mod memory;
#[path = "../../tests/common/model.rs"]
pub mod model;
#[path = "../../tests/common/random.rs"]
pub mod random;

use model::{Call, Model};

/// Bytes of a block that the heap keeps for itself (none without a gate); the model asks.
pub const RESERVED: usize = 0;

/// Bytes that a model may hold at once.
const MOST_LIVE: usize = 64 << 20;

/// An input, read from the front.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn number(&mut self, bytes: usize) -> usize {
        (0..bytes).fold(0, |sum, _| sum << 8 | usize::from(self.byte()))
    }

    /// Up to `most` bytes, their number first.
    pub fn text(&mut self, most: usize) -> &'a [u8] {
        let length = usize::from(self.byte()).min(most).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }

    /// A size up to 4 MiB: small ones often, and those beside a power of two.
    pub fn size(&mut self) -> usize {
        match self.byte() % 8 {
            0..4 => self.number(1),
            4 | 5 => self.number(2),
            6 => self.number(3) % (4 << 20),
            _ => {
                let both = self.number(1);
                (1usize << (both % 23)) + both / 23 % 3 - 1
            }
        }
    }

    /// An alignment up to 4 MiB.
    pub fn align(&mut self) -> usize {
        let byte = self.byte();
        1 << if byte < 200 { byte % 8 } else { byte % 23 }
    }

    /// One call for a model; frees where the model holds much.
    pub fn call(&mut self, model: &Model) -> Call {
        let full = model.live_bytes() > MOST_LIVE;
        match self.byte() {
            kind if full || kind >= 176 => match kind % 4 {
                0 => Call::FreeSized(self.number(2)),
                _ => Call::Free(self.number(2)),
            },
            0 => Call::Collect,
            1..64 => Call::Malloc(self.size()),
            64..80 => {
                let count = 1 + self.number(1) % 8;
                Call::Calloc(count, self.size() / count)
            }
            80..96 => Call::Aligned(self.align(), self.size()),
            96..128 => Call::Rust(self.size(), self.align()),
            128..144 => Call::RustZeroed(self.size(), self.align()),
            _ => Call::Realloc(self.number(2), self.size()),
        }
    }
}
