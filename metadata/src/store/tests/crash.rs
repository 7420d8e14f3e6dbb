//! What a power cut leaves on a disk.

use super::recorder::Operation;
use rand::Rng;
use rand::rngs::StdRng;

const SECTOR_BYTES: usize = 512;

/// What the disk may hold after `operations`: everything up to the last sync, and of what came after any sectors.
pub fn after_power_cut(operations: &[Operation], random: &mut StdRng) -> Vec<u8> {
    let synced = operations.iter().rposition(|operation| matches!(operation, Operation::Sync)).map_or(0, |at| at + 1);
    let mut file = Vec::new();
    operations[..synced].iter().for_each(|operation| operation.apply(&mut file));
    for operation in &operations[synced..] {
        match operation {
            Operation::Write { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
                    if random.random_bool(0.5) {
                        Operation::Write { at: at + from, bytes: bytes[from..to].to_vec() }.apply(&mut file);
                    }
                    from = to;
                }
            }
            // The length is metadata of the file system, which keeps it in order with the data.
            other => other.apply(&mut file),
        }
    }
    file
}
