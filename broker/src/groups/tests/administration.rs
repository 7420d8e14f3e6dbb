//! ListGroups, DescribeGroups and DeleteGroups, and routing.

use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, ListGroupsRequest};

use super::super::routing::partition_for_group;
use super::super::routing::{self, Route};
use super::super::{GroupEffect, GroupReply, GroupRequest};
use super::scenario::{Scenario, check, prompt, text};

#[test]
fn groups_in_every_state_are_listed_and_described() {
    check(
        prompt(),
        "
        describe              => describe Dead GroupIdNotFound
        describe v=5          => describe Dead \"\" []
        join a v=3            => store [g gen=0]
        describe              => describe PreparingRebalance \"\" [a]
        list                  => list [g \"consumer\" PreparingRebalance]
        +0                    => a:join gen=1 range leader=a members=a:m
        list                  => list [g \"consumer\" CompletingRebalance]
        describe              => describe CompletingRebalance \"\" [a]
        sync a assign=a:x     => store [g gen=1 a:x]
        durable               =>
        durable               => a:sync \"x\"
        list                  => list [g \"consumer\" Stable]
        describe              => describe Stable \"range\" [a]
        delete-group          => delete-group NonEmptyGroup
        leave a               => store [g gen=2]
        durable               => a:leave [ok]
        list                  => list [g \"consumer\" Empty]
        delete-group          => store [no g]
        durable               => delete-group ok
        delete-group          => delete-group GroupIdNotFound
        list                  => list []
        ",
    );
}

fn listed(states: &[&str], types: &[&str]) -> usize {
    let mut scenario = Scenario::new(prompt());
    scenario.run("commit - t-0=1 => store [t-0=1]");
    let request = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|state| text(state)).collect())
        .with_types_filter(types.iter().map(|group_type| text(group_type)).collect());
    let effects = scenario.send("admin", 5, GroupRequest::ListGroups(request));
    let [GroupEffect::Reply { reply: GroupReply::ListGroups(response), .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    response.groups.len()
}

#[test]
fn filters_of_list_groups_ignore_case() {
    let cases: &[(&[&str], &[&str], usize)] = &[
        (&[], &[], 1),
        (&["Empty"], &[], 1),
        (&[" eMPTY "], &["CLASSIC"], 1),
        (&["Stable"], &[], 0),
        (&["Stable", "Empty"], &[], 1),
        (&[], &["consumer"], 0),
        (&[], &["consumer", "classic"], 1),
        (&["nonsense"], &[], 0),
        (&[], &["nonsense"], 0),
    ];
    for (states, types, count) in cases {
        assert_eq!(listed(states, types), *count, "{states:?} {types:?}");
    }
}

#[test]
fn a_groups_partition_is_javas_hash_of_its_utf_16_code_units() {
    // Computed with jshell: (s.hashCode() & 0x7fffffff) % 50.
    let cases = [
        ("", 0),
        ("g", 3),
        ("my-group", 36),
        ("console-consumer-12345", 6),
        ("größe", 7),
        ("😀", 49),
        ("polygenelubricants", 0),
    ];
    for (group_id, partition) in cases {
        assert_eq!(partition_for_group(group_id, 50), partition, "{group_id:?}");
    }
}

#[test]
fn a_request_about_many_groups_is_split_and_its_answers_joined() {
    let groups: Vec<GroupId> = (0..20).map(|n| GroupId(text(&format!("group-{n}")))).collect();
    let request = DescribeGroupsRequest::default().with_groups(groups.clone());
    let Route::Many(parts) = routing::route(GroupRequest::DescribeGroups(request), 6, 3) else { panic!("split") };
    assert_eq!(parts.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [0, 1, 2]);
    let replies = parts.into_iter().map(|(partition, part)| {
        let GroupRequest::DescribeGroups(request) = &part else { panic!("{part:?}") };
        assert!(request.groups.iter().all(|group| partition_for_group(group, 3) == partition));
        let mut scenario = Scenario::new(prompt());
        let effects = scenario.send("admin", 6, part);
        let [GroupEffect::Reply { reply, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        reply.clone()
    });
    let Some(GroupReply::DescribeGroups(all)) = routing::gather(replies) else { panic!("gathered") };
    let mut answered: Vec<GroupId> = all.groups.into_iter().map(|group| group.group_id).collect();
    let mut asked = groups;
    answered.sort();
    asked.sort();
    assert_eq!(answered, asked);
}
