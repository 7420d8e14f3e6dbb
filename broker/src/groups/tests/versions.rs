//! Every API in every version: the answer can be encoded (which [`Scenario`](super::scenario::Scenario) checks for every
//! answer there is) and says what that version says.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};

use super::super::{GroupEffect, GroupReply, GroupRequest};
use super::scenario::{Scenario, check, encode, prompt, text, topic_id};

fn only_reply(effects: Vec<GroupEffect>) -> GroupReply {
    match <[GroupEffect; 1]>::try_from(effects) {
        Ok([GroupEffect::Reply { reply, .. }]) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_of_every_version() {
    for version in 0..=3 {
        check(
            prompt(),
            &format!(
                "
                join a v={version}    => store [g gen=0]
                +0                    => a:join gen=1 range leader=a members=a:m
                sync a v={version} assign=a:x => store [g gen=1 a:x]
                durable               =>
                durable               => a:sync \"x\"
                beat a v={version}    => a:beat ok
                "
            ),
        );
    }
    for version in 4..=9 {
        check(
            prompt(),
            &format!(
                "
                join a v={version}    => a:join MemberIdRequired; store [g gen=0]
                join a v={version}    =>
                +0                    => a:join gen=1 range leader=a members=a:m
                sync a v={sync} assign=a:x => store [g gen=1 a:x]
                durable               =>
                durable               => a:sync \"x\"
                commit a v={version} t-0=1 x-0=1 => store [t-0=1]
                durable               => a:commit x-0:UnknownTopicOrPartition t-0:ok
                ",
                sync = version.min(5)
            ),
        );
    }
    for (version, left) in [(0, "ok"), (1, "ok"), (2, "ok"), (3, "[ok]"), (4, "[ok]"), (5, "[ok]")] {
        check(
            prompt(),
            &format!(
                "
                leave x as=x v={version} => x:leave {unknown}
                join a v=3               => store [g gen=0]
                +0                       => a:join gen=1 range leader=a members=a:m
                leave a v={version}      => store [g gen=2]
                durable                  =>
                durable                  => a:leave {left}
                ",
                unknown = left.replace("ok", "UnknownMemberId")
            ),
        );
    }
}

#[test]
fn a_missing_protocol_name_is_empty_before_version_7_and_null_from_then_on() {
    for version in 0..=9 {
        let mut scenario = Scenario::new(prompt());
        let request = JoinGroupRequest::default().with_session_timeout_ms(10_000);
        let GroupReply::JoinGroup(response) = only_reply(scenario.send("a", version, GroupRequest::JoinGroup(request)))
        else {
            panic!("a join answer")
        };
        assert_eq!(response.error_code, ResponseError::InvalidGroupId.code());
        assert_eq!(response.protocol_name.as_deref(), if version < 7 { Some("") } else { None }, "version {version}");
    }
}

#[test]
fn sync_group_5_must_name_the_protocol() {
    for (version, error) in [(4, ResponseError::UnknownMemberId), (5, ResponseError::InconsistentGroupProtocol)] {
        let mut scenario = Scenario::new(prompt());
        let request = SyncGroupRequest::default().with_group_id(GroupId(text("g")));
        let GroupReply::SyncGroup(response) = only_reply(scenario.send("a", version, GroupRequest::SyncGroup(request)))
        else {
            panic!("a sync answer")
        };
        assert_eq!(response.error_code, error.code(), "version {version}");
    }
}

#[test]
fn offset_fetch_of_every_version() {
    let mut scenario = Scenario::new(prompt());
    scenario.run(
        "
        commit - t-1=7 meta=m => store [t-1=7]
        durable               => -:commit t-1:ok
        ",
    );
    for version in 1..=10 {
        for all in [false, true] {
            if all && version < 2 {
                continue;
            }
            let request = if version < 8 {
                let topic =
                    OffsetFetchRequestTopic::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![1]);
                OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics((!all).then(|| vec![topic]))
            } else {
                let topic = OffsetFetchRequestTopics::default().with_partition_indexes(vec![1]);
                let topic = match version {
                    10 => topic.with_topic_id(topic_id("t").0),
                    _ => topic.with_name(TopicName(text("t"))),
                };
                let group = OffsetFetchRequestGroup::default()
                    .with_group_id(GroupId(text("g")))
                    .with_topics((!all).then(|| vec![topic]));
                OffsetFetchRequest::default().with_groups(vec![group])
            };
            let reply = only_reply(scenario.send("a", version, GroupRequest::OffsetFetch(request)));
            encode(&reply, version);
            let GroupReply::OffsetFetch(response) = reply else { panic!("a fetch answer") };
            let (offset, metadata) = if version < 8 {
                let partition = &response.topics[0].partitions[0];
                (partition.committed_offset, partition.metadata.clone())
            } else {
                let partition = &response.groups[0].topics[0].partitions[0];
                (partition.committed_offset, partition.metadata.clone())
            };
            assert_eq!((offset, metadata), (7, Some(text("m"))), "version {version}");
        }
    }
}

#[test]
fn administration_of_every_version() {
    let mut scenario = Scenario::new(prompt());
    scenario.run(
        "
        join a v=3 => store [g gen=0]
        +0         => a:join gen=1 range leader=a members=a:m
        ",
    );
    let group = || GroupId(text("g"));
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group(), GroupId(text("none"))])
            .with_include_authorized_operations(version >= 3);
        let reply = only_reply(scenario.send("a", version, GroupRequest::DescribeGroups(request)));
        encode(&reply, version);
        let GroupReply::DescribeGroups(response) = reply else { panic!("a describe answer") };
        let [live, dead] = response.groups.as_slice() else { panic!("two groups") };
        // READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS, as Kafka 4.3 answers without an authorizer.
        assert_eq!(live.authorized_operations, if version >= 3 { 3_400 } else { i32::MIN });
        assert_eq!(dead.authorized_operations, if (3..6).contains(&version) { 3_400 } else { i32::MIN });
        assert_eq!(dead.group_state.as_str(), "Dead");
        let error = if version >= 6 { ResponseError::GroupIdNotFound.code() } else { 0 };
        assert_eq!(dead.error_code, error);
        assert_eq!(dead.error_message.as_deref(), (version >= 6).then_some("Group none not found."));
    }
    for version in 0..=5 {
        let reply = only_reply(scenario.send("a", version, GroupRequest::ListGroups(ListGroupsRequest::default())));
        encode(&reply, version);
    }
    for version in 0..=2 {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        encode(&only_reply(scenario.send("a", version, GroupRequest::DeleteGroups(request))), version);
    }
}

#[test]
fn an_error_for_every_request_can_be_encoded() {
    let requests: Vec<(GroupRequest, std::ops::RangeInclusive<i16>)> = vec![
        (GroupRequest::JoinGroup(JoinGroupRequest::default()), 0..=9),
        (GroupRequest::SyncGroup(SyncGroupRequest::default()), 0..=5),
        (GroupRequest::Heartbeat(HeartbeatRequest::default()), 0..=4),
        (GroupRequest::LeaveGroup(LeaveGroupRequest::default()), 0..=5),
        (GroupRequest::OffsetCommit(OffsetCommitRequest::default()), 2..=9),
        (
            GroupRequest::OffsetFetch(
                OffsetFetchRequest::default()
                    .with_topics(Some(vec![OffsetFetchRequestTopic::default().with_partition_indexes(vec![0])])),
            ),
            1..=7,
        ),
        (
            GroupRequest::OffsetFetch(
                OffsetFetchRequest::default().with_groups(vec![OffsetFetchRequestGroup::default()]),
            ),
            8..=10,
        ),
        (GroupRequest::OffsetDelete(OffsetDeleteRequest::default()), 0..=0),
        (GroupRequest::ListGroups(ListGroupsRequest::default()), 0..=5),
        (GroupRequest::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![GroupId::default()])), 0..=6),
        (GroupRequest::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![GroupId::default()])), 0..=2),
    ];
    for (request, versions) in requests {
        for version in versions {
            let bytes = encode(&request.error_reply(version, ResponseError::NotCoordinator), version);
            let code = ResponseError::NotCoordinator.code().to_be_bytes();
            let silent = matches!(&request, GroupRequest::OffsetCommit(_));
            assert!(silent || bytes.windows(2).any(|window| window == code), "{request:?} version {version}");
        }
    }
}
