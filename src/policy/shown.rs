//! Names and values of settings as messages show them.

use super::settings::Form;
use core::fmt::{self, Write};

/// Text of the environment, for messages; bytes that are not ASCII show as `?`.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take(60) {
            out.write_char(if byte.is_ascii_graphic() || byte == b' ' {
                byte as char
            } else {
                '?'
            })?;
        }
        if self.0.len() > 60 { out.write_str("...") } else { Ok(()) }
    }
}

/// The allowed values of a setting, for messages.
pub(super) struct Allowed(pub(super) Form);

impl fmt::Display for Allowed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.allowed(out)
    }
}

/// A value as the setting writes it, for messages.
pub(super) struct Written(pub(super) Form, pub(super) u64);

impl fmt::Display for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(self.1, out)
    }
}
