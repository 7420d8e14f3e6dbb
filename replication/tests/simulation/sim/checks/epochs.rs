//! A leader epoch is one leader's, and one process's of it: whoever begins to lead does so at an epoch that was nobody's before,
//! and epochs only rise.

use super::{Checked, Checker};
use metadata::image::{MetadataImage, PartitionImage};
use protocol::newtypes::BrokerId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Epochs {
    /// Whose a leader epoch is: a broker and its broker epoch, or nobody's.
    owners: BTreeMap<i32, Option<(BrokerId, u64)>>,
}

impl Epochs {
    pub fn on_image(&mut self, image: &MetadataImage, before: &PartitionImage, now: &PartitionImage) -> Checked {
        let owner = now.leader.map(|leader| (leader, image.broker(leader).map_or(0, |broker| broker.epoch)));
        let (epoch, earlier) = (now.leader_epoch, before.leader_epoch);
        let known = *self.owners.entry(epoch.0).or_insert(owner);
        if known != owner || epoch < earlier {
            let text = format!("leader epoch {epoch} is {owner:?}'s, after {earlier}, and was {known:?}'s");
            return Err((Checker::Epochs, text));
        }
        Ok(())
    }
}
