//! A thread of consumers.

use std::sync::OnceLock;

use crate::load::consumer::{Consumer, GroupRecorders};
use crate::load::context::{Context, Slot};
use crate::load::error::LoadError;
use crate::load::socket::{Event, Poller};
use crate::load::verify::PartitionCheck;

/// What consumers do, and until when.
pub(super) struct ConsumePlan<'a> {
    /// By slot, where everything that was acknowledged ends; set when that is known.
    pub(super) targets: &'a OnceLock<Vec<i64>>,
    /// Consumers that are through begin again, until this time; and where.
    pub(super) reread: Option<(u64, &'a (dyn Fn(Slot) -> PartitionCheck + Sync))>,
}

/// Runs consumers until all is read. `recorders` are by the group's number. Gives the number of records read.
pub(super) fn run(
    context: &Context<'_>,
    plan: &ConsumePlan<'_>,
    mut consumers: Vec<Consumer<'_>>,
    recorders: &mut [GroupRecorders],
) -> Result<u64, LoadError> {
    let mut poller = Poller::new()?;
    for (place, consumer) in consumers.iter_mut().enumerate() {
        poller.add(consumer.stream(), place)?;
        consumer.send(context.clock.now_ns())?;
    }
    let mut is_done = vec![false; consumers.len()];
    let mut events: Vec<Event> = Vec::new();
    let mut last_check_ns = 0;
    loop {
        let now_ns = context.clock.now_ns();
        if now_ns >= last_check_ns + Context::check_interval_ns() {
            last_check_ns = now_ns;
            context.check()?;
            let targets = plan.targets.get().map(Vec::as_slice);
            for (place, consumer) in consumers.iter_mut().enumerate() {
                if !is_done[place] {
                    consumer.check_overdue(now_ns, targets)?;
                    is_done[place] = end_or_rewind(plan, consumer, now_ns)?;
                }
            }
            for group in recorders.iter_mut() {
                group.fetch.share(now_ns);
                group.end_to_end.iter_mut().for_each(|recorder| recorder.share(now_ns));
            }
        }
        if is_done.iter().all(|is_done| *is_done) {
            return Ok(consumers.iter().map(|consumer| consumer.records).sum());
        }
        poller.wait(Context::check_interval_ns(), &mut events)?;
        for event in &events {
            let place = event.connection;
            let consumer = &mut consumers[place];
            if is_done[place] {
                continue;
            }
            if event.readable && consumer.receive(event.ends, &mut recorders[consumer.group()])? {
                is_done[place] = end_or_rewind(plan, consumer, context.clock.now_ns())?;
            }
            if !is_done[place] {
                consumer.send(context.clock.now_ns())?;
            }
        }
    }
}

/// Whether a consumer has nothing left to do.
fn end_or_rewind(plan: &ConsumePlan<'_>, consumer: &mut Consumer<'_>, now_ns: u64) -> Result<bool, LoadError> {
    let Some(targets) = plan.targets.get() else { return Ok(false) };
    let is_through = consumer.is_through(targets)?;
    match plan.reread {
        None => Ok(is_through),
        Some((end_ns, _)) if now_ns >= end_ns => Ok(true),
        Some((_, check)) => {
            if is_through {
                consumer.rewind(check);
            }
            Ok(false)
        }
    }
}
