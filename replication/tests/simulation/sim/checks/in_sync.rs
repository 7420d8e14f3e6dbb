//! Neither the ISR nor the eligible leader replicas, as the controller has them, ever hold a replica whose disk lacks something
//! below any leader's high watermark.

use super::super::log::Log;
use super::equal::Committed;
use super::{Checked, Checker};
use metadata::image::PartitionImage;

/// `fully` looks at all that is committed, and not only at its end.
pub fn check<'a>(
    image: &PartitionImage,
    committed: &Committed,
    log_of: impl Fn(i32) -> &'a Log,
    fully: bool,
) -> Checked {
    for member in image.isr.iter().chain(image.elr.iter()) {
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
