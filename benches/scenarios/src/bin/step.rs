//! `hakmem-step`: a steady state on the process's C names, to be watched by `cargo xtask asm`.
//! Holds no hakmem code.

use core::ffi::{CStr, c_void};
use std::mem::transmute;

use hakmem_scenarios::step::{self, Pair};

type Allocate = unsafe extern "C" fn(usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type FreeSized = unsafe extern "C" fn(*mut c_void, usize);

/// The address of a symbol that some library of this process exports.
fn address(name: &'static CStr) -> Option<(&'static str, usize)> {
    // SAFETY: the name is a C string; the handle means all libraries.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
    let name = name.to_str().ok()?;
    (address != 0).then_some((name, address))
}

fn pair(
    allocate: &'static CStr,
    free: &'static CStr,
    call: impl FnOnce(usize, usize) -> Box<dyn Fn()>,
) -> Option<Pair> {
    let functions = [address(allocate)?, address(free)?];
    Some(Pair { functions, call: call(functions[0].1, functions[1].1) })
}

fn main() {
    let size = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(64);
    let sized = |allocate: usize, free: usize| -> Box<dyn Fn()> {
        // SAFETY: the addresses are those of functions of these types; every block is freed once,
        // with the size it was allocated with.
        Box::new(move || unsafe {
            let block = transmute::<usize, Allocate>(allocate)(size);
            transmute::<usize, FreeSized>(free)(block, size);
        })
    };
    let plain = |allocate: usize, free: usize| -> Box<dyn Fn()> {
        // SAFETY: as above.
        Box::new(move || unsafe {
            let block = transmute::<usize, Allocate>(allocate)(size);
            transmute::<usize, Free>(free)(block);
        })
    };
    // Others of the same size stay live: an allocator that has just one block of a class takes a
    // path of its own when that is freed.
    // SAFETY: malloc has no precondition; the blocks live until the process ends.
    (0..50).for_each(|_| unsafe {
        std::hint::black_box(libc::malloc(size));
    });
    let pairs = [
        pair(c"malloc", c"free", plain),
        pair(c"_Znwm", c"_ZdlPvm", sized),
        pair(c"malloc", c"free_sized", sized),
    ];
    step::play(&pairs.into_iter().flatten().collect::<Vec<_>>());
}
