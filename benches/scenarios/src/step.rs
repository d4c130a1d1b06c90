//! The side of `cargo xtask asm` that is watched: a process in a steady state of allocating and
//! freeing one block, which another process runs instruction by instruction.
//!
//! It warms up, prints the addresses of the functions to count as one line of JSON, stops itself,
//! calls them [`ROUNDS`] times, stops itself again and ends.

use std::io::Write;

/// Calls between the two stops.
pub const ROUNDS: usize = 100;

/// Calls before them, so that nothing is met for the first time while being counted.
const WARM_UP: usize = 20_000;

/// One pair of functions to count.
pub struct Pair {
    /// The functions' names and addresses.
    pub functions: [(&'static str, usize); 2],
    /// Allocates a block and frees it, by calling each of them once.
    pub call: Box<dyn Fn()>,
}

/// Plays the watched process.
pub fn play(pairs: &[Pair]) {
    for pair in pairs {
        (0..WARM_UP).for_each(|_| (pair.call)());
    }
    let names: Vec<String> = pairs
        .iter()
        .flat_map(|pair| pair.functions)
        .map(|(name, address)| format!("[\"{name}\",{address}]"))
        .collect();
    let mut out = std::io::stdout();
    let told = writeln!(out, "[{}]", names.join(",")).and_then(|()| out.flush());
    if told.is_err() {
        return;
    }
    drop(names);
    for pair in pairs {
        (0..WARM_UP).for_each(|_| (pair.call)());
        stop();
        (0..ROUNDS).for_each(|_| (pair.call)());
        stop();
    }
}

/// Stops this process until another one lets it go on.
fn stop() {
    // SAFETY: raising a signal has no precondition.
    unsafe { libc::raise(libc::SIGSTOP) };
}
