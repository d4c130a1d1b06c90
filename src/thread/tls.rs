//! The thread's pointer to its heap, and whether the thread has parked it for good: sixteen bytes of
//! thread-local storage.
//!
//! The pointer starts out at [`EMPTY`], a heap whose magazines are empty and full at once, so that the
//! fast path needs no check for an unborn thread; at the thread's end it goes back there.
//!
//! On x86-64 Linux the variables are defined and read in assembly with the initial-exec model, in
//! every kind of binary: one GOT load and one `fs:` load in a shared library, an immediate and one
//! `fs:` load where the linker can relax it. (`thread_local!` would call `__tls_get_addr` in a
//! shared library.) Sixteen bytes fit the surplus that the loader keeps for `dlopen`. Elsewhere, and
//! under Miri, they are a `thread_local!` without a destructor.

use super::heap::Heap;
use super::turn::Turn;
use crate::segment::slab::PendingStack;

/// What a thread has before its first allocation, and after its end. Never written.
static EMPTY: Heap = Heap::new(&NOBODY, &NO_TURN);
/// The sentinel owns no slabs.
static NOBODY: PendingStack = PendingStack::new();
/// Nobody takes a turn with it.
static NO_TURN: Turn = Turn::new();

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod imp {
    use super::{EMPTY, Heap};
    use core::arch::{asm, global_asm};

    // The names carry the version, so that two copies of the library in one program don't share.
    macro_rules! heap {
        () => {
            concat!("hakmem_heap_", env!("CARGO_PKG_VERSION"))
        };
    }
    macro_rules! gone {
        () => {
            concat!("hakmem_gone_", env!("CARGO_PKG_VERSION"))
        };
    }
    /// Defines a hidden variable of eight bytes.
    macro_rules! variable {
        ($symbol:ident) => {
            concat!(
                ".hidden ",
                $symbol!(),
                "\n.globl ",
                $symbol!(),
                "\n.type ",
                $symbol!(),
                ",@object\n.size ",
                $symbol!(),
                ",8\n.p2align 3\n",
                $symbol!(),
                ":"
            )
        };
    }

    global_asm!(
        ".pushsection .tdata.hakmem_heap,\"awT\",@progbits",
        variable!(heap),
        ".quad {empty}",
        variable!(gone),
        ".quad 0",
        ".popsection",
        empty = sym EMPTY,
    );

    #[inline(always)]
    pub(crate) fn heap() -> *mut Heap {
        let heap: *mut Heap;
        // SAFETY: reads the thread's own variable; the GOT entry holds its offset from fs.
        unsafe {
            asm!(
                concat!("mov {0}, qword ptr [rip + ", heap!(), "@GOTTPOFF]"),
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
                concat!("mov {0}, qword ptr [rip + ", heap!(), "@GOTTPOFF]"),
                "mov qword ptr fs:[{0}], {1}",
                out(reg) _,
                in(reg) heap,
                options(nostack, preserves_flags),
            );
        }
    }

    pub(crate) fn is_gone() -> bool {
        let gone: u64;
        // SAFETY: reads the thread's own variable.
        unsafe {
            asm!(
                concat!("mov {0}, qword ptr [rip + ", gone!(), "@GOTTPOFF]"),
                "mov {0}, qword ptr fs:[{0}]",
                out(reg) gone,
                options(readonly, nostack, preserves_flags),
            );
        }
        gone != 0
    }

    pub(super) fn set_gone() {
        // SAFETY: writes the thread's own variable.
        unsafe {
            asm!(
                concat!("mov {0}, qword ptr [rip + ", gone!(), "@GOTTPOFF]"),
                "mov qword ptr fs:[{0}], 1",
                out(reg) _,
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
        static GONE: Cell<bool> = const { Cell::new(false) };
    }

    #[inline(always)]
    pub(crate) fn heap() -> *mut Heap {
        HEAP.with(Cell::get)
    }

    pub(crate) fn set_heap(heap: *mut Heap) {
        HEAP.with(|cell| cell.set(heap));
    }

    pub(crate) fn is_gone() -> bool {
        GONE.with(Cell::get)
    }

    pub(super) fn set_gone() {
        GONE.with(|cell| cell.set(true));
    }
}

/// Whether the thread has let go of its heap for good.
pub(crate) use imp::is_gone;
pub(crate) use imp::{heap, set_heap};

/// The thread's heap is no longer its own.
pub(crate) fn let_go() {
    set_heap((&raw const EMPTY).cast_mut());
}

/// The thread ends: it has no heap from now on and gets none of its own again.
pub(crate) fn leave() {
    // In this order: a signal in between still finds the heap.
    imp::set_gone();
    let_go();
}

/// The thread's real heap, if it has one.
pub(crate) fn current() -> Option<*mut Heap> {
    let heap = heap();
    if is_sentinel(heap) { None } else { Some(heap) }
}

/// Whether this is the heap that nobody owns.
#[inline]
pub(crate) fn is_sentinel(heap: *const Heap) -> bool {
    core::ptr::eq(heap, &EMPTY)
}

/// An empty heap to copy, for storage that becomes one.
pub(super) fn sentinel() -> *const Heap {
    &raw const EMPTY
}
