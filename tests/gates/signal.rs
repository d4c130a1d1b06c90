//! (signal)
