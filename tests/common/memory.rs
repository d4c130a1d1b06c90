//! Looks at the kernel's view of this process: resident pages, mappings, limits.

use std::fs;

/// Size of a page, in bytes.
pub const PAGE: usize = 4096;

/// Resident memory of the process that no file backs, in bytes. (Code becomes resident as it is first
/// executed, with its neighbours.)
pub fn resident() -> usize {
    walked("Anonymous:")
}

/// Resident memory of the process, in bytes.
pub fn resident_with_files() -> usize {
    walked("Rss:")
}

/// A sum over the page tables, which is exact: what `statm` says is summed from counters of each
/// processor, and may be off by half a megabyte for each of them.
fn walked(name: &str) -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("/proc/self/smaps_rollup");
    let row = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("a row");
    let kib: usize = row.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib * 1024
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
    set_limit(libc::RLIMIT_AS, limit);
}

/// Lifts the limit again.
pub fn lift_limit() {
    set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
}

/// Limits the memory that this process may write to, as a system does that never overcommits: what
/// it has plus `more` bytes.
pub fn limit_data(more: usize) {
    let status = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("VmData");
    let kib: usize = data.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    set_limit(libc::RLIMIT_DATA, (kib * 1024 + more) as libc::rlim_t);
}

/// Lifts that limit again.
pub fn lift_data() {
    set_limit(libc::RLIMIT_DATA, libc::RLIM_INFINITY);
}

/// Lifts both as far as may be. Never fails.
pub fn lift_all() {
    for resource in [libc::RLIMIT_AS, libc::RLIMIT_DATA] {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid rlimit, filled in by the first call.
        unsafe {
            if libc::getrlimit(resource, &mut limits) == 0 {
                limits.rlim_cur = limits.rlim_max;
                libc::setrlimit(resource, &limits);
            }
        }
    }
}

fn set_limit(resource: libc::__rlimit_resource_t, limit: libc::rlim_t) {
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(resource, &limits) }, 0, "setrlimit");
}

/// A mapping of the test's own, outside of every heap; null if the system refuses.
pub fn mapping(bytes: usize, protection: i32) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { std::ptr::null_mut() } else { at.cast() }
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
