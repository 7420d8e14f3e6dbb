//! A record that is acknowledged with acks=all is on as many disks as `min.insync.replicas` says, or on all there are.

use super::super::log::{Batch, Log};
use super::{Checked, Checker};

pub fn check<'a>(batch: &Batch, min_insync: usize, replicas: impl ExactSizeIterator<Item = &'a Log>) -> Checked {
    let wanted = min_insync.min(replicas.len());
    let found = replicas.filter(|log| log.holds(batch) && log.durable >= batch.next()).count();
    if found >= wanted {
        return Ok(());
    }
    let text = format!("{batch:?} is acknowledged with acks=all, and on {found} disks where {wanted} were asked for");
    Err((Checker::MinInsync, text))
}
