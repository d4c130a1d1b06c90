//! What the process used: clocks and resident memory, read without touching the heap.

/// Wall and processor time in nanoseconds and page faults, at one moment or since one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Wall time.
    pub wall: u64,
    /// Processor time of all threads.
    pub cpu: u64,
    /// Page faults that needed no disk: memory touched for the first time.
    pub faults: u64,
}

impl Clock {
    /// Reads them.
    pub fn now() -> Self {
        // SAFETY: all-zero bytes are a valid `rusage`, and the call fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = core::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            usage
        };
        Self {
            wall: read(libc::CLOCK_MONOTONIC),
            cpu: read(libc::CLOCK_PROCESS_CPUTIME_ID),
            faults: usage.ru_minflt as u64,
        }
    }

    /// What went by since `self`.
    pub fn elapsed(self) -> Self {
        let now = Self::now();
        Self {
            wall: now.wall - self.wall,
            cpu: now.cpu - self.cpu,
            faults: now.faults - self.faults,
        }
    }
}

impl core::ops::AddAssign for Clock {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.faults += other.faults;
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable, and both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Resident memory now, in KiB: the exact walk of the page tables, not the kernel's batched
/// counter (which lags by up to half a megabyte).
pub fn resident_kib() -> u64 {
    field(c"/proc/self/smaps_rollup", b"Rss:").unwrap_or(0)
}

/// The highest resident memory so far, in KiB.
pub fn peak_kib() -> u64 {
    field(c"/proc/self/status", b"VmHWM:").unwrap_or(0)
}

/// The number after `name` in a file of `name: number kB` lines.
fn field(path: &core::ffi::CStr, name: &[u8]) -> Option<u64> {
    let mut text = [0u8; 4096];
    let mut len = 0;
    // SAFETY: the path is a C string; reads stay inside `text`; the descriptor is closed once.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        loop {
            let got = libc::read(file, text[len..].as_mut_ptr().cast(), text.len() - len);
            if got <= 0 {
                break;
            }
            len += got as usize;
        }
        libc::close(file);
    }
    let text = &text[..len];
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = text[at..].iter().copied().skip_while(|b| !b.is_ascii_digit());
    let digits = digits.take_while(u8::is_ascii_digit);
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        assert!(resident_kib() > 100);
        assert!(peak_kib() > 100);
        assert_eq!(field(c"/proc/self/status", b"NoSuchField:"), None);
        assert_eq!(field(c"/nonexistent", b"Rss:"), None);
    }

    #[test]
    fn clocks_advance() {
        // Each by itself: the threads of other tests spend processor time as well.
        let clock = Clock::now();
        let mut looks = (0..10_000_000).map(|_| clock.elapsed());
        assert!(looks.any(|since| since.cpu >= 1000 && since.wall >= 1000));
    }
}
