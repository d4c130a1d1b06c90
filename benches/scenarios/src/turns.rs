//! Turns: several of these processes on one processor, each doing a little of its work in turn, so that
//! what disturbs the machine for longer than a turn disturbs all of them alike.
//!
//! Whoever started the process gives it a turn by a byte on its standard input, and gets a byte from its
//! standard output when the turn is over. Neither is in the time that is measured, and neither touches
//! the heap.

/// The part of a turn's work that is done before its clock starts, as a divisor: long enough to bring back
/// to the caches what the others have driven out, which would make every difference look smaller.
pub const LEAD: u64 = 8;

/// What is written at the end of a turn.
static DONE: u8 = b'.';

/// Waits for a turn. Ends the process where none will come.
pub fn wait() {
    let mut byte = 0_u8;
    // SAFETY: one writable byte.
    if retried(|| unsafe { libc::read(0, (&raw mut byte).cast(), 1) }) != 1 {
        let told =
            b"error: standard input ended, expected a byte for each turn; there are no figures\n";
        // SAFETY: the bytes are there.
        unsafe { libc::write(2, told.as_ptr().cast(), told.len()) };
        std::process::exit(1);
    }
}

/// Says that the turn is over.
pub fn end() {
    // SAFETY: one readable byte. Where nobody reads any more, no turn will come either.
    retried(|| unsafe { libc::write(1, (&raw const DONE).cast(), 1) });
}

/// A call, again where a signal came in between.
fn retried(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result >= 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted
        {
            return result;
        }
    }
}
