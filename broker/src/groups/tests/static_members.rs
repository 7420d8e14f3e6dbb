//! Static membership (KIP-345, KIP-814).

use super::scenario::{check, prompt};

/// Static members `a` (leader) and `b` in generation 1, stable.
const TWO: &str = "
    join a i=ia p=range:ma        => store [g gen=0]
    join b i=ib p=range:mb        =>
    +0                            => a:join gen=1 range leader=a members=a:ma,b:mb; b:join gen=1 range leader=a
    sync b i=ib                   =>
    sync a i=ia assign=a:x,b:y    => store [g gen=1 a:x b:y]
    durable                       =>
    durable                       => a:sync \"x\"; b:sync \"y\"
";

fn check_two(script: &str) {
    check(prompt(), &format!("{TWO}{script}"));
}

#[test]
fn a_restart_needs_no_rebalance_and_fences_who_was_there_before() {
    check_two(
        "
        join B new i=ib p=range:mb  => store [g gen=1 a:x ib:y]
        beat a i=ia                 => a:beat ok
        durable                     => B:join gen=1 range leader=a
        sync B i=ib                 => B:sync \"y\"
        beat b i=ib                 => b:beat FencedInstanceId
        sync b i=ib                 => b:sync FencedInstanceId
        commit b i=ib t-0=1         => b:commit t-0:FencedInstanceId
        join b i=ib                 => b:join FencedInstanceId
        leave b i=ib                => b:leave [FencedInstanceId]
        beat b                      => b:beat UnknownMemberId
        beat B i=ib                 => B:beat ok
        ",
    );
}

#[test]
fn a_leader_that_restarts_is_told_not_to_assign_or_that_another_leads() {
    check_two(
        "
        join A new i=ia p=range:ma     => store [g gen=1 ia:x b:y]
        durable                        => A:join gen=1 range leader=A members=A:ma,b:mb skip
        sync A i=ia                    => A:sync \"x\"
        # Before version 9 it is told that its old self leads, and so behaves as a follower.
        join C new v=8 i=ia p=range:ma => store [g gen=1 ia:x b:y]
        durable                        => C:join gen=1 range leader=A
        ",
    );
}

#[test]
fn a_restart_with_changed_metadata_and_the_same_protocol_does_not_rebalance() {
    check_two(
        "
        join B new i=ib p=range:other => store [g gen=1 a:x ib:y]
        durable                       => B:join gen=1 range leader=a
        ",
    );
}

#[test]
fn a_restart_that_changes_the_chosen_protocol_rebalances() {
    check(
        prompt(),
        "
        join a i=ia p=range:m,rr:m    => store [g gen=0]
        +0                            => a:join gen=1 range leader=a members=a:m
        sync a i=ia assign=a:x        => store [g gen=1 a:x]
        durable                       =>
        durable                       => a:sync \"x\"
        join A new i=ia p=rr:m        => A:join gen=2 rr leader=A members=A:m
        ",
    );
}

#[test]
fn a_restart_while_the_assignment_is_awaited_rebalances() {
    check_two(
        "
        join a i=ia                 =>
        join b i=ib                 => a:join gen=2 range leader=a members=a:m,b:m; b:join gen=2 range leader=a
        sync b i=ib                 =>
        join B new i=ib             => b:sync FencedInstanceId
        sync a i=ia assign=a:x,b:y  => a:sync RebalanceInProgress
        join a i=ia                 => a:join gen=3 range leader=a members=a:m,B:m; B:join gen=3 range leader=a
        ",
    );
}

#[test]
fn two_with_one_instance_id_in_one_rebalance() {
    check_two(
        "
        join a i=ia                 =>
        join B new i=ib             => a:join gen=2 range leader=a members=a:m,B:m; B:join gen=2 range leader=a
        sync a i=ia                 => store [g gen=2 a: B:]
        durable                     => a:sync \"\"
        join c new i=ic             =>
        join B i=ib                 =>
        join C new i=ib             => B:join FencedInstanceId
        join a i=ia                 => a:join gen=3 range leader=a members=a:m,C:m,c:m; C:join gen=3 range leader=a; c:join gen=3 range leader=a
        ",
    );
}

#[test]
fn absent_static_members_stay_until_their_session_ends() {
    check_two(
        "
        join a i=ia session=60000 =>
        +5000       => a:join gen=2 range leader=a members=a:m,b:mb
        sync a i=ia => store [g gen=2 a: b:]
        durable     => a:sync \"\"
        +5000       =>
        join a i=ia => a:join gen=3 range leader=a members=a:m
        ",
    );
}

#[test]
fn a_rebalance_without_anybody_goes_on_until_sessions_end() {
    check_two(
        "
        leave a i=ia => a:leave [ok]
        +9999        =>
        +1           => store [g gen=2]
        ",
    );
}

#[test]
fn an_administrator_removes_members_by_instance_id() {
    check_two(
        "
        leave - i=ib       => -:leave [ok]
        leave - i=ib       => -:leave [UnknownMemberId]
        leave - i=ghost    => -:leave [UnknownMemberId]
        leave - i=ia as=wrong => -:leave [FencedInstanceId]
        beat a i=ia        => a:beat RebalanceInProgress
        join a i=ia        => a:join gen=2 range leader=a members=a:m
        ",
    );
}

#[test]
fn a_session_that_ends_during_a_slow_store_begins_anew() {
    check(
        prompt(),
        "
        join a i=ia       => store [g gen=0]
        durable           =>
        +0                => a:join gen=1 range leader=a members=a:m
        sync a i=ia       => store [g gen=1 a:]
        durable           => a:sync \"\"
        join A new i=ia   => store [g gen=1 ia:]
        +20000            =>
        durable           => A:join gen=1 range leader=A members=A:m skip
        +9999             =>
        +1                => store [g gen=2]
        ",
    );
}

#[test]
fn a_failed_store_gives_the_member_its_old_id_back() {
    check_two(
        "
        join B new i=ib p=range:other => store [g gen=1 a:x ib:y]
        fail notleader                => B:join NotCoordinator
        beat b i=ib                   => b:beat ok
        join b i=ib p=range:mb        => b:join gen=1 range leader=a
        ",
    );
}

#[test]
fn a_rebalance_that_overtakes_the_store_takes_the_join_along() {
    check_two(
        "
        join B new i=ib p=range:mb => store [g gen=1 a:x ib:y]
        join a i=ia p=range:ma     => a:join gen=2 range leader=a members=a:ma,B:mb; B:join gen=2 range leader=a
        durable                    =>
        sync a i=ia assign=B:z     => store [g gen=2 a: B:z]
        durable                    => a:sync \"\"
        sync B i=ib                => B:sync \"z\"
        ",
    );
}

#[test]
fn static_members_survive_a_restart_of_the_broker() {
    check_two(
        "
        restart             =>
        beat b i=ib         => b:beat ok
        beat b i=ia         => b:beat FencedInstanceId
        join B new i=ib p=range:mb => store [g gen=1 a:x ib:y]
        durable             => B:join gen=1 range leader=a
        ",
    );
}
