//! `replication-offset-checkpoint`: high watermarks on disk, so that a broker which starts knows what was committed before
//! other replicas have told it again (Kafka has a file of this name for the same).
//!
//! Shards say now and then how far their replicated partitions are; one file holds them all, written anew each time and renamed
//! into place. It may be some seconds old, which costs nothing but a moment in which less can be read: whoever leads learns
//! better from its followers, whoever follows from its leader. A file that cannot be read is as good as none.
//!
//! Text: a version, the number of lines that follow, a line for each partition (topic id, partition, offset), and the CRC-32 of
//! all that.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_channel::oneshot;
use protocol::{Offset, PartitionId, TopicId};
use tokio::sync::mpsc;

use crate::partition::PartitionKey;

/// Name of the file in the data directory.
pub const FILE: &str = "replication-offset-checkpoint";
const NEW_FILE: &str = "replication-offset-checkpoint.new";
const VERSION: &str = "1";
/// How often shards say how far they are.
pub const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// High watermarks by partition.
pub type HighWatermarks = HashMap<PartitionKey, Offset, RandomState>;

/// What is said to whoever writes the file.
pub enum Note {
    /// All that a shard has to say: what it said before counts no more.
    OfShard { shard: usize, high_watermarks: HighWatermarks },
    /// No more of this partition is committed: its log is about to be cut there. `stored` is told when that is on disk, or cannot
    /// be.
    Lowered { key: PartitionKey, to: Offset, stored: oneshot::Sender<()> },
    /// All shards have ended.
    End,
}

/// What the file says; nothing if there is none.
pub fn load(data_dir: &Path) -> HighWatermarks {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return HighWatermarks::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "high watermarks cannot be read: replicas tell them again");
            return HighWatermarks::default();
        }
    };
    parse(&text).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "high watermarks are damaged: replicas tell them again");
        HighWatermarks::default()
    })
}

/// Writes what shards say, until they have ended. What was `known` at the start stays until a shard has said better: some take
/// longer than others, and partitions that could not be opened are not spoken of.
pub async fn run(data_dir: PathBuf, mut known: HighWatermarks, mut notes: mpsc::UnboundedReceiver<Note>) {
    let mut by_shard: HashMap<usize, HighWatermarks> = HashMap::new();
    let mut ended = false;
    while !ended {
        let mut waiting = Vec::new();
        let mut next = notes.recv().await;
        while let Some(note) = next {
            match note {
                Note::OfShard { shard, high_watermarks } => {
                    known.retain(|key, _| !high_watermarks.contains_key(key));
                    by_shard.insert(shard, high_watermarks);
                }
                Note::Lowered { key, to, stored } => {
                    let noted = by_shard.values_mut().chain([&mut known]).filter_map(|noted| noted.get_mut(&key));
                    noted.for_each(|offset| *offset = to.min(*offset));
                    waiting.push(stored);
                }
                Note::End => ended = true,
            }
            next = notes.try_recv().ok();
        }
        let (text, data_dir) = (render(known.iter().chain(by_shard.values().flatten())), data_dir.clone());
        let stored =
            tokio::task::spawn_blocking(move || store(&data_dir, &text)).await.expect("a panic ends the process");
        if let Err(error) = stored {
            tracing::warn!(%error, "high watermarks cannot be noted on disk: after a restart replicas tell them again");
        }
        // Whoever waits may have given up.
        for stored in waiting {
            let _ = stored.send(());
        }
    }
}

fn store(data_dir: &Path, text: &str) -> io::Result<()> {
    let new = data_dir.join(NEW_FILE);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}

fn render<'a>(high_watermarks: impl Iterator<Item = (&'a PartitionKey, &'a Offset)>) -> String {
    let lines: Vec<String> =
        high_watermarks.map(|(key, offset)| format!("{} {} {offset}\n", key.topic_id.0, key.partition)).collect();
    let text = format!("{VERSION}\n{}\n{}", lines.len(), lines.concat());
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text}{crc:08x}\n")
}

fn parse(text: &str) -> Option<HighWatermarks> {
    let (content, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let content = &text[..=content.len()];
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(content.as_bytes()) {
        return None;
    }
    let mut lines = content.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let parsed = lines.map(|line| {
        let mut words = line.split(' ');
        let topic_id = TopicId(words.next()?.parse().ok()?);
        let key = PartitionKey { topic_id, partition: PartitionId(words.next()?.parse().ok()?) };
        Some((key, Offset(words.next()?.parse().ok()?)))
    });
    let parsed: HighWatermarks = parsed.collect::<Option<_>>()?;
    (parsed.len() == count).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> HighWatermarks {
        let key = |partition| PartitionKey {
            topic_id: TopicId(uuid::Uuid::from_u128(7 << 90)),
            partition: PartitionId(partition),
        };
        (0..20).map(|partition| (key(partition), Offset(i64::from(partition) << 30))).collect()
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), HighWatermarks::default());
        for known in [HighWatermarks::default(), some()] {
            store(dir.path(), &render(known.iter())).unwrap();
            assert_eq!(load(dir.path()), known);
        }
    }

    #[tokio::test]
    async fn what_is_cut_is_noted_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (known, said) = (some(), some());
        let keys: Vec<PartitionKey> = known.keys().copied().collect();
        let (notes, noted) = mpsc::unbounded_channel();
        let running = tokio::spawn(run(dir.path().to_owned(), known, noted));
        let lower = async |key, to| {
            let (stored, is_stored) = oneshot::channel();
            notes.send(Note::Lowered { key, to, stored }).unwrap();
            is_stored.await.unwrap();
            load(dir.path())[&key]
        };
        assert_eq!(lower(keys[0], Offset(-1)).await, Offset(-1), "as it was known at the start");
        notes.send(Note::OfShard { shard: 0, high_watermarks: said.clone() }).unwrap();
        assert_eq!(lower(keys[1], Offset(-1)).await, Offset(-1), "as a shard has said it");
        assert_eq!(lower(keys[2], Offset(i64::MAX)).await, said[&keys[2]], "it is never raised by that");
        notes.send(Note::End).unwrap();
        running.await.unwrap();
    }

    #[test]
    fn damage_is_as_good_as_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let text = render(some().iter());
        for cut in 0..text.len() {
            fs::write(dir.path().join(FILE), &text[..cut]).unwrap();
            assert_eq!(load(dir.path()), HighWatermarks::default(), "cut at {cut}");
        }
        for byte in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[byte] ^= 0x01;
            fs::write(dir.path().join(FILE), &damaged).unwrap();
            assert_eq!(load(dir.path()), HighWatermarks::default(), "damaged at {byte}");
        }
    }
}
