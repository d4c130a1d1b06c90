//! `fork` in a threaded program: every lock is taken before, released in the parent, reset in the
//! child.
//!
//! **Lock order**, the only one: the worker's round < process start < settings < auto mode < engine <
//! learner < parking lot < large-block shards < guarded blocks < segment < spans < metadata. A lock is
//! taken only while holding locks that stand before it.
//!
//! In the child only the forking thread's heap is in use; the heaps of the other threads may have
//! been in the middle of anything, so they stay as they are, for ever: what those threads held is
//! lost to the child, as with every allocator that has per-thread state, but blocks of theirs that
//! the child frees are taken as remote frees. What waits between threads and the background worker
//! (`frontend::handoff`) goes home in the child.

use super::start;
use crate::background;
use crate::frontend::handoff;
use crate::guard;
use crate::large::{big_cache, elo};
use crate::os;
use crate::policy::{auto, config, engine};
use crate::refill;
use crate::segment::{arena, meta, spans};
use crate::thread::park;

/// Registers the handlers. Once. False: there was no memory to note them.
pub(super) fn register() -> bool {
    os::on_fork(before, parent, child)
}

/// Takes every lock, in the order in which they nest.
///
/// # Safety
/// The C library calls it before a fork; `parent` or `child` follows in the same thread.
unsafe extern "C" fn before() {
    background::fork_acquire();
    start::fork_acquire();
    config::fork_acquire();
    auto::fork_acquire();
    engine::fork_acquire();
    elo::fork_acquire();
    park::fork_acquire();
    big_cache::fork_acquire();
    guard::fork_acquire();
    arena::fork_acquire();
    spans::fork_acquire();
    meta::fork_acquire();
}

/// Releases every lock.
///
/// # Safety
/// The C library calls it after `before`, in the thread that forked.
unsafe extern "C" fn parent() {
    release(false);
}

/// Releases every lock in the child.
///
/// # Safety
/// As for `parent`; the thread is the only one.
unsafe extern "C" fn child() {
    release(true);
}

fn release(child: bool) {
    // SAFETY: `before` ran in this thread; the C library calls the handlers in pairs. Blocks of a batch
    // were given back by the program or never handed out.
    unsafe {
        meta::fork_release(child);
        spans::fork_release(child);
        arena::fork_release(child);
        guard::fork_release(child);
        big_cache::fork_release(child);
        park::fork_release(child);
        elo::fork_release(child);
        engine::fork_release(child);
        auto::fork_release(child);
        config::fork_release(child);
        start::fork_release(child);
        background::fork_release(child);
        if child {
            handoff::after_fork(|batch| refill::give_back(batch.class(), batch.blocks()));
        }
    }
}
