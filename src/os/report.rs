//! Lines on standard error that need no heap: a fixed buffer, one write.
//!
//! Promises: nothing here allocates, so it can run while the heap is in any state. Every line
//! begins with `hakmem: ` and ends with a newline.

use core::fmt::{self, Write};

/// A line being put together on the stack; what does not fit is cut.
pub(crate) struct Line {
    bytes: [u8; 512],
    used: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        let mut line = Line { bytes: [0; 512], used: 0 };
        let _ = line.write_str("hakmem: ");
        line
    }

    /// Writes the line to standard error.
    pub(crate) fn send(mut self) {
        let end = self.used.min(self.bytes.len() - 1);
        if let Some(last) = self.bytes.get_mut(end) {
            *last = b'\n';
        }
        super::write_stderr(self.bytes.get(..=end).unwrap_or(&[]));
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.used;
        let take = text.len().min(room);
        if let (Some(to), Some(from)) =
            (self.bytes.get_mut(self.used..self.used + take), text.as_bytes().get(..take))
        {
            to.copy_from_slice(from);
        }
        self.used += take;
        Ok(())
    }
}

/// One line of warning; the program goes on.
#[cold]
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let _ = line.write_fmt(message);
    line.send();
}

/// One line that says what is wrong with a pointer given to the heap, then `abort`.
#[cold]
#[inline(never)]
pub(crate) fn fatal(message: fmt::Arguments<'_>) -> ! {
    warn(message);
    super::abort()
}

/// A short text on the stack, for padding in tables; what does not fit is cut.
pub(crate) struct Small {
    bytes: [u8; 32],
    used: usize,
}

impl Small {
    pub(crate) fn new() -> Self {
        Small { bytes: [0; 32], used: 0 }
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.used).unwrap_or(&[])).unwrap_or("?")
    }
}

impl Write for Small {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if let Some(slot) = self.bytes.get_mut(self.used) {
                *slot = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

/// Formats into a file descriptor through a small buffer, without the heap.
pub(crate) struct FdWriter {
    fd: i32,
    bytes: [u8; 1024],
    used: usize,
}

impl FdWriter {
    pub(crate) fn new(fd: i32) -> Self {
        FdWriter { fd, bytes: [0; 1024], used: 0 }
    }

    fn flush(&mut self) {
        super::write_fd(self.fd, self.bytes.get(..self.used).unwrap_or(&[]));
        self.used = 0;
    }
}

impl Write for FdWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == self.bytes.len() {
                self.flush();
            }
            if let Some(slot) = self.bytes.get_mut(self.used) {
                *slot = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

impl Drop for FdWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_still_ends() {
        let mut line = Line::new();
        for _ in 0..100 {
            let _ = write!(line, "0123456789");
        }
        assert_eq!(line.used, 511);
    }
}
