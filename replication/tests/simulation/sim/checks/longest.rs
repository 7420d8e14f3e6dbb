//! Of those who may be elected and have told in time how their logs end, the one with the highest epoch and end is; of equals
//! the first replica, and one that has told nothing only where nobody has.

use super::super::controller::TOPIC;
use super::{Checked, Checker, Election};
use metadata::controller::LogEnd;
use protocol::newtypes::{BrokerId, PartitionId};

pub fn check(election: &Election<'_>) -> Checked {
    let (Some(leader), Some(ends)) = (election.elected(), &election.cause.ends) else { return Ok(()) };
    let (before, now) = (election.before, election.now);
    let end_of = |id: BrokerId| ends.end_of(TOPIC, PartitionId(election.partition as i32), id);
    let eligible = || election.still(&before.elr).filter(|id| election.is_alive(*id)).collect::<Vec<_>>();
    let all = || now.replicas.iter().copied().filter(|id| election.is_alive(*id)).collect::<Vec<_>>();
    let pools = [election.in_sync(), eligible(), if election.cause.unclean { all() } else { Vec::new() }];
    let Some(pool) = pools.into_iter().find(|pool| !pool.is_empty()) else { return Ok(()) };
    let place = |id: BrokerId| now.replicas.iter().position(|replica| *replica == id);
    let is_better = |id: &BrokerId| {
        let (its, chosen): (Option<LogEnd>, Option<LogEnd>) = (end_of(*id), end_of(leader));
        its > chosen || its == chosen && place(*id) < place(leader)
    };
    match pool.iter().find(|id| is_better(id)) {
        Some(better) => {
            let text =
                format!("{leader} is elected and {better} was the better choice: {now:?} after {before:?}, {ends:?}");
            Err((Checker::Longest, text))
        }
        None => Ok(()),
    }
}
