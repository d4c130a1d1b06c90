//! The thread's pointer to its heap: eight bytes of thread-local storage.
//!
//! It starts out at [`EMPTY`], a heap whose magazines are empty and full at once, so that the fast
//! path needs no check for an unborn thread; after the thread's end it points at [`GONE`].
//!
//! On x86-64 Linux the variable is defined and read in assembly with the initial-exec model, in
//! every kind of binary: one GOT load and one `fs:` load in a shared library, an immediate and one
//! `fs:` load where the linker can relax it. (`thread_local!` would call `__tls_get_addr` in a
//! shared library.) Eight bytes fit the surplus that the loader keeps for `dlopen`. Elsewhere, and
//! under Miri, it is a `thread_local!` without a destructor.

use super::heap::Heap;
use super::turn::Turn;
use crate::segment::slab::PendingStack;

/// What a thread has before its first allocation. Never written.
pub(crate) static EMPTY: Heap = Heap::new(&NOBODY, &NO_TURN);
/// What a thread has after its heap was parked at its end. Never written.
pub(crate) static GONE: Heap = Heap::new(&NOBODY, &NO_TURN);
/// The sentinels own no slabs.
static NOBODY: PendingStack = PendingStack::new();
/// Nobody takes a turn with them.
static NO_TURN: Turn = Turn::new();

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod imp {
    use super::{EMPTY, Heap};
    use core::arch::{asm, global_asm};

    // The name carries the version, so that two copies of the library in one program don't share.
    macro_rules! symbol {
        () => {
            concat!("hakmem_heap_", env!("CARGO_PKG_VERSION"))
        };
    }

    global_asm!(
        ".pushsection .tdata.hakmem_heap,\"awT\",@progbits",
        concat!(".globl ", symbol!()),
        concat!(".hidden ", symbol!()),
        concat!(".type ", symbol!(), ",@object"),
        concat!(".size ", symbol!(), ",8"),
        ".p2align 3",
        concat!(symbol!(), ":"),
        ".quad {empty}",
        ".popsection",
        empty = sym EMPTY,
    );

    #[inline(always)]
    pub(crate) fn heap() -> *mut Heap {
        let heap: *mut Heap;
        // SAFETY: reads the thread's own variable; the GOT entry holds its offset from fs.
        unsafe {
            asm!(
                concat!("mov {0}, qword ptr [rip + ", symbol!(), "@GOTTPOFF]"),
                "mov {0}, qword ptr fs:[{0}]",
                out(reg) heap,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        heap
    }

    pub(crate) fn set_heap(heap: *mut Heap) {
        // SAFETY: writes the thread's own variable.
        unsafe {
            asm!(
                concat!("mov {0}, qword ptr [rip + ", symbol!(), "@GOTTPOFF]"),
                "mov qword ptr fs:[{0}], {1}",
                out(reg) _,
                in(reg) heap,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
mod imp {
    use super::{EMPTY, Heap};
    use core::cell::Cell;

    std::thread_local! {
        static HEAP: Cell<*mut Heap> = const { Cell::new((&raw const EMPTY).cast_mut()) };
    }

    #[inline(always)]
    pub(crate) fn heap() -> *mut Heap {
        HEAP.with(Cell::get)
    }

    pub(crate) fn set_heap(heap: *mut Heap) {
        HEAP.with(|cell| cell.set(heap));
    }
}

pub(crate) use imp::{heap, set_heap};

/// The thread's real heap, if it has one.
pub(crate) fn current() -> Option<*mut Heap> {
    let heap = heap();
    if is_sentinel(heap) { None } else { Some(heap) }
}

/// Whether this is one of the two heaps that nobody owns.
#[inline]
pub(crate) fn is_sentinel(heap: *const Heap) -> bool {
    core::ptr::eq(heap, &EMPTY) || core::ptr::eq(heap, &GONE)
}

/// Whether the thread's heap has been parked because the thread is ending.
pub(crate) fn is_gone() -> bool {
    core::ptr::eq(heap(), &GONE)
}
