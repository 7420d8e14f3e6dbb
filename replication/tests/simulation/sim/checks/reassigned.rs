//! A reassignment is complete when all of its target is in sync, and not before; replicas that are elsewhere then are removed,
//! with what they had.

use super::super::log::Log;
use super::{Checked, Checker};
use metadata::image::PartitionImage;
use protocol::newtypes::BrokerId;

pub fn check(before: &PartitionImage, now: &PartitionImage) -> Checked {
    let added = |id: &&BrokerId| match &before.reassignment {
        Some(moving) => moving.adding.contains(id) || !before.replicas.contains(id),
        None => !before.replicas.contains(id),
    };
    if now.reassignment.is_some() || before.replicas == now.replicas && before.reassignment.is_none() {
        return Ok(());
    }
    match now.replicas.iter().filter(added).find(|id| !now.isr.contains(id)) {
        Some(id) => {
            let text = format!("a reassignment is complete, and {id} is not in sync: {now:?} after {before:?}");
            Err((Checker::Reassigned, text))
        }
        None => Ok(()),
    }
}

/// A broker without a replica has nothing of it in the end.
pub fn at_end(broker: usize, log: &Log) -> Checked {
    match log.is_empty() {
        true => Ok(()),
        false => Err((Checker::Reassigned, format!("broker {broker} has no replica, and its log ends at {}", log.end))),
    }
}
