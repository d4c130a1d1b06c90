//! Classes out of range: `metric-bad-class`, `p0-class-oob-log`. No table gives any, so the tests
//! hand them in where the tables' would go.

use super::child;
use super::{BAD_CLASS, OOB_LOG};
use hakmem::{BadClasses, Events, Reading, fault, raw, stats};

#[test]
fn bad_classes_are_counted_and_refused() {
    const THREADS: u64 = 3;
    child::run("classes::bad_classes_are_counted_and_refused", "", &[], || {
        assert!(!raw::malloc(64).is_null());
        if !BAD_CLASS {
            assert_eq!(stats().bad_classes, Reading::NotCompiledIn("metric-bad-class"));
            assert!(fault::malloc_of_class(200).is_null());
            return;
        }
        assert_eq!(stats().bad_classes, Reading::Value(BadClasses::default()));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                std::thread::spawn(|| {
                    for class in [98, 99, 200, 255, usize::MAX] {
                        assert!(fault::malloc_of_class(class).is_null(), "{class}");
                    }
                    // The largest class is in range.
                    let at = fault::malloc_of_class(97);
                    // A block above the thread cache is found by its address.
                    let large = raw::malloc(1 << 20);
                    // SAFETY: blocks in use; the class of one is out of range.
                    unsafe {
                        raw::free(at);
                        fault::free_of_class(large, 98);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        let wanted = BadClasses { allocations: 5 * THREADS, frees: THREADS };
        assert_eq!(stats().bad_classes, Reading::Value(wanted));
    })
    .is_quiet();
}

#[test]
fn a_block_of_a_slab_is_not_freed_as_a_bad_class() {
    let test = "classes::a_block_of_a_slab_is_not_freed_as_a_bad_class";
    let ended = child::run(test, "", &[], || {
        // SAFETY: a block in use; that its class is out of range ends the process.
        unsafe { fault::free_of_class(raw::malloc(64), 98) };
    });
    if child::is_child() {
        return;
    }
    if BAD_CLASS {
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        assert!(ended.lines().len() == 1 && ended.stderr.contains("class C3 (64 bytes)"));
    } else {
        ended.is_quiet();
    }
}

#[test]
fn refills_out_of_bounds_are_logged() {
    child::run("classes::refills_out_of_bounds_are_logged", "", &[], || {
        assert!(!raw::malloc(64).is_null());
        if !OOB_LOG {
            assert_eq!(Events::ClassOobLog.count(), Reading::NotCompiledIn("p0-class-oob-log"));
            assert!(fault::refill_of_class(98).is_null());
            return;
        }
        assert_eq!(Events::ClassOobLog.count(), Reading::Value(0));
        let classes = [0, 98, 1000];
        assert!(classes.iter().all(|&class| fault::refill_of_class(class).is_null()));
        let at = fault::refill_of_class(97);
        // SAFETY: a block in use.
        unsafe { raw::free(at) };
        let mut seen = Vec::new();
        assert!(Events::ClassOobLog.each(|event| {
            seen.push((event.order as usize, event.class));
            assert_eq!((event.name, event.address), ("refused", None));
        }));
        assert_eq!(seen, [(0, 0), (1, 98), (2, 1000)]);
        // The log keeps the first 64; the number goes on.
        let refill = || (0..50).for_each(|_| assert!(fault::refill_of_class(98).is_null()));
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(refill)).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        assert_eq!(Events::ClassOobLog.count(), Reading::Value(203));
        let mut entries = 0;
        Events::ClassOobLog.each(|_| entries += 1);
        assert_eq!(entries, 64);
    })
    .is_quiet();
}
