//! Pins the versions of the peers whose sources are on crates.io; see `Cargo.toml`.
