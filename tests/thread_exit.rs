//! The end of threads and of the process, with hakmem as the global allocator: destructors of
//! thread-locals and of pthread keys allocate and free, in any order and in several rounds, and so
//! do `atexit` handlers, while other threads go on.

mod common;

use common::random::Random;
use common::{SANITIZED, child, rounds};
use hakmem::{Hakmem, raw};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

#[global_allocator]
static HEAP: Hakmem = Hakmem::new();

/// Walks a heap that is quiet but for this thread.
fn in_program() -> usize {
    common::walk().user()
}

/// Things of many sizes, and gone again.
fn churn(seed: u64, count: usize) {
    let mut random = Random::new(seed);
    let mut held: Vec<Vec<u8>> = Vec::new();
    for n in 0..count {
        let size = random.size(400_000);
        held.push(vec![n as u8; size]);
        if held.len() > 8 {
            let out = held.swap_remove(random.below(held.len()));
            assert!(out.iter().all(|&byte| byte == out[0]));
        }
    }
}

#[test]
fn the_global_allocator_is_hakmem() {
    let text = String::from("on the heap");
    assert!(raw::owns(text.as_ptr()));
    // SAFETY: a live block of this heap.
    assert!(unsafe { HEAP.usable_size(text.as_ptr()) } >= text.len());
}

/// Allocates when it is dropped, and wakes other thread-locals up while doing so.
struct Late(Vec<u8>, u32);

static DROPPED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FIRST: RefCell<Option<Late>> = const { RefCell::new(None) };
    static SECOND: RefCell<HashMap<usize, String>> = RefCell::new(HashMap::new());
    static THIRD: RefCell<Option<Late>> = const { RefCell::new(None) };
}

impl Drop for Late {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        assert!(self.0.iter().all(|&byte| byte == 7));
        churn(u64::from(self.1), 20);
        // May be gone already, or come to life for its own destruction.
        let _ = SECOND.try_with(|map| {
            if let Ok(mut map) = map.try_borrow_mut() {
                let count = map.len();
                map.insert(count, format!("{count} and counting"));
            }
        });
        if self.1 > 0 {
            let _ = THIRD.try_with(|place| {
                if let Ok(mut place) = place.try_borrow_mut() {
                    *place = Some(Late(vec![7; 1000], self.1 - 1));
                }
            });
        }
    }
}

#[test]
fn thread_locals_allocate_and_free_in_their_destructors() {
    let run = |count: usize| {
        let before = DROPPED.load(Ordering::Relaxed);
        for _ in 0..count {
            std::thread::spawn(|| {
                FIRST.with(|place| *place.borrow_mut() = Some(Late(vec![7; 3000], 2)));
                SECOND.with(|map| map.borrow_mut().insert(0, "zero".to_owned()));
                THIRD.with(|place| *place.borrow_mut() = Some(Late(vec![7; 300_000], 1)));
            })
            .join()
            .expect("the thread");
        }
        assert!(DROPPED.load(Ordering::Relaxed) >= before + 2 * count);
    };
    // In a child, where no other test allocates meanwhile.
    child::run("thread_locals_allocate_and_free_in_their_destructors", "", &[], || {
        run(3);
        let heaps = hakmem::stats().heaps;
        let used = in_program();
        run(rounds(300));
        assert_eq!(hakmem::stats().heaps, heaps, "a heap was lost at a thread's end");
        assert_eq!(in_program(), used, "destructors lost blocks");
    })
    .is_quiet();
}

const KEYS: usize = 8;

/// Made by [`make_keys`] before any thread that uses them. Not `OnceLock`s: a thread that waits for
/// another's first value is let on by std alone, where ThreadSanitizer does not look.
static KEY: [AtomicU32; KEYS] = [const { AtomicU32::new(u32::MAX) }; KEYS];
static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// A note that a destructor finds: which key, and how many rounds it still asks for.
struct Note {
    key: usize,
    left: usize,
    large: Vec<u8>,
}

unsafe extern "C" fn note_dropped(note: *mut c_void) {
    // SAFETY: the value was made by `leave_note`.
    let note = unsafe { Box::from_raw(note.cast::<Note>()) };
    ROUNDS.fetch_add(1, Ordering::Relaxed);
    assert!(note.large.iter().all(|&byte| byte == note.key as u8));
    churn(note.key as u64, 10);
    if note.left > 0 {
        leave_note(note.key, note.left - 1);
    }
}

fn make_keys() {
    for key in &KEY {
        let mut made = 0;
        // SAFETY: a valid place and a destructor.
        assert_eq!(unsafe { libc::pthread_key_create(&mut made, Some(note_dropped)) }, 0);
        key.store(made, Ordering::Relaxed);
    }
}

fn leave_note(key: usize, left: usize) {
    let note = Box::new(Note { key, left, large: vec![key as u8; 1000 << (2 * left)] });
    let key = KEY[key].load(Ordering::Relaxed);
    // SAFETY: the key exists; the destructor takes the box back.
    assert_eq!(unsafe { libc::pthread_setspecific(key, Box::into_raw(note).cast()) }, 0);
}

#[test]
fn pthread_keys_allocate_and_free_in_every_round() {
    let run = |count: usize| {
        let before = ROUNDS.load(Ordering::Relaxed);
        for _ in 0..count {
            std::thread::spawn(|| (0..KEYS).for_each(|key| leave_note(key, 2)))
                .join()
                .expect("the thread");
        }
        assert_eq!(ROUNDS.load(Ordering::Relaxed) - before, count * KEYS * 3);
    };
    child::run("pthread_keys_allocate_and_free_in_every_round", "", &[], || {
        make_keys();
        run(3);
        let heaps = hakmem::stats().heaps;
        let used = in_program();
        run(rounds(300));
        assert_eq!(hakmem::stats().heaps, heaps, "a heap was lost at a thread's end");
        assert_eq!(in_program(), used, "destructors lost blocks");
    })
    .is_quiet();
}

#[test]
fn threads_that_end_at_once_with_late_destructors() {
    child::run("threads_that_end_at_once_with_late_destructors", "", &[], || {
        make_keys();
        for _ in 0..rounds(5) {
            let threads = [(); 50].map(|()| {
                std::thread::spawn(|| {
                    FIRST.with(|place| *place.borrow_mut() = Some(Late(vec![7; 100], 2)));
                    // In the last round a sanitizer has already left the thread.
                    let rounds = if SANITIZED { 2 } else { 3 };
                    (0..KEYS).for_each(|key| leave_note(key, rounds));
                })
            });
            // Joined, not scoped: a scope ends before the destructors have run.
            for thread in threads {
                thread.join().expect("a thread");
            }
        }
        in_program();
    })
    .is_quiet();
}

static HANDLERS_RAN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn at_exit() {
    churn(1, 50);
    HANDLERS_RAN.fetch_add(1, Ordering::Relaxed);
    if HANDLERS_RAN.load(Ordering::Relaxed) < 3 {
        // SAFETY: a function of this program. Registered while handlers run: it runs next.
        unsafe { libc::atexit(at_exit) };
    } else {
        println!("handlers ran");
    }
}

#[test]
fn exit_handlers_allocate() {
    let ended = child::run("exit_handlers_allocate", "", &[], || {
        // SAFETY: a function of this program.
        unsafe { libc::atexit(at_exit) };
        churn(2, 100);
    });
    if !child::is_child() {
        ended.is_quiet();
        assert!(ended.stdout.contains("handlers ran"), "{ended:#?}");
    }
}

#[test]
fn the_process_ends_while_threads_go_on() {
    for case in 0..rounds(30) {
        child::run("the_process_ends_while_threads_go_on", &case.to_string(), &[], || {
            static READY: AtomicUsize = AtomicUsize::new(0);
            // SAFETY: a function of this program.
            unsafe { libc::atexit(at_exit) };
            let (send, receive) = std::sync::mpsc::channel::<Vec<u8>>();
            let receive = std::sync::Arc::new(std::sync::Mutex::new(receive));
            for seed in 0..4 {
                let send = send.clone();
                let receive = std::sync::Arc::clone(&receive);
                std::thread::spawn(move || {
                    READY.fetch_add(1, Ordering::Relaxed);
                    for round in 0.. {
                        churn(seed + round, 20);
                        let _ = send.send(vec![1; 10 + round as usize % 5000]);
                        // Blocks of other threads, freed while the process goes down.
                        drop(receive.lock().map(|receive| receive.try_recv()));
                    }
                });
            }
            while READY.load(Ordering::Relaxed) < 4 {
                std::thread::yield_now();
            }
            let mine = vec![3u8; 100_000];
            let _ = send.send(mine);
            churn(case as u64, 30);
        })
        .is_quiet();
    }
}

#[test]
fn main_leaves_while_a_thread_is_being_born() {
    for case in 0..rounds(20) {
        child::run("main_leaves_while_a_thread_is_being_born", &case.to_string(), &[], || {
            static STOP: AtomicBool = AtomicBool::new(false);
            make_keys();
            for _ in 0..3 {
                std::thread::spawn(|| {
                    while !STOP.load(Ordering::Relaxed) {
                        let born = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
                            FIRST.with(|place| *place.borrow_mut() = Some(Late(vec![7; 100], 1)));
                            leave_note(0, 1);
                        });
                        if let Ok(born) = born {
                            let _ = born.join();
                        }
                    }
                });
            }
            churn(case as u64, 100);
        })
        .is_quiet();
    }
}
