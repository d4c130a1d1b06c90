//! The heap against a model: random sequences of every call, each block distinct, aligned, as long
//! as asked for and keeping its contents; the walker's books agree with the model's.

mod common;

use common::model::{Call, Model};
use common::random::Random;
use common::{alone, join_all, number, rounds, walk};
use hakmem::raw;
use proptest::prelude::*;
use std::sync::mpsc;

const MOST: usize = 4 << 20;

/// Blocks of this model that slabs serve must be just what the walker finds in the program's hands
/// beyond `before`.
fn books_agree(model: &Model, before: usize) {
    assert_eq!(walk().user(), before + model.in_slabs(), "blocks in the program's hands");
    let stats = hakmem::stats();
    assert!(stats.mapped_bytes >= stats.in_use_bytes);
    assert!(stats.in_use_bytes >= model.live_bytes());
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..=256usize,
        3 => 0..=2048usize,
        2 => 0..=(64usize << 10),
        1 => 0..=MOST,
        1 => (0..=22u32, 0..3usize).prop_map(|(shift, by)| (1usize << shift) + by - 1),
    ]
}

fn aligns() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => (0..7u32).prop_map(|shift| 1usize << shift),
        2 => (0..14u32).prop_map(|shift| 1usize << shift),
        1 => (0..23u32).prop_map(|shift| 1usize << shift),
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => sizes().prop_map(Call::Malloc),
        2 => (1..9usize, sizes()).prop_map(|(count, size)| Call::Calloc(count, size / count)),
        2 => (aligns(), sizes()).prop_map(|(align, size)| Call::Aligned(align, size)),
        4 => (sizes(), aligns()).prop_map(|(size, align)| Call::Rust(size, align)),
        2 => (sizes(), aligns()).prop_map(|(size, align)| Call::RustZeroed(size, align)),
        4 => (any::<usize>(), sizes()).prop_map(|(index, size)| Call::Realloc(index, size)),
        8 => any::<usize>().prop_map(Call::Free),
        4 => any::<usize>().prop_map(Call::FreeSized),
        1 => Just(Call::Collect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: rounds(64) as u32,
        // Neither Miri nor a read-only checkout can keep a file of failures.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_calls_keeps_the_promises(
        calls in proptest::collection::vec(calls(), 1..=rounds(300))
    ) {
        let _alone = alone();
        let before = walk().user();
        let mut model = Model::new();
        for call in calls {
            model.apply(call);
        }
        model.check_all();
        books_agree(&model, before);
        model.clear();
        books_agree(&model, before);
    }
}

/// Seeded and longer. `MODEL_CALLS` sets the number of calls, `MODEL_SEED` the seed.
#[test]
fn a_long_run_keeps_the_promises() {
    let _alone = alone();
    let seed = number("MODEL_SEED", 1) as u64;
    let total = number("MODEL_CALLS", rounds(100_000));
    let mut random = Random::new(seed);
    let before = walk().user();
    let mut model = Model::new();
    for step in 0..total {
        // Grow, shrink, and grow again, so that slabs come, empty and go.
        let aim = [50, 2000, 300, 5000, 10][step * 10 / total % 5];
        let call = model.call(&mut random, aim);
        model.apply(call);
        if step % 1000 == 999 {
            books_agree(&model, before);
        }
        if step % 10_000 == 9_999 {
            model.check_all();
        }
    }
    model.clear();
    books_agree(&model, before);
    raw::collect();
    books_agree(&model, before);
}

/// Every thread has a model of its own; blocks travel to other threads, which check and free them.
#[test]
fn threads_with_a_model_each_do_not_meet() {
    let _alone = alone();
    let before = walk().user();
    std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|seed| {
            scope.spawn(move || {
                let mut random = Random::new(100 + seed);
                let mut model = Model::new();
                for _ in 0..rounds(30_000) {
                    let call = model.call(&mut random, 500);
                    model.apply(call);
                }
                model.check_all();
            })
        });
        join_all(threads);
    });
    assert_eq!(walk().user(), before, "every model freed its blocks at its end");
}

/// Models move to another thread while their blocks live; the thread that made them is gone.
#[test]
fn models_outlive_the_thread_that_made_them() {
    let _alone = alone();
    let before = walk().user();
    let (send, receive) = mpsc::channel::<Model>();
    for seed in 0..rounds(20) as u64 {
        let send = send.clone();
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            let mut model = Model::new();
            for _ in 0..rounds(2000) {
                let call = model.call(&mut random, 300);
                model.apply(call);
            }
            send.send(model).expect("the receiver waits");
        })
        .join()
        .expect("the thread");
        let mut model = receive.recv().expect("a model");
        model.check_all();
        books_agree(&model, before);
        // Go on with blocks of the finished thread.
        let mut random = Random::new(seed);
        for _ in 0..rounds(2000) {
            let call = model.call(&mut random, 100);
            model.apply(call);
        }
        books_agree(&model, before);
        drop(model);
        assert_eq!(walk().user(), before);
    }
}
