//! The file of ratings (`HAKMEM_ELO_FILE`): loaded when it is named, written at exit and on request.
//!
//! It is written under another name and then renamed, so a reader never finds half of it and a crash
//! leaves the old one. Nothing here allocates. A file that can't be taken is refused with one line,
//! and the program goes on without it.

use super::settings::LONGEST_PATH;
use crate::large::elo::{self, State, saved};
use crate::os::{self, report};
use core::ffi::CStr;
use core::fmt::{self, Write};

/// Room for what is appended to the name of a file that is being written.
const SUFFIX: usize = 24;

/// A path, empty for none.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    bytes: [u8; LONGEST_PATH + SUFFIX],
    used: usize,
}

impl Path {
    pub(super) const fn none() -> Self {
        Path { bytes: [0; LONGEST_PATH + SUFFIX], used: 0 }
    }

    /// Of at most [`LONGEST_PATH`] bytes; what is longer, or holds a zero byte, is none.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut path = Path::none();
        if text.len() <= LONGEST_PATH && !text.contains(&0) {
            for (to, from) in path.bytes.iter_mut().zip(text) {
                *to = *from;
            }
            path.used = text.len();
        }
        path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&[])
    }

    fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// The name it is written under at first.
    fn temporary(&self) -> Self {
        let mut path = *self;
        // Ten digits at most: it fits.
        let _ = write!(path, ".{}.tmp", os::process_id());
        path
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays zero, the end.
        let end = self.used + text.len();
        let room = self.bytes.get_mut(..LONGEST_PATH + SUFFIX - 1);
        let to = room.and_then(|room| room.get_mut(self.used..end)).ok_or(fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// For messages: bytes that are not plain text show as `?`.
impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|&byte| {
            let plain = byte.is_ascii_graphic() || byte == b' ';
            out.write_char(if plain { byte as char } else { '?' })
        })
    }
}

/// Goes on from what the file holds.
pub(super) fn load(path: &Path) {
    if path.bytes().is_empty() {
        return;
    }
    let mut text = [0u8; saved::LONGEST + 1];
    let learns = elo::state() == State::Learn;
    let now = if learns { "learning starts fresh" } else { "the threshold is not learned" };
    match os::read_file(path.c_str(), &mut text) {
        // It will be there at the end.
        None if learns => {}
        None => report::warn(format_args!("HAKMEM_ELO_FILE={path} cannot be read; {now}")),
        Some(length) => match saved::read(text.get(..length).unwrap_or(&[])) {
            Ok(league) => elo::resume(league),
            Err(why) => report::warn(format_args!("HAKMEM_ELO_FILE={path} {why}; {now}")),
        },
    }
}

/// Why ratings were not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveError {
    /// This build learns nothing (feature `elo`).
    NotCompiledIn,
    /// No file is named (`HAKMEM_ELO_FILE`).
    NoFile,
    /// The file can't be written; what was there before still is.
    NotWritten,
}

/// Writes the ratings to the file that `HAKMEM_ELO_FILE` names, without using the heap.
///
/// # Errors
/// See [`SaveError`].
pub fn save_ratings() -> Result<(), SaveError> {
    super::config::load_environment();
    let look = elo::look(true).ok_or(SaveError::NotCompiledIn)?;
    let path = super::config::elo_file().ok_or(SaveError::NoFile)?;
    let text = saved::write(&look.league).ok_or(SaveError::NotWritten)?;
    let done = os::replace_file(path.c_str(), path.temporary().c_str(), text.bytes());
    if done { Ok(()) } else { Err(SaveError::NotWritten) }
}

/// The process ends: keeps what it has learned, if a file is named.
pub(crate) fn save_at_exit() {
    if elo::learns()
        && save_ratings() == Err(SaveError::NotWritten)
        && let Some(path) = super::config::elo_file()
    {
        report::warn(format_args!(
            "HAKMEM_ELO_FILE={path} cannot be written; what was learned is lost"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded_and_end() {
        let long = [b'x'; LONGEST_PATH];
        let path = Path::of(&long);
        assert_eq!((path.bytes().len(), path.c_str().count_bytes()), (LONGEST_PATH, LONGEST_PATH));
        let temporary = path.temporary();
        assert!(temporary.c_str().to_bytes().ends_with(b".tmp"));
        assert!(temporary.c_str().to_bytes().starts_with(&long));
        assert!(Path::of(&[b'x'; LONGEST_PATH + 1]).bytes().is_empty());
        assert!(Path::of(b"a\0b").bytes().is_empty());
    }
}
