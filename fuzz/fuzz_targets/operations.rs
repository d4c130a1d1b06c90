//! Any sequence of calls by one thread against the model: blocks that overlap, lose a byte, are badly
//! aligned or shorter than asked for. At the end everything is freed and the walker looks at all of
//! the heap.
#![no_main]

use hakmem_fuzz::Input;
use hakmem_fuzz::model::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut model = Model::new();
    for _ in 0..1000 {
        if input.is_empty() {
            break;
        }
        let call = input.call(&model);
        model.apply(call);
    }
    model.check_all();
    // SAFETY: no other thread uses this heap.
    let walk = unsafe { hakmem::walk() }.unwrap_or_else(|broken| panic!("broken: {broken}"));
    assert_eq!(walk.user(), model.in_slabs(), "blocks in the program's hands");
    model.clear();
});
