//! Statistics on a signal: whatever the process is doing, without an end to it.

use super::Blocks;
use super::child;
use hakmem::raw;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const USR1: [(&str, &str); 1] = [("HAKMEM_STATS_SIGNAL", "USR1")];

fn raise() {
    // SAFETY: a signal to this thread.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
}

/// Dumps that a child has written.
fn dumps(ended: &child::Ended) -> usize {
    ended.is_good();
    let whole = ended.stderr.matches("  hdr_mismatch_log").count();
    assert_eq!(ended.stderr.matches(" statistics\n").count(), whole, "{ended:#?}");
    assert_eq!(ended.stderr.matches("in_use_bytes").count(), whole, "{ended:#?}");
    whole
}

#[test]
fn a_signal_prints_and_the_program_goes_on() {
    let ended = child::run("signal::a_signal_prints_and_the_program_goes_on", "", &USR1, || {
        Blocks::malloc(64, 3).free();
        for _ in 0..3 {
            raise();
        }
        Blocks::malloc(64, 3).free();
    });
    if !child::is_child() {
        assert_eq!(dumps(&ended), 3);
    }
}

#[test]
fn a_signal_can_be_chosen_by_call() {
    let ended = child::run("signal::a_signal_can_be_chosen_by_call", "", &[], || {
        Blocks::malloc(64, 3).free();
        hakmem::set_config("STATS_SIGNAL", "usr1").expect("a setting");
        raise();
    });
    if !child::is_child() {
        assert_eq!(dumps(&ended), 1);
    }
}

#[test]
fn threads_inside_the_heap_are_interrupted_without_harm() {
    const SIGNALS: usize = 300;
    let test = "signal::threads_inside_the_heap_are_interrupted_without_harm";
    let ended = child::run(test, "", &USR1, || {
        static STOP: AtomicBool = AtomicBool::new(false);
        static AT_WORK: AtomicUsize = AtomicUsize::new(0);
        let work = || {
            let mut round = 0;
            AT_WORK.fetch_add(1, Ordering::Relaxed);
            while !STOP.load(Ordering::Relaxed) {
                round += 1;
                // The arena's, the mappings' and the metadata's locks, over and over.
                for size in [64, 40_000, 300_000, 3 << 20, 20 << 20] {
                    Blocks::malloc(size + round % 100, 3).free();
                }
                raw::collect();
            }
        };
        // The handler is there from the first allocation on.
        Blocks::malloc(64, 1).free();
        let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(work)).collect();
        while AT_WORK.load(Ordering::Relaxed) < threads.len() {
            std::thread::yield_now();
        }
        use std::os::unix::thread::JoinHandleExt;
        for signal in 0..SIGNALS {
            // SAFETY: a thread that has not been joined.
            unsafe { libc::pthread_kill(threads[signal % 2].as_pthread_t(), libc::SIGUSR1) };
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
        STOP.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        // SAFETY: the only thread left.
        unsafe { hakmem::walk() }.unwrap_or_else(|broken| panic!("{broken}"));
    });
    if !child::is_child() {
        ended.is_good();
        // Signals that meet one still waiting are one, however many these are on a busy machine; lines
        // of two threads may mingle.
        let printed = ended.stderr.matches("in_use_bytes").count();
        assert!((1..=SIGNALS).contains(&printed), "{printed} dumps");
        assert!(ended.lines().is_empty(), "{ended:#?}");
    }
}

#[test]
fn a_handler_of_the_program_is_left_alone() {
    extern "C" fn theirs(_: libc::c_int) {}
    let ended = child::run("signal::a_handler_of_the_program_is_left_alone", "", &USR1, || {
        // SAFETY: a handler that does nothing.
        unsafe { libc::signal(libc::SIGUSR1, theirs as *const () as usize) };
        Blocks::malloc(64, 3).free();
        raise();
    });
    if !child::is_child() {
        ended.is_good();
        assert_eq!(ended.stderr.matches("in_use_bytes").count(), 0);
        assert_eq!(ended.lines().len(), 1, "{ended:#?}");
        assert!(ended.lines()[0].contains("HAKMEM_STATS_SIGNAL=usr1"), "{ended:#?}");
    }
}

#[test]
fn without_the_setting_a_signal_is_the_programs() {
    let ended = child::run("signal::without_the_setting_a_signal_is_the_programs", "", &[], || {
        Blocks::malloc(64, 3).free();
        raise();
    });
    if !child::is_child() {
        assert_eq!(ended.signal, Some(libc::SIGUSR1), "{ended:#?}");
    }
    let bad = [("HAKMEM_STATS_SIGNAL", "KILL")];
    let ended =
        child::run("signal::without_the_setting_a_signal_is_the_programs", "bad", &bad, || {
            Blocks::malloc(64, 3).free();
        });
    if !child::is_child() {
        ended.is_good();
        assert_eq!(ended.lines().len(), 1, "{ended:#?}");
        assert!(ended.lines()[0].contains("expected off, usr1, usr2, hup, quit"), "{ended:#?}");
    }
}
