//! The C interface as the preload library has it, compiled from its sources: the malloc family with
//! any sizes and alignments, valid or not, and the `hak_` functions with any text.
#![no_main]
#![allow(dead_code, reason = "the library exports more than is called here")]

#[path = "../../preload/src/errno.rs"]
mod errno;
#[path = "../../preload/src/extras.rs"]
mod extras;
#[path = "../../preload/src/family.rs"]
mod family;
#[path = "../../preload/src/hak/mod.rs"]
mod hak;
#[path = "../../preload/src/output.rs"]
mod output;

use core::ffi::c_void;
use hakmem_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use std::ffi::CString;
use std::ptr::null_mut;

/// Live blocks and what was asked for: alignment 0 where it was natural.
type Blocks = Vec<(*mut c_void, usize, usize)>;

/// A size: bounded, or so large that it must be refused.
fn any_size(input: &mut Input) -> usize {
    match input.byte() {
        0..16 => usize::MAX - input.number(2),
        16..24 => isize::MAX as usize - 8 + input.number(1) % 16,
        _ => input.size(),
    }
}

/// An alignment: mostly valid.
fn any_align(input: &mut Input) -> usize {
    match input.byte() {
        0..32 => input.number(2),
        _ => input.align(),
    }
}

/// Notes a block, or checks that a refusal was due.
fn keep(blocks: &mut Blocks, at: *mut c_void, size: Option<usize>, align: usize) {
    let refused = size.is_none_or(|size| size > isize::MAX as usize) || !align_is_valid(align);
    if refused {
        assert!(at.is_null(), "{size:?} bytes at a multiple of {align}");
        return;
    }
    // `pvalloc` and large alignments may find no room near the end of the address space.
    let Some(size) = size.filter(|_| !at.is_null()) else { return };
    assert!(align == 0 || at.addr() % align == 0, "{at:?} is no multiple of {align}");
    // SAFETY: a live block.
    let usable = unsafe { extras::malloc_usable_size(at) };
    assert!(usable >= size, "{usable} bytes for {size}");
    // SAFETY: a live block of `usable` bytes.
    unsafe {
        if usable > 0 {
            at.cast::<u8>().write(size as u8);
            at.cast::<u8>().add(usable - 1).write(size as u8);
        }
    }
    blocks.push((at, size, align));
}

fn align_is_valid(align: usize) -> bool {
    align == 0 || align.is_power_of_two()
}

fn take(blocks: &mut Blocks, input: &mut Input) -> Option<(*mut c_void, usize, usize)> {
    let index = input.number(1);
    (!blocks.is_empty()).then(|| blocks.swap_remove(index % blocks.len()))
}

fn allocate(input: &mut Input, blocks: &mut Blocks) {
    match input.byte() % 8 {
        0 | 1 => {
            let size = any_size(input);
            keep(blocks, family::malloc(size), Some(size), 0);
        }
        2 => {
            let (count, size) = (any_size(input), any_size(input));
            // More than this is a request that may be served, but not by this machine.
            let bytes = count.checked_mul(size);
            if bytes.is_none_or(|bytes| bytes < 16 << 20 || bytes > isize::MAX as usize) {
                keep(blocks, family::calloc(count, size), bytes, 0);
            }
        }
        3 => {
            let (align, size) = (any_align(input), any_size(input));
            let at = family::aligned_alloc(align, size);
            keep(blocks, at, (align != 0).then_some(size), align);
        }
        4 => {
            let (align, size) = (any_align(input), any_size(input));
            let mut at = null_mut();
            // SAFETY: the result has a place.
            let code = unsafe { family::posix_memalign(&mut at, align, size) };
            let valid = align.is_power_of_two() && align >= size_of::<usize>();
            assert!(valid || code == libc::EINVAL, "{code} for alignment {align}");
            if code == 0 {
                keep(blocks, at, Some(size), align);
            }
        }
        5 => {
            let (align, size) = (input.align(), any_size(input));
            keep(blocks, extras::memalign(align, size), Some(size), align);
        }
        6 => {
            let size = any_size(input);
            keep(blocks, extras::valloc(size), Some(size), 4096);
        }
        _ => {
            let size = any_size(input);
            let at = extras::pvalloc(size);
            if !at.is_null() {
                keep(blocks, at, Some(size.next_multiple_of(4096)), 4096);
            }
        }
    }
}

fn resize(input: &mut Input, blocks: &mut Blocks) {
    let Some((at, size, align)) = take(blocks, input) else { return };
    let more = any_size(input).max(1);
    // SAFETY: a live block.
    let moved = unsafe {
        match input.byte() % 2 {
            0 => family::realloc(at, more),
            _ => family::reallocarray(at, more, 1),
        }
    };
    if moved.is_null() {
        assert!(more > 1 << 40, "no memory for {more}");
        blocks.push((at, size, align));
        return;
    }
    if size > 0 {
        // SAFETY: a live block of at least one byte.
        assert_eq!(unsafe { moved.cast::<u8>().read() }, size as u8, "the first byte");
    }
    keep(blocks, moved, Some(more), 0);
}

fn free(input: &mut Input, blocks: &mut Blocks) {
    let Some((at, size, align)) = take(blocks, input) else { return };
    // SAFETY: a live block, asked for so.
    unsafe {
        match (input.byte() % 2, align) {
            (0, 0) => family::free_sized(at, size),
            (0, _) => family::free_aligned_sized(at, align, size),
            _ => family::free(at),
        }
    }
}

/// Looks that change nothing, with any text and any address.
fn ask(input: &mut Input) {
    let name = CString::new(input.text(40).split(|&byte| byte == 0).next().unwrap_or_default());
    let name = name.expect("cut at the first null");
    let mut value = 0;
    let mut text = [0xAAu8; 64];
    let room = usize::from(input.byte()) % text.len();
    // SAFETY: C strings, and room as said.
    unsafe {
        hak::stats::hak_stats_get(name.as_ptr(), &mut value);
        hak::hak_stats_json(text.as_mut_ptr().cast(), room);
    }
    assert!(text[room..].iter().all(|&byte| byte == 0xAA), "wrote beyond the buffer");
    hak::hak_owns(std::ptr::without_provenance(input.number(8)));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut blocks = Blocks::new();
    for _ in 0..500 {
        let live: usize = blocks.iter().map(|block| block.1).sum();
        match input.byte() {
            _ if input.is_empty() => break,
            0..120 if live < 64 << 20 => allocate(&mut input, &mut blocks),
            120..160 if live < 64 << 20 => resize(&mut input, &mut blocks),
            160..168 => ask(&mut input),
            168 => drop(hak::hak_trim(input.number(3))),
            _ => free(&mut input, &mut blocks),
        }
    }
    for (at, ..) in blocks {
        // SAFETY: a live block.
        unsafe { family::free(at) };
    }
    // SAFETY: no other thread uses this heap.
    let walk = unsafe { hakmem::walk() }.unwrap_or_else(|broken| panic!("broken: {broken}"));
    assert_eq!(walk.user(), 0, "blocks in the program's hands");
});
