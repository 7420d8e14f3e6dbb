//! Commits, fetches and deletions of offsets, and their expiry.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use protocol::TopicId;

use super::super::{GroupConfig, GroupRequest};
use super::scenario::{OTHER_TOPIC_ID, check, prompt, text, topic_id};

const DAY_MS: i64 = 24 * 3_600_000;

/// Offsets live for one day and are looked at every hour.
fn one_day() -> GroupConfig {
    GroupConfig { offsets_retention_ms: DAY_MS, offsets_retention_check_interval_ms: 3_600_000, ..prompt() }
}

#[test]
fn who_may_commit() {
    check(
        prompt(),
        "
        # No group: only without a generation.
        commit - t-0=1 gen=3        => -:commit t-0:GroupIdNotFound
        commit - t-0=1 gen=3 v=8    => -:commit t-0:IllegalGeneration
        commit - t-0=1              => store [t-0=1]
        durable                     => -:commit t-0:ok
        # An empty group: any member id, without a generation.
        commit - as=someone t-0=2   => store [t-0=2]
        durable                     => -:commit t-0:ok
        commit - t-0=1 gen=0        => -:commit t-0:UnknownMemberId
        join a v=3                  =>
        # A group with members: only they, of its generation.
        commit - t-0=3              => -:commit t-0:UnknownMemberId
        commit - as=someone t-0=3   => -:commit t-0:UnknownMemberId
        +0                          => a:join gen=1 range leader=a members=a:m
        commit a t-0=3 gen=-1       => a:commit t-0:IllegalGeneration
        ",
    );
}

#[test]
fn partitions_that_do_not_exist_are_told_apart_from_those_that_do() {
    check(
        prompt(),
        "
# Nothing is left to ask the group about, which does not exist.
        commit - x-0=1 gen=7           => -:commit x-0:UnknownTopicOrPartition
        commit - t-3=1 u-0=1 gen=7     => -:commit t-3:UnknownTopicOrPartition u-0:GroupIdNotFound
        commit - t-0=1 x-0=1 t-3=1     => store [t-0=1]
        durable                        => -:commit x-0:UnknownTopicOrPartition t-3:UnknownTopicOrPartition t-0:ok
        ",
    );
}

#[test]
fn topics_are_named_by_id_from_version_10_on() {
    check(
        prompt(),
        "
        # x is no topic, and t has three partitions.
        commit - t-0=1 x-0=2 t-3=3 v=10 => store [t-0=1]
        durable                         => -:commit ?-0:UnknownTopicId t-3:UnknownTopicOrPartition t-0:ok
        # Nothing is left to ask the group about.
        commit - x-0=1 v=10 gen=7       => -:commit ?-0:UnknownTopicId
        # What is wrong with the group is said of what is known.
        commit - t-0=1 x-0=1 v=10 gen=7 => -:commit ?-0:UnknownTopicId t-0:UnknownMemberId
        commit - u-1=5 x-0=1 v=10       => store [u-1=5]
        fail notleader                  => -:commit ?-0:UnknownTopicId u-1:NotCoordinator
        fetch t-0 x-0 t-1 v=10          => fetch [t-0=1 t-1=-1 ?-0:UnknownTopicId]
        fetch all v=10                  => fetch [t-0=1]
        ",
    );
}

#[test]
fn a_topic_that_is_made_anew_has_no_offsets_of_the_one_before() {
    check(
        prompt(),
        "
        commit - t-0=1 t-1=2 v=10    => store [t-0=1, t-1=2]
        durable                      => -:commit t-0:ok t-1:ok
        topic t 3 id=other           =>
        # The old offsets are still there.
        fetch t-0 t-1                => fetch [t-0=1 t-1=2]
        fetch t-0 t-1 v=10 id=other  => fetch [t-0=-1 t-1=-1]
        fetch t-0 v=10               => fetch [?-0:UnknownTopicId]
        fetch all v=10               => fetch []
        commit - t-0=7 v=10          => -:commit ?-0:UnknownTopicId
        commit - t-0=8 v=10 id=other => store [t-0=8]
        durable                      => -:commit t-0:ok
        fetch all v=10               => fetch [t-0=8]
        fetch all                    => fetch [t-0=8 t-1=2]
        delete-topic t               => store [no t-1]
        durable                      =>
        fetch t-0 t-1 v=10 id=other  => fetch [t-0=8 t-1=-1]
        # A topic that is gone cannot be named.
        topic t                      =>
        fetch all v=10               => fetch []
        fetch all                    => fetch [t-0=8]
        ",
    );
}

#[test]
fn a_topic_may_be_made_anew_while_offsets_wait() {
    check(
        prompt(),
        "
        commit - t-0=1 v=10          => store [t-0=1]
        fetch t-0 stable v=10        =>
        fetch all stable v=10        =>
        topic t 3 id=other           =>
        durable                      => -:commit t-0:ok; fetch [t-0=1]; fetch []
        ",
    );
}

/// The broker that was asked knew the topic, the shard that coordinates knows its successor already.
#[test]
fn an_id_that_the_coordinator_does_not_know_is_told_apart() {
    let mut scenario = super::scenario::Scenario::new(prompt());
    let topic = |name: &str, id: TopicId| {
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_topic_id(id.0)
            .with_partitions(vec![OffsetCommitRequestPartition::default().with_committed_offset(1)])
    };
    // Names beside the ids, as they come from the broker that was asked.
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(vec![topic("t", OTHER_TOPIC_ID), topic("u", topic_id("u"))]);
    let effects = scenario.send("-", 9, GroupRequest::OffsetCommit(request));
    assert_eq!(scenario.show(effects), ["store [u-0=1]"]);
    scenario.run("fail notleader => -:commit t-0:UnknownTopicId u-0:NotCoordinator");
}

#[test]
fn metadata_is_bounded_in_utf_16_code_units() {
    let config = GroupConfig { offset_metadata_max_units: 4, ..prompt() };
    check(
        config,
        "
        commit - t-0=1 meta=abcd  => store [t-0=1]
        commit - t-0=2 meta=abcde => -:commit t-0:OffsetMetadataTooLarge
        commit - t-0=3 meta=éééé  => store [t-0=3]
        commit - t-0=4 meta=😀😀  => store [t-0=4]
        commit - t-0=5 meta=😀😀a => -:commit t-0:OffsetMetadataTooLarge
        durable                   => -:commit t-0:ok
        durable                   => -:commit t-0:ok
        durable                   => -:commit t-0:ok
        fetch t-0                 => fetch [t-0=4😀😀]
        ",
    );
}

#[test]
fn a_metadata_error_of_one_partition_leaves_the_others_alone() {
    let mut scenario = super::scenario::Scenario::new(GroupConfig { offset_metadata_max_units: 0, ..prompt() });
    scenario.run(
        "
        commit - t-0=1 t-1=2         => store [t-0=1, t-1=2]
        durable                      => -:commit t-0:ok t-1:ok
        commit - t-0=3 t-1=4 meta=m  => -:commit t-0:OffsetMetadataTooLarge t-1:OffsetMetadataTooLarge
        fetch all                    => fetch [t-0=1 t-1=2]
        ",
    );
}

#[test]
fn fetches_of_what_is_not_there() {
    check(
        prompt(),
        "
        fetch t-0           => fetch [t-0=-1]
        fetch all           => fetch []
        commit - t-1=7      => store [t-1=7]
        durable             => -:commit t-1:ok
        fetch t-0 t-1 x-9   => fetch [t-0=-1 t-1=7 x-9=-1]
        ",
    );
}

/// Runs a scenario with `SUBSCRIPTION` replaced by what a consumer that subscribes to `t` sends.
fn subscribe_to_t(script: &str) {
    let mut scenario = super::scenario::Scenario::new(one_day());
    scenario.run(&script.replace("SUBSCRIPTION", "\0\0\0\0\0\u{1}\0\u{1}t\0\0\0\0"));
}

#[test]
fn offsets_of_a_topic_that_the_group_subscribes_to_cannot_be_deleted() {
    subscribe_to_t(
        "
        join a v=3 p=range:SUBSCRIPTION => store [g gen=0]
        +0 => a:join gen=1 range leader=a members=a:@
        sync a => store [g gen=1 a:]
        durable =>
        durable => a:sync \"\"
        commit a t-0=1 u-0=2 => store [t-0=1, u-0=2]
        durable => a:commit t-0:ok u-0:ok
        delete-offsets t-0 u-0 u-1 x-0 => store [no u-0]
        durable => delete-offsets x-0:UnknownTopicOrPartition t-0:GroupSubscribedToTopic u-0:ok u-1:ok
        fetch all => fetch [t-0=1]
        ",
    );
}

#[test]
fn deletions_of_offsets() {
    check(
        prompt(),
        "
        delete-offsets t-0          => delete-offsets GroupIdNotFound
        delete-offsets x-0          => delete-offsets GroupIdNotFound
        commit - t-0=1 t-1=2        => store [t-0=1, t-1=2]
        durable                     => -:commit t-0:ok t-1:ok
        delete-offsets t-0 t-0 t-2  => store [no t-0]
        fetch all                   => fetch [t-0=1 t-1=2]
        # The first may fail yet.
        delete-offsets t-0          => store [no t-0]
        durable                     => delete-offsets t-0:ok t-0:ok t-2:ok
        durable                     => delete-offsets t-0:ok
        delete-offsets t-0          => delete-offsets t-0:ok
        fetch all                   => fetch [t-1=2]
        join a v=3 type=connect     =>
        delete-offsets t-1          => delete-offsets NonEmptyGroup
        ",
    );
}

#[test]
fn offsets_of_a_deleted_topic_go() {
    check(
        prompt(),
        "
        commit - t-0=1 t-1=2 u-0=3  => store [t-0=1, t-1=2, u-0=3]
        durable                     => -:commit t-0:ok t-1:ok u-0:ok
        # Not of the topic that had the name before.
        delete-topic t before       =>
        delete-topic t              => store [no t-0, no t-1]
        durable                     =>
        fetch all                   => fetch [u-0=3]
        delete-topic t              =>
        ",
    );
}

#[test]
fn offsets_of_an_empty_group_expire_a_retention_after_the_last_member_left() {
    check(
        one_day(),
        "
        join a v=3 session=1800000  => store [g gen=0]
        +0                          => a:join gen=1 range leader=a members=a:m
        sync a                      => store [g gen=1 a:]
        durable                     =>
        durable                     => a:sync \"\"
        commit a t-0=1              => store [t-0=1]
        durable                     => a:commit t-0:ok
        +1799999                    =>
        leave a                     => store [g gen=2]
        durable                     => a:leave [ok]
        # Committed a day ago, left half an hour less ago.
        +84600000                   =>
        fetch all                   => fetch [t-0=1]
        +1                          =>
        +3600000                    => store [no t-0, no g]
        list                        => list []
        durable                     =>
        fetch all                   => fetch []
        restart                     =>
        list                        => list []
        ",
    );
}

#[test]
fn a_simple_groups_offsets_expire_each_after_its_commit() {
    check(
        one_day(),
        "
        commit - t-0=1  => store [t-0=1]
        durable         => -:commit t-0:ok
        +43200000       =>
        commit - t-1=2  => store [t-1=2]
        durable         => -:commit t-1:ok
        +43200000       => store [no t-0]
        durable         =>
        fetch all       => fetch [t-1=2]
        +43200000       => store [no t-1, no g]
        ",
    );
}

#[test]
fn a_clients_own_retention_counts_for_its_commit() {
    check(
        one_day(),
        "
        commit - v=4 t-0=1 retention=7200000   => store [t-0=1]
        commit - v=4 t-1=1 retention=999999999 => store [t-1=1]
        durable                                => -:commit t-0:ok
        durable                                => -:commit t-1:ok
        +3600000                               =>
        +3600000                               => store [no t-0]
        durable                                =>
        +86400000                              =>
        restart                                =>
        fetch all                              => fetch [t-1=1]
        ",
    );
}

#[test]
fn a_live_groups_offsets_expire_only_of_topics_that_nobody_subscribes_to() {
    let heartbeats = "
        +1500000 =>
        beat a => a:beat ok
    ";
    subscribe_to_t(&format!(
        "
        join a v=3 session=1800000 p=range:SUBSCRIPTION => store [g gen=0]
        +0 => a:join gen=1 range leader=a members=a:@
        sync a => store [g gen=1 a:]
        durable =>
        durable => a:sync \"\"
        commit a t-0=1 u-0=2 => store [t-0=1, u-0=2]
        durable => a:commit t-0:ok u-0:ok
        {}
        +900000 => store [no u-0]
        durable =>
        fetch all => fetch [t-0=1]
        ",
        heartbeats.repeat(57)
    ));
}

#[test]
fn offsets_of_a_live_group_whose_subscriptions_cannot_be_read_stay() {
    let heartbeats = "
        +1500000 =>
        beat a => a:beat ok
    ";
    check(
        one_day(),
        &format!(
            "
            join a v=3 session=1800000 => store [g gen=0]
            +0 => a:join gen=1 range leader=a members=a:m
            sync a => store [g gen=1 a:]
            durable =>
            durable => a:sync \"\"
            commit a t-0=1 => store [t-0=1]
            durable => a:commit t-0:ok
            {}
            fetch all => fetch [t-0=1]
            ",
            heartbeats.repeat(70)
        ),
    );
}

#[test]
fn a_group_of_which_nothing_is_left_is_deleted_but_not_under_who_is_about_to_join() {
    check(
        GroupConfig { offsets_retention_check_interval_ms: 6_000, ..one_day() },
        "
        join a session=10000 => a:join MemberIdRequired; store [g gen=0]
        durable              =>
        +6000                =>
        +5999                =>
        +1                   => store [no g]
        ",
    );
}
