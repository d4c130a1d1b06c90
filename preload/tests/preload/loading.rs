//! How the library is loaded, and what is loaded beside it.

use std::path::PathBuf;
use std::process::Command;

use crate::common::{Kind, compile, library, linked, make, plain, preloaded, program, root, run};

/// Copies of a library under names of their own: to the loader, each is another library.
fn copies(original: &std::path::Path, name: &str, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|index| {
            make(format!("{name}-{index}.so"), |unfinished| {
                std::fs::copy(original, unfinished).expect("a library can be copied");
            })
        })
        .collect()
}

#[test]
fn plugins_with_thread_local_data_come_and_go() {
    let plugin = compile("plugin.c", Kind::Plugin).expect("a C compiler is required");
    run(preloaded(&program("plugins.c")).args(copies(&plugin, "plugin", 100))).passed();
}

#[test]
fn the_library_can_be_opened_at_run_time_many_times_over() {
    // glibc keeps about 1.6 KiB of static thread-local storage for libraries opened later; all
    // copies together have to fit, with room for the C library's own.
    run(plain(&program("opened.c")).args(copies(library(), "opened", 50))).passed();
}

#[test]
fn the_library_opened_at_run_time_beside_the_preloaded_one() {
    // Here "not preloaded" cannot hold; only that opening and using another copy works.
    let copy = copies(library(), "beside", 1).remove(0);
    let plugin_host = program("plugins.c");
    let outcome = run(preloaded(&plugin_host).arg(&copy));
    // The copy has no plugin functions: the program says so, after a successful dlopen.
    assert_eq!(outcome.code, Some(1), "{}", outcome.describe());
    assert!(outcome.stderr.contains("work[i] && take[i]"), "{}", outcome.describe());
}

/// Linked instead of preloaded. Compilers put the C library last, so ours is found first.
#[test]
fn linking_is_as_good_as_preloading() {
    let executable = make("linked", |unfinished| {
        let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
            .args(["-O1", "-fno-builtin", "-pthread", "-w", "-Wl,--as-needed"])
            .arg(root().join("tests/c/family.c"))
            .args(linked())
            .arg("-ldl")
            .arg("-o")
            .arg(unfinished)
            .output()
            .expect("the C compiler can be run");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    });
    run(&mut plain(&executable)).passed();
}
