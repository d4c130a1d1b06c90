//! One atomic operation, and what else is found on the way to it.

/// The memory orderings.
pub const ORDERINGS: &[&str] = &["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// Methods that only atomics have.
pub const ATOMIC_ONLY: &[&str] = &[
    "fetch_add",
    "fetch_sub",
    "fetch_and",
    "fetch_nand",
    "fetch_or",
    "fetch_xor",
    "fetch_not",
    "fetch_max",
    "fetch_min",
    "fetch_update",
    "try_update",
    "fetch_ptr_add",
    "fetch_ptr_sub",
    "fetch_byte_add",
    "fetch_byte_sub",
    "compare_exchange",
    "compare_exchange_weak",
    "compare_and_swap",
];

/// Methods that others have too, with the number of arguments that an atomic's take.
pub const SHARED_NAMES: &[(&str, usize)] = &[("load", 1), ("store", 2), ("swap", 2)];

/// Ways to an atomic's memory that are no atomic operation.
pub const PLAIN: &[&str] = &[
    "as_ptr",
    "as_mut_ptr",
    "get_mut",
    "get_mut_slice",
    "into_inner",
    "from_ptr",
    "from_mut",
    "from_mut_slice",
    "cast",
    "read",
    "write",
    "read_volatile",
    "write_volatile",
    "read_unaligned",
    "write_unaligned",
    "write_bytes",
    "copy_from",
    "copy_from_nonoverlapping",
    "copy_to",
    "copy_to_nonoverlapping",
    "replace",
];

/// Instructions in assembly that are atomic operations or fences.
pub const LOCKED: &[&str] = &[
    "lock",
    "xchg",
    "cmpxchg",
    "cmpxchg8b",
    "cmpxchg16b",
    "xadd",
    "mfence",
    "lfence",
    "sfence",
    "ldxr",
    "stxr",
    "ldaxr",
    "stlxr",
    "ldar",
    "stlr",
    "dmb",
    "ldadd",
    "swp",
    "cas",
    "casal",
];

/// One operation.
#[derive(Clone, Debug)]
pub struct Site {
    /// The body that it stands in.
    pub body: usize,
    /// Its line.
    pub line: usize,
    /// Where the statement that it is part of begins.
    pub statement: usize,
    /// The method's name, `fence` or `asm!`.
    pub operation: String,
    /// The orderings that it names, the success ordering first.
    pub orderings: Vec<String>,
    /// Which atomic; `None` for a fence.
    pub atomic: Option<usize>,
    /// Why it could not be placed.
    pub unknown: Option<String>,
    /// Whether it stands behind a gate.
    pub gated: bool,
    /// Whether what it returns is used.
    pub used: bool,
    /// Where its orderings' names stand.
    pub places: Vec<(usize, usize)>,
}

impl Site {
    /// Whether the processor locks the line (or waits for its stores) for it.
    pub fn locked(&self) -> bool {
        match self.operation.as_str() {
            "store" | "fence" => self.orderings.iter().any(|it| it == "SeqCst"),
            "load" | "compiler_fence" => false,
            name => name == "asm!" || name == "swap" || ATOMIC_ONLY.contains(&name),
        }
    }

    /// Whether it learns the atomic's value.
    pub fn reads(&self) -> bool {
        match self.operation.as_str() {
            "load" => true,
            "store" | "fence" | "compiler_fence" => false,
            name if name.starts_with("compare") => true,
            _ => self.used,
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The bodies it may reach.
    pub targets: Vec<usize>,
    /// Its line.
    pub line: usize,
    /// Where the name of what is called stands.
    pub at: (usize, usize),
    /// Whether what it returns is used.
    pub used: bool,
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub file: usize,
    pub line: usize,
    pub text: String,
}

/// What was found in one body.
#[derive(Default)]
pub struct Found {
    pub sites: Vec<Site>,
    pub calls: Vec<Call>,
    pub faults: Vec<Fault>,
}
