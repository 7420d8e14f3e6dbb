//! Who is elected is let in and in sync; where nobody in sync is alive, eligible. Anybody else only where loss is allowed: in an
//! unclean election, where no eligible replica is alive, or as the last leader, where no replica is eligible any more, since
//! all have lost something.

use super::{Checker, Election};
use protocol::newtypes::BrokerId;

fn wrong(election: &Election<'_>, what: &str) -> (Checker, String) {
    let (before, now) = (election.before, election.now);
    (Checker::Elected, format!("{what}: {now:?} after {before:?}"))
}

/// Why what was committed may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// An unclean election was asked for, or the config allows it.
    Unclean,
    /// Everybody who had it all has lost something, and the last leader leads again.
    LastKnown,
    /// The only replica is of a node that comes back with an empty disk.
    OnlyDisk,
}

/// Says whether what was committed may be lost by it.
pub fn check(election: &Election<'_>) -> Result<Option<Loss>, (Checker, String)> {
    let (before, cause) = (election.before, election.cause);
    let only_disk = cause.gone.filter(|gone| cause.lost == Some(*gone) && *election.now.replicas == [*gone]);
    let Some(leader) = election.elected() else { return Ok(only_disk.map(|_| Loss::OnlyDisk)) };
    if !election.is_alive(leader) {
        return Err(wrong(election, "a broker that is not let in is elected"));
    }
    let in_sync = election.in_sync();
    if in_sync.contains(&leader) {
        return Ok(None);
    }
    if !in_sync.is_empty() {
        return Err(wrong(election, "a broker that is not in sync is elected, and there are such"));
    }
    let eligible: Vec<BrokerId> = election.still(&before.elr).collect();
    if eligible.contains(&leader) {
        return Ok(None);
    }
    if eligible.iter().any(|id| election.is_alive(*id)) {
        return Err(wrong(election, "a broker that is not eligible is elected, and there are such"));
    }
    let nobody_is_left = eligible.is_empty() && election.still(&before.isr).next().is_none();
    if cause.unclean {
        return Ok(Some(Loss::Unclean));
    }
    if nobody_is_left && (*before.last_known_elr == [leader] || before.leader == Some(leader)) {
        return Ok(Some(Loss::LastKnown));
    }
    Err(wrong(election, "a broker that is neither in sync nor eligible is elected, and nobody has asked for that"))
}
