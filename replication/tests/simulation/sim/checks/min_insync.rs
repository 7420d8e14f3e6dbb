//! A record that is acknowledged with acks=all is on as many disks as `min.insync.replicas` says, or on all there are.

use super::super::log::Batch;
use super::{Checked, Checker};

pub fn check(batch: &Batch, wanted: usize, found: usize) -> Checked {
    if found >= wanted {
        return Ok(());
    }
    let text = format!("{batch:?} is acknowledged with acks=all, and on {found} disks where {wanted} were asked for");
    Err((Checker::MinInsync, text))
}
