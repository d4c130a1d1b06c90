//! Printing without allocating: to a file descriptor, a caller's buffer, or one line at a time.
//!
//! All of it may be used while the heap is in any state, also out of memory. `errno` is kept.

use core::ffi::c_int;
use core::fmt;

use crate::errno;

/// Writes all of `bytes`, however often the system call is cut short.
///
/// # Errors
/// The `errno` of the write that failed.
pub fn write_all(descriptor: c_int, mut bytes: &[u8]) -> Result<(), c_int> {
    errno::kept(|| {
        while !bytes.is_empty() {
            // SAFETY: the range is valid for reads.
            let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(written) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
                Err(_) if errno::get() == libc::EINTR => {}
                Err(_) => return Err(errno::get()),
            }
        }
        Ok(())
    })
}

/// Bytes that [`Line`] and [`Descriptor`] gather before they write.
const GATHERED: usize = 512;

/// A [`fmt::Write`] onto a file descriptor. What is left is written by [`Descriptor::finish`].
pub struct Descriptor {
    descriptor: c_int,
    bytes: [u8; GATHERED],
    used: usize,
    failure: Option<c_int>,
}

impl Descriptor {
    /// A writer onto `descriptor`, which stays the caller's.
    pub fn new(descriptor: c_int) -> Self {
        Self { descriptor, bytes: [0; GATHERED], used: 0, failure: None }
    }

    fn flush(&mut self) {
        let gathered = self.bytes.get(..self.used).unwrap_or(&[]);
        if self.failure.is_none() {
            self.failure = write_all(self.descriptor, gathered).err();
        }
        self.used = 0;
    }

    /// Writes what is left; the first `errno` of all writes, if one failed.
    pub fn finish(mut self) -> Result<(), c_int> {
        self.flush();
        self.failure.map_or(Ok(()), Err)
    }
}

impl fmt::Write for Descriptor {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == GATHERED {
                self.flush();
            }
            if let Some(place) = self.bytes.get_mut(self.used) {
                *place = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

/// A [`fmt::Write`] into a caller's buffer that counts what did not fit, as `snprintf` does.
pub struct Buffer<'a> {
    bytes: &'a mut [u8],
    needed: usize,
}

impl<'a> Buffer<'a> {
    /// A writer into `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, needed: 0 }
    }

    /// Ends the text with a zero byte, cutting it if it must; the length of the whole text.
    pub fn finish(self) -> usize {
        if let Some(last) = self.bytes.len().checked_sub(1)
            && let Some(place) = self.bytes.get_mut(self.needed.min(last))
        {
            *place = 0;
        }
        self.needed
    }
}

impl fmt::Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if let Some(place) = self.bytes.get_mut(self.needed) {
                *place = byte;
            }
            self.needed += 1;
        }
        Ok(())
    }
}

/// One line, put together without `core::fmt` and written in one piece.
pub struct Line {
    bytes: [u8; GATHERED],
    used: usize,
}

impl Line {
    /// An empty line.
    pub const fn empty() -> Self {
        Self { bytes: [0; GATHERED], used: 0 }
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
    }

    /// Appends `text`.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            self.byte(byte);
        }
        self
    }

    /// Appends `value` in decimal digits.
    pub fn number(&mut self, value: usize) -> &mut Self {
        let mut digits = [0; 20];
        let (mut rest, mut count) = (value, 0);
        for digit in digits.iter_mut().rev() {
            // Below ten: fits.
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        for &digit in digits.iter().skip(20 - count) {
            self.byte(digit);
        }
        self
    }

    /// Writes the line.
    pub fn end(&mut self, descriptor: c_int) {
        self.byte(b'\n');
        // Nobody is left to tell when standard error cannot be written.
        let _ = write_all(descriptor, self.bytes.get(..self.used).unwrap_or(&[]));
    }
}
