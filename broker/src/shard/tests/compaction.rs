//! Logs that compaction fails for, beside others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use metadata::record::ConfigResource;

use super::*;

fn topic_config(name: &str, value: &str) -> MetadataRecord {
    let resource = ConfigResource::Topic(TOPIC.to_owned());
    MetadataRecord::ConfigChanged { resource, name: name.to_owned(), value: Some(value.to_owned()) }
}

fn broker_config(name: &str, value: &str) -> MetadataRecord {
    let resource = ConfigResource::Broker(BrokerId(HERE));
    MetadataRecord::ConfigChanged { resource, name: name.to_owned(), value: Some(value.to_owned()) }
}

impl RunningShard {
    /// With so many partitions of a topic that is not compacted yet; looks for logs to compact only when configs change.
    async fn start_without_backoff(root: &Path, partitions: usize) -> RunningShard {
        let image = image_of(&[HERE, OTHER], &vec![(&[HERE][..], Some(HERE), 0); partitions]);
        let mut shard = RunningShard::start(root, &image).await;
        let backoff = broker_config("log.cleaner.backoff.ms", "3600000");
        shard.apply(&[backoff, topic_config("internal.segment.bytes", "8192")]).await;
        shard
    }

    /// Writes some segments in which most records are superseded.
    async fn fill(&self, partition: i32) {
        for at in 0..40u8 {
            let mut builder = BatchBuilder::new();
            builder.append(now_ms(), Some(&[b'k', at % 5]), Some(&[at; 900]), &[]);
            self.begin_produce_of(partition, Acks::All, builder.build()).await.await.unwrap();
        }
    }

    /// Resolves when the metrics are like that.
    async fn until(&self, metrics: impl Fn(&ShardMetrics) -> bool) {
        while !metrics(&self.metrics) {
            Timer::new(Duration::from_millis(5)).await;
        }
    }
}

/// Changes a byte in the first batch of a partition, which is sealed.
fn damage(root: &Path, partition: i32) {
    let path = root.join(format!("{TOPIC}-{partition}")).join("00000000000000000000.log");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4_096 + 150).unwrap();
    file.write_all_at(&[!byte[0]], 4_096 + 150).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_damaged_log_is_left_alone_as_long_as_it_is_there() {
    with_root(|root| async move {
        let mut shard = RunningShard::start_without_backoff(&root, 3).await;
        for at in 0..3 {
            shard.fill(at).await;
        }
        // Whichever of them comes first, the others come without another look.
        damage(&root, 0);
        damage(&root, 1);
        let compact = topic_config("cleanup.policy", "compact");
        shard.apply(std::slice::from_ref(&compact)).await;
        shard.until(|metrics| metrics.uncleanable_partitions.get() == 2 && metrics.compactions.get() == 1).await;

        shard.apply(&[partition(TOPIC_ID, 0, (&[OTHER], Some(OTHER), 1))]).await;
        shard.apply(&[partition(TOPIC_ID, 0, (&[HERE], Some(HERE), 2))]).await;
        shard.fill(0).await;
        shard.apply(&[topic_config("retention.ms", "-1")]).await;
        shard.until(|metrics| metrics.uncleanable_partitions.get() == 1 && metrics.compactions.get() == 2).await;

        shard.apply(&[MetadataRecord::TopicDeleted { topic_id: TOPIC_ID }]).await;
        shard.apply(&[broker_config("log.cleaner.backoff.ms", "3600001")]).await;
        shard.until(|metrics| metrics.uncleanable_partitions.get() == 0).await;
        shard.stop().await;
    });
}

#[test]
fn a_log_that_cannot_be_written_now_holds_up_no_other() {
    with_root(|root| async move {
        let mut shard = RunningShard::start_without_backoff(&root, 2).await;
        let [delete, compact] = ["delete", "compact"].map(|policy| [topic_config("cleanup.policy", policy)]);
        shard.fill(1).await;
        shard.apply(&compact).await;
        shard.until(|metrics| metrics.compactions.get() == 1).await;
        shard.apply(&delete).await;
        // The other one is the dirtiest now, and what a pass would write cannot be.
        shard.fill(1).await;
        shard.fill(0).await;
        let in_the_way = root.join(format!("{TOPIC}-0")).join("compacted.tmp");
        fs::create_dir(&in_the_way).unwrap();
        shard.apply(&compact).await;
        shard.until(|metrics| metrics.compactions.get() == 2).await;
        // It is dirty still, and left alone.
        shard.until(|metrics| metrics.max_dirty_ratio.get() == 1_000_000).await;
        shard.until(|metrics| metrics.uncleanable_partitions.get() == 1).await;

        shard.apply(&[broker_config("log.cleaner.enable", "false")]).await;
        shard.until(|metrics| metrics.max_dirty_ratio.get() == 0).await;
        shard.stop().await;
    });
}
