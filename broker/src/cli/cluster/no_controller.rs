//! What can be said where no controller answers: the quorum as one broker sees it, and which voters answer from here.
//!
//! A broker knows the voters, but hears of them only while it leads; so they are asked themselves, all at once.

use std::time::Duration;

use futures_util::future::join_all;
use metadata::raft::QuorumStatus;
use metadata::record::NodeBinding;
use protocol::BrokerId;
use serde_json::{Value, json};

use crate::cli::table::{Table, known, numbers, words};
use crate::cli::told::Told;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Links};
use crate::metadata_core::inspect::{self, QuorumHere};

/// How long one node may take to say what it sees.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the controller did not answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub why: String,
    /// Where that is because there is none.
    pub quorum: Option<Box<QuorumLost>>,
}

impl From<String> for NoAnswer {
    fn from(why: String) -> NoAnswer {
        NoAnswer { why, quorum: None }
    }
}

impl From<NoAnswer> for String {
    fn from(NoAnswer { why, quorum }: NoAnswer) -> String {
        quorum.map_or(why, |quorum| quorum.sentence())
    }
}

impl NoAnswer {
    /// For commands that show the quorum: what is known of it all the same.
    pub fn told(self, as_json: bool) -> Result<Told, String> {
        let Some(quorum) = &self.quorum else { return Err(self.why) };
        let mut told = match as_json {
            true => Told::json(&quorum.json()),
            false => Told::text(quorum.text()),
        };
        told.problems.push(quorum.sentence());
        Ok(told)
    }
}

/// A quorum that nobody leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuorumLost {
    /// The address of the broker whose view it is.
    seen_by: String,
    term: u64,
    voters: Vec<Voter>,
}

#[derive(Debug, PartialEq, Eq)]
struct Voter {
    node: NodeBinding,
    /// Its own term, and entries of the metadata log that it has; or why it does not answer.
    answer: Result<(u64, Option<u64>), String>,
}

/// Asks whoever is at these addresses, and then the voters. `None` if nobody says anything, or a controller is there.
pub(super) async fn look(links: &Links, addresses: &[String]) -> Option<QuorumLost> {
    let at = |address: &String| Callee { purpose: Purpose::Inspect, node: None, address: address.clone() };
    let seen = join_all(addresses.iter().map(|address| ask(links, at(address)))).await;
    let mut seen = seen.into_iter().zip(addresses).filter_map(|(status, address)| Some((address, status.ok()?)));
    let (seen_by, status) = seen.next()?;
    let voters = status.members.iter().filter(|member| member.is_voter).map(|member| &member.node);
    let voters: Vec<NodeBinding> = voters.cloned().collect();
    let answers = join_all(voters.iter().map(|node| ask(links, Callee::node(Purpose::Inspect, node)))).await;
    lost(seen_by, &status, voters.into_iter().zip(answers).collect())
}

async fn ask(links: &Links, callee: Callee) -> Result<QuorumStatus, String> {
    inspect::ask(links, &callee, QuorumHere {}, PATIENCE).await
}

/// `None` if one of the voters leads.
fn lost(
    seen_by: &str,
    status: &QuorumStatus,
    voters: Vec<(NodeBinding, Result<QuorumStatus, String>)>,
) -> Option<QuorumLost> {
    let leads = |(node, answer): &(NodeBinding, Result<QuorumStatus, String>)| {
        answer.as_ref().is_ok_and(|seen| seen.leader == Some(node.node))
    };
    let answering = voters.iter().filter(|(_, answer)| answer.is_ok()).count();
    // One that lacks the others goes on to call itself leader for a moment.
    if answering >= majority(voters.len()) && voters.iter().any(leads) {
        return None;
    }
    let voter = |(node, answer): (NodeBinding, Result<QuorumStatus, String>)| {
        let log_end = |seen: &QuorumStatus| {
            seen.members.iter().find(|member| member.node.node == node.node).and_then(|member| member.log_end)
        };
        Voter { answer: answer.map(|seen| (seen.term, log_end(&seen))), node }
    };
    Some(QuorumLost { seen_by: seen_by.to_owned(), term: status.term, voters: voters.into_iter().map(voter).collect() })
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl QuorumLost {
    fn needed(&self) -> usize {
        majority(self.voters.len())
    }

    fn silent(&self) -> impl Iterator<Item = (BrokerId, &str)> {
        self.voters.iter().filter_map(|voter| Some((voter.node.node, voter.answer.as_ref().err()?.as_str())))
    }

    /// What is wrong, and what to do.
    pub fn sentence(&self) -> String {
        let (all, needed) = (self.voters.len(), self.needed());
        let answering = all - self.silent().count();
        let seen = format!("as {} sees it, in term {}", self.seen_by, self.term);
        let answer = if answering == 1 { "answers" } else { "answer" };
        if answering >= needed {
            return format!(
                "no controller is elected ({seen}), though {answering} of {all} voters {answer} and {needed} are enough: ask \
                 again in some seconds; if it stays so, the voters do not reach each other at these addresses, and their logs \
                 say why"
            );
        }
        let missing = needed - answering;
        let silent: Vec<String> = self.silent().map(|(node, why)| format!("node {node} ({why})")).collect();
        let which = match missing == silent.len() {
            true => String::new(),
            false => format!("{missing} of "),
        };
        format!(
            "no controller is elected, and metadata cannot be read or changed: {answering} of {all} voters {answer}, and {needed} \
             are needed ({seen}); start {which}{}, or mend the network to them",
            silent.join(", ")
        )
    }

    fn text(&self) -> String {
        let columns = [
            numbers("NODE"),
            words("INTERNAL"),
            words("QUORUM"),
            words("ANSWERS"),
            numbers("TERM"),
            numbers("ENTRIES"),
        ];
        let rows = self.voters.iter().map(|Voter { node, answer }| {
            let (term, log_end) = answer.as_ref().copied().map_or((None, None), |(term, end)| (Some(term), end));
            vec![
                node.node.to_string(),
                node.address.clone(),
                "voter".to_owned(),
                if answer.is_ok() { "yes" } else { "no" }.to_owned(),
                known(term),
                known(log_end),
            ]
        });
        Table::new(columns, rows).text()
    }

    fn json(&self) -> Value {
        let voters = self.voters.iter().map(|Voter { node, answer }| {
            let known = answer.as_ref().ok();
            json!({
                "node": node.node.0,
                "internal": node.address,
                "is_leader": false,
                "answers": answer.is_ok(),
                "error": answer.as_ref().err(),
                "term": known.map(|(term, _)| term),
                "log_end": known.and_then(|(_, log_end)| *log_end),
            })
        });
        json!({
            "leader": null,
            "term": self.term,
            "seen_by": self.seen_by,
            "voters_needed": self.needed(),
            "voters": voters.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use metadata::raft::MemberStatus;
    use uuid::Uuid;

    use super::*;

    fn node(id: i32) -> NodeBinding {
        NodeBinding { node: BrokerId(id), directory_id: Uuid::nil(), address: format!("b{id}:9093") }
    }

    fn sees(id: i32, leader: Option<i32>, term: u64) -> QuorumStatus {
        let member =
            |other: i32| MemberStatus { node: node(other), is_voter: true, log_end: (other == id).then_some(40) };
        QuorumStatus { leader: leader.map(BrokerId), term, applied: 40, members: (1..=3).map(member).collect() }
    }

    fn of(voters: [Result<QuorumStatus, &str>; 3]) -> Option<QuorumLost> {
        let voters = (1..).map(node).zip(voters.map(|answer| answer.map_err(str::to_owned)));
        lost("b1:9093", &sees(1, None, 7), voters.collect())
    }

    #[test]
    fn too_few_voters_are_named_with_how_many_are_needed() {
        let refused = Err("b2:9093: refused");
        let quorum = of([Ok(sees(1, None, 8)), refused.clone(), Err("b3:9093: refused")]).unwrap();
        assert_eq!(
            quorum.sentence(),
            "no controller is elected, and metadata cannot be read or changed: 1 of 3 voters answers, and 2 are needed (as \
             b1:9093 sees it, in term 7); start 1 of node 2 (b2:9093: refused), node 3 (b3:9093: refused), or mend the \
             network to them"
        );
        assert_eq!(
            quorum.text(),
            "NODE  INTERNAL  QUORUM  ANSWERS  TERM  ENTRIES\n   \
                1  b1:9093   voter   yes         8       40\n   \
                2  b2:9093   voter   no          -        -\n   \
                3  b3:9093   voter   no          -        -\n"
        );
        let json = quorum.json();
        assert_eq!((&json["leader"], &json["voters_needed"]), (&json!(null), &json!(2)));
        assert_eq!((&json["voters"][0]["log_end"], &json["voters"][1]["answers"]), (&json!(40), &json!(false)));
    }

    #[test]
    fn a_leader_without_the_others_is_none_and_one_with_them_is() {
        let silent = || Err("gone");
        assert!(of([Ok(sees(1, Some(1), 7)), silent(), silent()]).is_some());
        assert!(of([Ok(sees(1, Some(2), 7)), Ok(sees(2, Some(2), 7)), silent()]).is_none());
        // The one that was the leader is gone, and the others have not noticed.
        let electing = of([Ok(sees(1, Some(3), 7)), Ok(sees(2, Some(3), 7)), silent()]).unwrap();
        let said = electing.sentence();
        assert!(said.contains("though 2 of 3 voters answer and 2 are enough: ask again"), "{said}");
    }
}
