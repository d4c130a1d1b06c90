//! Any name and value for a setting, as the environment and `hak_config_set` hand them on: taken or
//! refused, printed, and the heap works on. Files are left alone.
#![no_main]

use hakmem::{ConfigError, raw};
use hakmem_fuzz::Input;
use libfuzzer_sys::fuzz_target;

const NAMES: &[&str] = &[
    "MODE",
    "TINY_MAX_CLASS",
    "PREWARM",
    "BIGCACHE",
    "FRONT_LAYERS",
    "THREAD_CACHE_BYTES",
    "LARGE_THRESHOLD",
    "BATCH",
    "FREE_POLICY",
    "THP",
    "DECAY_MS",
    "WORKER",
    "MEM_LIMIT",
    "ELO",
    "EVOLUTION",
    "POOL_HOTBOX",
    "STATS",
    "PRINT_CONFIG",
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    while !input.is_empty() {
        let known = usize::from(input.byte());
        let any = String::from_utf8_lossy(input.text(40)).into_owned();
        let name = NAMES.get(known % (NAMES.len() + 2)).map_or(any.as_str(), |name| name);
        let value = String::from_utf8_lossy(input.text(60)).into_owned();
        if name.contains("FILE") || name.contains("STATS") {
            // Would write files, or a report at exit.
            continue;
        }
        let taken = hakmem::set_config(name, &value);
        assert!(
            taken != Err(ConfigError::UnknownName) || !NAMES.contains(&name),
            "`{name}` is not known"
        );
    }
    let mut printed = String::new();
    hakmem::print_config(&mut printed).expect("a string takes everything");
    assert!(printed.is_ascii(), "what is not ASCII is shown as `?`");
    for size in [8, 700, 40_000, 300_000, 3 << 20] {
        let at = raw::malloc(size);
        if !at.is_null() {
            // SAFETY: a live block of this size.
            unsafe {
                at.write_bytes(1, size);
                raw::free(at);
            }
        }
    }
});
