//! Looks at the kernel's view of this process: resident pages, mappings, limits.

use std::fs;

/// Size of a page, in bytes.
pub const PAGE: usize = 4096;

/// Resident memory of the process, in bytes.
pub fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
    pages * PAGE
}

/// Address space of the process, in bytes.
pub fn address_space() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc/self/statm");
    let pages: usize = statm.split(' ').next().and_then(|n| n.parse().ok()).expect("pages");
    pages * PAGE
}

/// Resident pages of a range; `None` if part of it is not mapped.
pub fn resident_pages(at: *const u8, bytes: usize) -> Option<usize> {
    let start = at.addr() & !(PAGE - 1);
    let pages = (at.addr() + bytes - start).div_ceil(PAGE);
    let mut states = vec![0u8; pages];
    // SAFETY: the kernel checks the range; the vector has a byte per page.
    let failed = unsafe {
        libc::mincore(at.with_addr(start).cast_mut().cast(), pages * PAGE, states.as_mut_ptr())
    };
    (failed == 0).then(|| states.iter().filter(|&&state| state & 1 == 1).count())
}

/// The `VmFlags` of the mapping that holds this address.
pub fn flags_of(at: *const u8) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/smaps").expect("/proc/self/smaps");
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((from, to)) = range
            && let (Ok(from), Ok(to)) =
                (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        {
            inside = (from..to).contains(&at.addr());
        }
        if inside && let Some(flags) = line.strip_prefix("VmFlags: ") {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("{at:p} is not mapped");
}

/// Limits the address space of this process to what it has plus `more` bytes.
pub fn limit_address_space(more: usize) {
    let limit = (address_space() + more) as libc::rlim_t;
    set_limit(limit);
}

/// Lifts the limit again.
pub fn lift_limit() {
    set_limit(libc::RLIM_INFINITY);
}

fn set_limit(limit: libc::rlim_t) {
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limits) }, 0, "setrlimit");
}

/// `errno` of this thread.
pub fn errno() -> i32 {
    // SAFETY: the location is valid for the calling thread.
    unsafe { *libc::__errno_location() }
}

/// Sets `errno` of this thread.
pub fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}
