//! Rebalances: who is waited for, and what races do to them.

use super::super::GroupConfig;
use super::scenario::{check, prompt};

/// Two members in generation 1, stable.
const TWO: &str = "
    join a v=3 p=range:ma         => store [g gen=0]
    join b v=3 p=range:mb         =>
    +0                            => a:join gen=1 range leader=a members=a:ma,b:mb; b:join gen=1 range leader=a
    sync b                        =>
    sync a assign=a:x,b:y         => store [g gen=1 a:x b:y]
    durable                       =>
    durable                       => a:sync \"x\"; b:sync \"y\"
";

fn check_two(script: &str) {
    check(prompt(), &format!("{TWO}{script}"));
}

#[test]
fn the_initial_delay_is_extended_as_members_come_up_to_the_rebalance_timeout() {
    check(
        GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() },
        "
        join a v=3 rebalance=8000 => store [g gen=0]
        +2999                     =>
        join b v=3 rebalance=8000 =>
        +1                        =>
        +2999                     =>
        join c v=3 rebalance=8000 =>
        +1                        =>
        +1999                     =>
        join d v=3 rebalance=8000 =>
        +1 => a:join gen=1 range leader=a members=a:m,b:m,c:m,d:m; b:join gen=1 range leader=a; c:join gen=1 range leader=a; d:join gen=1 range leader=a
        ",
    );
}

#[test]
fn the_initial_delay_ends_when_nobody_new_came() {
    check(
        GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() },
        "
        join a v=3 => store [g gen=0]
        +3000      => a:join gen=1 range leader=a members=a:m
        ",
    );
}

#[test]
fn a_third_joins_while_the_assignment_is_awaited() {
    check_two(
        "
        join a p=range:ma   =>
        join b p=range:mb   => a:join gen=2 range leader=a members=a:ma,b:mb; b:join gen=2 range leader=a
        sync b              =>
        join c v=3 p=range:mc => b:sync RebalanceInProgress
        sync a assign=a:x   => a:sync RebalanceInProgress
        beat b              => b:beat RebalanceInProgress
        join b p=range:mb   =>
        join a p=range:ma   => a:join gen=3 range leader=a members=a:ma,b:mb,c:mc; b:join gen=3 range leader=a; c:join gen=3 range leader=a
        ",
    );
}

#[test]
fn a_third_joins_while_the_assignment_is_on_its_way_to_the_log() {
    check_two(
        "
        join a p=range:ma       =>
        join b p=range:mb       => a:join gen=2 range leader=a members=a:ma,b:mb; b:join gen=2 range leader=a
        sync a assign=a:x2,b:y2 => store [g gen=2 a:x2 b:y2]
        sync b                  =>
        join c v=3              => a:sync RebalanceInProgress; b:sync RebalanceInProgress
        durable                 =>
        join b                  =>
        join a                  => a:join gen=3 range leader=a members=a:m,b:m,c:m; b:join gen=3 range leader=a; c:join gen=3 range leader=a
        ",
    );
}

#[test]
fn a_leader_that_dies_before_its_sync_is_removed_with_all_that_did_not_sync() {
    check_two(
        "
        join a rebalance=5000   =>
        join b rebalance=5000   => a:join gen=2 range leader=a members=a:m,b:m; b:join gen=2 range leader=a
        sync b                  =>
        +4999                   =>
        +1                      => b:sync RebalanceInProgress
        beat a                  => a:beat UnknownMemberId
        join b                  => b:join gen=3 range leader=b members=b:m
        ",
    );
}

#[test]
fn members_that_do_not_come_back_are_out_when_the_rebalance_timeout_ends() {
    check_two(
        "
        join c v=3      =>
        beat a          => a:beat RebalanceInProgress
        join b          =>
        +4999           =>
        +1              => b:join gen=2 range leader=b members=b:m,c:m; c:join gen=2 range leader=b
        beat a          => a:beat UnknownMemberId
        ",
    );
}

#[test]
fn a_sync_of_an_old_generation_is_refused_and_changes_nothing() {
    check_two(
        "
        join a                =>
        join b                => a:join gen=2 range leader=a members=a:m,b:m; b:join gen=2 range leader=a
        sync a gen=1 assign=a:old,b:old => a:sync IllegalGeneration
        sync a assign=a:new,b:new => store [g gen=2 a:new b:new]
        durable               => a:sync \"new\"
        sync b                => b:sync \"new\"
        ",
    );
}

#[test]
fn commits_during_a_rebalance() {
    check_two(
        "
        commit b t-0=5      => store [t-0=5]
        durable             => b:commit t-0:ok
        join a              =>
        # Its generation still holds while it prepares to revoke, as long as the join phase lasts.
        commit b t-0=6      => store [t-0=6]
        durable             => b:commit t-0:ok
        join b              => a:join gen=2 range leader=a members=a:m,b:m; b:join gen=2 range leader=a
        commit b t-0=7      => b:commit t-0:RebalanceInProgress
        commit b t-0=7 gen=1 => b:commit t-0:IllegalGeneration
        sync a assign=a:x   => store [g gen=2 a:x b:]
        durable             => a:sync \"x\"
        commit b t-0=8      => store [t-0=8]
        durable             => b:commit t-0:ok
        fetch t-0           => fetch [t-0=8]
        ",
    );
}

#[test]
fn when_all_leave_the_group_is_empty_in_a_new_generation() {
    check_two(
        "
        leave a => a:leave [ok]
        leave b => store [g gen=2]
        durable => b:leave [ok]
        describe => describe Empty \"\" []
        ",
    );
}

#[test]
fn a_follower_joins_again_without_change() {
    check_two(
        "
        join b p=range:mb       => b:join gen=1 range leader=a
        beat a                  => a:beat ok
        join b p=range:changed  =>
        beat a                  => a:beat RebalanceInProgress
        join a p=range:ma       => a:join gen=2 range leader=a members=a:ma,b:changed; b:join gen=2 range leader=a
        # Answers that got lost are given again.
        join b p=range:changed  => b:join gen=2 range leader=a
        join a p=range:ma       => a:join gen=2 range leader=a members=a:ma,b:changed
        beat a                  => a:beat ok
        ",
    );
}

#[test]
fn the_protocol_with_most_votes_among_those_that_all_support_is_chosen() {
    check(
        prompt(),
        "
        join a v=3 p=rr:a1,range:a2           => store [g gen=0]
        join b v=3 p=sticky:b1,range:b2,rr:b3 =>
        join c v=3 p=range:c1,rr:c2           =>
        join d v=3 p=sticky:d1                => d:join InconsistentGroupProtocol
        +0 => a:join gen=1 range leader=a members=a:a2,b:b2,c:c1; b:join gen=1 range leader=a; c:join gen=1 range leader=a
        ",
    );
}

#[test]
fn a_request_repeated_while_the_first_waits_takes_its_place() {
    check_two(
        "
        join c v=3          =>
        join a              =>
        join a              => a:join RebalanceInProgress
        join b              => a:join gen=2 range leader=a members=a:m,b:m,c:m; b:join gen=2 range leader=a; c:join gen=2 range leader=a
        sync b              =>
        sync b              => b:sync RebalanceInProgress
        sync a assign=b:y2  => store [g gen=2 a: b:y2 c:]
        sync a assign=b:y3  => a:sync RebalanceInProgress
        durable             => a:sync \"\"; b:sync \"y2\"
        ",
    );
}

#[test]
fn a_member_whose_connection_is_gone_still_counts_as_joined() {
    check_two(
        "
        join c v=3  =>
        join a      =>
        gone a      =>
        join b      => b:join gen=2 range leader=a; c:join gen=2 range leader=a
        ",
    );
}

#[test]
fn leaving_during_the_initial_delay() {
    check(
        GroupConfig { initial_rebalance_delay_ms: 1_000, ..GroupConfig::default() },
        "
        join a          => a:join MemberIdRequired; store [g gen=0]
        durable         =>
        join a          =>
        leave a         => a:join UnknownMemberId; a:leave [ok]
        +1000           => store [g gen=1]
        ",
    );
}
