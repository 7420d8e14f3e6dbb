//! A member's life: getting an id, joining, syncing, heartbeats, sessions, leaving.

use super::super::GroupConfig;
use super::scenario::{check, prompt};

#[test]
fn a_dynamic_member_gets_an_id_first_and_then_the_assignment_once_it_is_durable() {
    check(
        prompt(),
        "
        join a p=range:ma          => a:join MemberIdRequired; store [g gen=0]
        durable                    =>
        beat a gen=0               => a:beat UnknownMemberId
        join a p=range:ma          =>
        +0                         => a:join gen=1 range leader=a members=a:ma
        beat a                     => a:beat ok
        commit a t-0=5             => a:commit t-0:RebalanceInProgress
        sync a assign=a:t0,ghost:x => store [g gen=1 a:t0]
        describe                   => describe CompletingRebalance \"\" [a]
        durable                    => a:sync \"t0\"
        describe                   => describe Stable \"range\" [a]
        sync a assign=a:other      => a:sync \"t0\"
        beat a                     => a:beat ok
        leave a                    => store [g gen=2]
        durable                    => a:leave [ok]
        describe                   => describe Empty \"\" []
        ",
    );
}

#[test]
fn before_version_4_a_member_joins_at_once() {
    check(
        prompt(),
        "
        join a v=3 => store [g gen=0]
        +0         => a:join gen=1 range leader=a members=a:m
        ",
    );
}

#[test]
fn an_id_that_is_not_used_within_the_session_timeout_is_forgotten() {
    check(
        prompt(),
        "
        join a session=8000 => a:join MemberIdRequired; store [g gen=0]
        +8000               =>
        join a              => a:join UnknownMemberId
        ",
    );
}

#[test]
fn a_rebalance_waits_for_a_member_that_was_given_an_id() {
    check(
        prompt(),
        "
        join a v=3          => store [g gen=0]
        +0                  => a:join gen=1 range leader=a members=a:m
        sync a assign=a:x   => store [g gen=1 a:x]
        durable             =>
        durable             => a:sync \"x\"
        join b              => b:join MemberIdRequired
        beat a              => a:beat ok
        join a              =>
        +100                =>
        join b              => a:join gen=2 range leader=a members=a:m,b:m; b:join gen=2 range leader=a
        ",
    );
}

#[test]
fn requests_that_cannot_be_are_refused() {
    check(
        prompt(),
        "
        join a session=5999          => a:join InvalidSessionTimeout
        join a session=1800001       => a:join InvalidSessionTimeout
        join a as=nobody             => a:join UnknownMemberId
        sync a as=nobody             => a:sync UnknownMemberId
        beat a as=nobody             => a:beat UnknownMemberId
        leave a as=nobody            => a:leave [UnknownMemberId]
        leave a as=nobody v=2        => a:leave UnknownMemberId
        join a type= p=range:m       => a:join InconsistentGroupProtocol; store [g gen=0]
        durable                      =>
        join a p=                    => a:join InconsistentGroupProtocol
        join a                       => a:join MemberIdRequired
        join a i=instance            => a:join UnknownServerError
        join a                       =>
        +0                           => a:join gen=1 range leader=a members=a:m
        join b type=connect          => b:join InconsistentGroupProtocol
        join b p=sticky:m            => b:join InconsistentGroupProtocol
        sync a p=other               => a:sync InconsistentGroupProtocol
        sync a type=other            => a:sync InconsistentGroupProtocol
        sync a gen=0                 => a:sync IllegalGeneration
        beat a gen=2                 => a:beat IllegalGeneration
        beat a i=instance            => a:beat UnknownMemberId
        commit a t-0=1 gen=0         => a:commit t-0:IllegalGeneration
        ",
    );
}

#[test]
fn an_empty_group_id_is_invalid() {
    use super::scenario::Scenario;
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

    use super::super::{GroupEffect, GroupReply, GroupRequest};

    let mut scenario = Scenario::new(prompt());
    let requests = [
        GroupRequest::JoinGroup(JoinGroupRequest::default()),
        GroupRequest::SyncGroup(SyncGroupRequest::default()),
        GroupRequest::Heartbeat(HeartbeatRequest::default()),
        GroupRequest::LeaveGroup(LeaveGroupRequest::default()),
    ];
    for request in requests {
        let effects = scenario.send("a", 4, request);
        let [GroupEffect::Reply { reply, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        let code = match reply {
            GroupReply::JoinGroup(r) => r.error_code,
            GroupReply::SyncGroup(r) => r.error_code,
            GroupReply::Heartbeat(r) => r.error_code,
            GroupReply::LeaveGroup(r) => r.error_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code, ResponseError::InvalidGroupId.code(), "{reply:?}");
    }
}

#[test]
fn a_member_that_is_not_heard_of_is_out_and_the_group_rebalances() {
    check(
        prompt(),
        "
        join a v=3 session=6000       => store [g gen=0]
        join b v=3 session=9000       =>
        +0                            => a:join gen=1 range leader=a members=a:m,b:m; b:join gen=1 range leader=a
        sync b                        =>
        sync a assign=a:x,b:y         => store [g gen=1 a:x b:y]
        durable                       =>
        durable                       => a:sync \"x\"; b:sync \"y\"
        +5000                         =>
        beat b                        => b:beat ok
        +1000                         =>
        beat b                        => b:beat RebalanceInProgress
        beat a                        => a:beat UnknownMemberId
        join b                        => b:join gen=2 range leader=b members=b:m
        ",
    );
}

#[test]
fn a_commit_keeps_the_session_and_so_does_a_rebalance() {
    check(
        prompt(),
        "
        join a v=3 session=6000 rebalance=60000 => store [g gen=0]
        +0                                      => a:join gen=1 range leader=a members=a:m
        sync a assign=a:x                       => store [g gen=1 a:x]
        durable                                 =>
        durable                                 => a:sync \"x\"
        +5999                                   =>
        commit a t-0=1                          => store [t-0=1]
        durable                                 => a:commit t-0:ok
        +5999                                   =>
        beat a                                  => a:beat ok
        # It waits in a rebalance for b, far longer than its session.
        join b                                  => b:join MemberIdRequired
        join a session=6000 rebalance=60000     =>
        +9999                                   =>
        +1                                      => a:join gen=2 range leader=a members=a:m
        beat a                                  => a:beat ok
        +6000                                   => store [g gen=3]
        ",
    );
}

#[test]
fn a_new_member_whose_connection_may_be_gone_is_given_up_after_five_minutes() {
    check(
        GroupConfig { initial_rebalance_delay_ms: 400_000, ..GroupConfig::default() },
        "
        join a v=3 rebalance=500000 => store [g gen=0]
        durable                     =>
        +299999                     =>
        +1                          => a:join UnknownMemberId; store [g gen=1]
        ",
    );
}

#[test]
fn group_max_size_holds() {
    check(
        GroupConfig { max_size: 1, ..prompt() },
        "
        join a v=3        => store [g gen=0]
        join b v=3        => b:join GroupMaxSizeReached
        +0                => a:join gen=1 range leader=a members=a:m
        join b            => b:join GroupMaxSizeReached
        sync a assign=a:x => store [g gen=1 a:x]
        durable           =>
        durable           => a:sync \"x\"
        join b            => b:join GroupMaxSizeReached
        join a            => a:join gen=2 range leader=a members=a:m
        ",
    );
}

#[test]
fn a_lowered_group_max_size_leaves_the_last_to_come_back_out() {
    let mut scenario = super::scenario::Scenario::new(prompt());
    scenario.run(
        "
        join a v=3            => store [g gen=0]
        join b v=3            =>
        +0                    => a:join gen=1 range leader=a members=a:m,b:m; b:join gen=1 range leader=a
        sync a assign=a:x,b:y => store [g gen=1 a:x b:y]
        durable               =>
        durable               => a:sync \"x\"
        ",
    );
    scenario.set_config(GroupConfig { max_size: 1, ..prompt() });
    scenario.run(
        "
        restart =>
        beat a  => a:beat RebalanceInProgress
        join b  =>
        join a  => a:join GroupMaxSizeReached
        +5000   => b:join gen=2 range leader=b members=b:m
        ",
    );
}

#[test]
fn ids_handed_out_and_groups_are_bounded() {
    check(
        GroupConfig { pending_members_max: 1, groups_max: 2, ..prompt() },
        "
        join a          => a:join MemberIdRequired; store [g gen=0]
        join b          => b:join CoordinatorNotAvailable
        group h
        commit - t-0=1  => store [t-0=1]
        group i
        join c          => c:join CoordinatorNotAvailable
        commit - t-0=1  => -:commit t-0:CoordinatorNotAvailable
        list            => list [g \"\" Empty, h \"\" Empty]
        ",
    );
}
