//! A log's behaviour without accidents, on the simulated disk with many interleavings.

mod common;

use std::path::Path;

use common::{ROOT, run_sim, sim};

#[test]
fn everything_on_a_simulated_disk() {
    for seed in 0..20 {
        println!("seed {seed}");
        let storage = sim(seed);
        run_sim(&storage, common::suite::everything(&storage, Path::new(ROOT))).expect("no power cut was asked for");
    }
}
