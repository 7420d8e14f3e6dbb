//! Neither the ISR nor the eligible leader replicas, as the controller has them, ever hold a replica whose disk lacks something
//! below any leader's high watermark. Excused is whose disk has lost something that its broker has not told of yet.

use super::super::log::Log;
use super::equal::Committed;
use super::{Checked, Checker};
use metadata::image::PartitionImage;
use protocol::newtypes::BrokerId;

/// `fully` looks at all that is committed, and not only at its end.
pub fn check<'a>(
    image: &PartitionImage,
    committed: &Committed,
    log_of: impl Fn(i32) -> &'a Log,
    excused: impl Fn(BrokerId) -> bool,
    fully: bool,
) -> Checked {
    for member in image.isr.iter().chain(image.elr.iter()).filter(|member| !excused(**member)) {
        let log = log_of(member.0);
        let lacks_end = || committed.last().filter(|last| last.base >= committed.deleted_to && !log.holds(last));
        let lacking = if fully { committed.lacks(log) } else { lacks_end() };
        let (isr, elr) = (&image.isr, &image.elr);
        if let Some(batch) = lacking {
            return wrong(format!(
                "broker {member} lacks {batch:?}, which is committed; ISR {isr:?}, eligible {elr:?}"
            ));
        }
        if log.durable < committed.end {
            let (durable, end) = (log.durable, committed.end);
            return wrong(format!(
                "broker {member} has {durable} on disk, and {end} is committed; ISR {isr:?}, eligible {elr:?}"
            ));
        }
    }
    Ok(())
}

fn wrong(text: String) -> Checked {
    Err((Checker::InSync, text))
}
