//! Any sequences of calls by three threads, each against its own model. Half-way the models change
//! hands, so that every block that is left is freed by a thread that did not allocate it; then the
//! threads end, and the next input finds their heaps parked.
#![no_main]

use hakmem_fuzz::Input;
use hakmem_fuzz::model::Model;
use libfuzzer_sys::fuzz_target;
use std::thread;

const THREADS: usize = 3;

/// Applies the calls of an input to every model, each in a thread of its own.
fn run(models: Vec<Model>, parts: &[&[u8]]) -> Vec<Model> {
    thread::scope(|scope| {
        let mut started = Vec::new();
        for (mut model, part) in models.into_iter().zip(parts) {
            started.push(scope.spawn(move || {
                let mut input = Input(part);
                while !input.is_empty() {
                    let call = input.call(&model);
                    model.apply(call);
                }
                model.check_all();
                model
            }));
        }
        let ended = started.into_iter().map(thread::ScopedJoinHandle::join);
        // The panic has been printed; libFuzzer keeps the input.
        ended.map(|model| model.unwrap_or_else(|_| std::process::abort())).collect()
    })
}

fuzz_target!(|data: &[u8]| {
    let data = &data[..data.len().min(3000)];
    let parts: Vec<&[u8]> = data.chunks(data.len().div_ceil(2 * THREADS).max(1)).collect();
    let (first, second) = parts.split_at(parts.len().min(THREADS));
    let mut models = run((0..first.len()).map(|_| Model::new()).collect(), first);
    if models.len() == THREADS {
        models.rotate_left(1);
        let rest = models.split_off(second.len());
        drop(run(models, second));
        drop(rest);
    }
    // SAFETY: the threads have ended.
    if let Err(broken) = unsafe { hakmem::walk() } {
        panic!("broken: {broken}");
    }
});
