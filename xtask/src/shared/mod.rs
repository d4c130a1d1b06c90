//! What the commands share: where things are, running programs, the terminal, the registry.

pub mod callgrind;
pub mod command;
pub mod conflicts;
pub mod default_build;
pub mod document;
pub mod lock;
pub mod page;
pub mod paths;
pub mod registry;
pub mod system;
pub mod term;
pub mod write;
