//! A log's behaviour without accidents, on the simulated disk with many interleavings.

mod common;

use std::path::Path;

use common::{
    BatchSpec, ROOT, START_MS, append, batch, dir, fill, identity, log_config, run_sim, shard_config, sim, with_shard,
};
use protocol::{LeaderEpoch, Offset};
use wal::{Log, ShardWal};

#[test]
fn everything_on_a_simulated_disk() {
    for seed in 0..20 {
        println!("seed {seed}");
        let storage = sim(seed);
        run_sim(&storage, common::suite::everything(&storage, Path::new(ROOT))).expect("no power cut was asked for");
    }
}

/// A truncation that cuts nothing waits for no commit: a follower makes one whenever it begins to follow.
#[test]
fn a_truncation_at_the_end_waits_for_no_commit() {
    let storage = sim(1);
    run_sim(&storage, async {
        let shard = ShardWal::new(storage.clone(), ROOT.into(), shard_config());
        let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), log_config(), START_MS).await.unwrap();
        let work = async {
            fill(&log, 1, 100, 3).await;
            append(&log, &mut batch(&BatchSpec::plain(1, 10, START_MS)), 3, START_MS).await.unwrap();
            log.assign_epoch(LeaderEpoch(4));
            assert_eq!(log.truncate_to(Offset(11)).await.unwrap(), Offset(11));
            assert_eq!((log.durable_end_offset(), log.latest_epoch()), (Offset(10), Some(LeaderEpoch(3))));
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
}
