//! The contract with the operating system: everything the heap asks of it, in one list.
//!
//! A port is one more file, or folder, that provides these functions:
//!
//! | function | promise |
//! |---|---|
//! | `map(size, align)` | fresh readable, writable, zeroed private memory, or `None`; never aborts |
//! | `reserve(size, align)` | the same, but not to be touched yet and charged to nobody |
//! | `make_writable(ptr, size)` | lets part of a reservation be touched; false changes nothing |
//! | `make_inaccessible(ptr, size)` | any touch of these pages faults, until `make_writable` |
//! | `unmap(ptr, size)` | gives back whole mappings or page-aligned parts of them; where the system refuses, their pages at least |
//! | `remap(ptr, old, new, move)` | grows or shrinks one mapping, contents kept; `None` changes nothing |
//! | `remap_onto(ptr, old, new, to)` | the same, moved onto a mapping of ours, which it replaces; refused, that one may be gone |
//! | `discard(ptr, size)` | the pages read as zero afterwards and no longer count as resident |
//! | `advise_huge(ptr, size, on)` | a hint; may do nothing |
//! | `huge_unasked()` | whether the system gives mappings huge pages that nobody asked for |
//! | `random()` | 64 bits that nobody outside can guess |
//! | `now_ms()` | monotonic, coarse, cheap; wraps are the caller's concern (u64: never) |
//! | `wait(word, value)`, `wake(word)` | sleep while the word holds the value; wake one sleeper |
//! | `wait_for(word, value, ms)` | the same, for so long at most |
//! | `spawn(entry, argument)` | a detached thread that takes no signals; false: there is none |
//! | `name_thread(name)` | names the calling thread; may do nothing |
//! | `barrier()` | a full memory barrier in every running thread; false: the system has none |
//! | `write_stderr(bytes)` | one write as far as possible; never fails loudly |
//! | `page_faults()` | page faults of the process so far; 0 where nobody counts |
//! | `is_elevated()` | whether the process has more rights than who started it |
//! | `process_id()` | the number of the process |
//! | `read_file(path, into)` | the start of a file, without allocating; `None`: it can't be read |
//! | `replace_file(path, temporary, bytes)` | writes a file under another name, then renames it; false: nothing has changed |
//! | `resident_bytes()` | resident memory of the process, or `None` |
//! | `address_limit()` | bytes of address space the process may use, or `usize::MAX` |
//! | `variables(prefix, visit)` | environment variables by prefix, without allocating |
//! | `thread_key`, `bind_thread` | call back when a thread ends; `None`, false: it will not |
//! | `on_fork`, `on_exit` | call back around `fork` and at process exit; false: it will not |
//! | `trace` | stacks, names of code addresses, memory faults: see there; may do nothing |
//! | `on_signal(name, run)` | call back on a signal that has no handler; false: it has one |
//!
//! Assumes: pages of 4096 bytes or a divisor of 64 KiB. Promises: nothing here allocates from the
//! heap, panics, or changes `errno` except `no_memory`.

pub(crate) mod fault;
pub(crate) mod lock;
pub(crate) mod report;
pub(crate) mod trace;

#[cfg(all(target_os = "linux", not(miri), not(all(test, hakmem_model))))]
#[path = "linux/mod.rs"]
mod imp;
#[cfg(all(any(not(target_os = "linux"), miri), not(all(test, hakmem_model))))]
#[path = "portable.rs"]
mod imp;
#[cfg(all(test, hakmem_model))]
mod model;
#[cfg(all(test, hakmem_model))]
use model as imp;

pub(crate) use imp::*;

/// The smallest unit that the system maps. Systems with larger pages round up by themselves; all
/// our runs are multiples of 64 KiB, the largest page in use.
pub(crate) const PAGE: usize = 4096;
