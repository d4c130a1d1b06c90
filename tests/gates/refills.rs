//! The refill policies: how many blocks a refill brings, and whom it serves next.

use super::child;
use super::{FRONT, LEGACY_REFILL};
use crate::common::walk;
use hakmem::{raw, stats};

const FRONT_DIRECT: bool = cfg!(feature = "front-direct");

#[test]
fn a_refill_brings_what_its_policy_says() {
    child::run_with_layers("refills::a_refill_brings_what_its_policy_says", "", &[], || {
        let layers = stats().layers;
        let on: Vec<&str> =
            layers.iter().filter(|layer| layer.compiled_in).map(|layer| layer.name).collect();
        let brought = match on.as_slice() {
            _ if LEGACY_REFILL => 1,
            // What the super front cache has room for, and the one asked for.
            ["sfc"] if FRONT_DIRECT => 1 + 32,
            // Half of a magazine.
            [] => 16,
            // Some layers bring in their own batches.
            _ => return,
        };
        for block in 0..brought {
            assert!(!raw::malloc(64).is_null());
            assert_eq!(walk().cached, brought - 1 - block, "block {block}");
        }
        if !FRONT {
            return;
        }
        let served = stats().served.value().expect("compiled in");
        let direct = if FRONT_DIRECT { brought as u64 - 1 } else { 0 };
        assert_eq!((served.front_layers, served.new_slab), (direct, 1), "{served:?}");
        assert_eq!(served.total(), brought as u64);
    })
    .is_quiet();
}
