//! What happens between the decision to write and the end of the write, and after a restart.

use super::scenario::{check, prompt};

#[test]
fn an_assignment_that_cannot_be_stored_leads_to_a_rebalance() {
    check(
        prompt(),
        "
        join a v=3        => store [g gen=0]
        +0                => a:join gen=1 range leader=a members=a:m
        sync a assign=a:x => store [g gen=1 a:x]
        durable           =>
        fail unavailable  => a:sync CoordinatorNotAvailable
        beat a            => a:beat RebalanceInProgress
        join a            => a:join gen=2 range leader=a members=a:m
        sync a assign=a:x => store [g gen=2 a:x]
        fail toolarge     => a:sync UnknownServerError
        ",
    );
}

#[test]
fn an_assignment_of_a_group_that_was_deleted_meanwhile_is_not_taken_for_the_new_ones() {
    check(
        prompt(),
        "
        join a v=3          => store [g gen=0]
        +0                  => a:join gen=1 range leader=a members=a:m
        sync a assign=a:old => store [g gen=1 a:old]
        leave a             => a:sync UnknownMemberId; store [g gen=2]
        delete-group        => store [no g]
        join b v=3          => store [g gen=0]
        +0                  => b:join gen=1 range leader=b members=b:m
        sync b assign=b:new => store [g gen=1 b:new]
        durable             =>
        durable             =>
        durable             => a:leave [ok]
        durable             => delete-group ok
        durable             =>
        durable             => b:sync \"new\"
        ",
    );
}

#[test]
fn a_group_that_could_not_be_made_known_is_gone() {
    check(
        prompt(),
        "
        join a v=3       => store [g gen=0]
        fail notleader   => a:join NotCoordinator
        list             => list []
        join b           => b:join MemberIdRequired; store [g gen=0]
        fail unavailable =>
        join b           => b:join UnknownMemberId
        +3600000         =>
        ",
    );
}

#[test]
fn offsets_that_came_meanwhile_keep_a_group_that_could_not_be_made_known() {
    check(
        prompt(),
        "
        join a          => a:join MemberIdRequired; store [g gen=0]
        commit - t-0=5  => store [t-0=5]
        fail notleader  =>
        list            => list [g \"\" Empty]
        durable         => -:commit t-0:ok
        fetch all       => fetch [t-0=5]
        join a          => a:join UnknownMemberId
        ",
    );
}

#[test]
fn a_commit_is_seen_once_it_is_durable_and_in_order() {
    check(
        prompt(),
        "
        commit - t-0=5        => store [t-0=5]
        commit - t-0=6 t-1=9  => store [t-0=6, t-1=9]
        fetch all             => fetch []
        durable               => -:commit t-0:ok
        fetch t-0 t-1         => fetch [t-0=5 t-1=-1]
        fetch all stable      =>
        durable               => -:commit t-0:ok t-1:ok; fetch [t-0=6 t-1=9]
        fetch all stable      => fetch [t-0=6 t-1=9]
        ",
    );
}

#[test]
fn a_commit_that_takes_too_long_is_seen_when_it_is_durable() {
    check(
        prompt(),
        "
        commit - t-0=5    => store [t-0=5]
        durable           => -:commit t-0:ok
        commit - t-0=6    => store [t-0=6]
        fetch t-0 stable  =>
        late              => -:commit t-0:CoordinatorNotAvailable; fetch [t-0=5]
        late              =>
        fetch t-0         => fetch [t-0=5]
        commit - t-0=7    => store [t-0=7]
        durable           =>
        fetch t-0         => fetch [t-0=6]
        durable           => -:commit t-0:ok
        commit - t-0=8    => store [t-0=8]
        late              => -:commit t-0:CoordinatorNotAvailable
        fail notleader    =>
        fetch t-0         => fetch [t-0=7]
        ",
    );
}

#[test]
fn an_assignment_that_takes_too_long_leads_to_a_rebalance() {
    check(
        prompt(),
        "
        join a v=3        => store [g gen=0]
        late              =>
        +0                => a:join gen=1 range leader=a members=a:m
        sync a assign=a:x => store [g gen=1 a:x]
        durable           =>
        late              => a:sync CoordinatorNotAvailable
        beat a            => a:beat RebalanceInProgress
        durable           =>
        beat a            => a:beat RebalanceInProgress
        join a            => a:join gen=2 range leader=a members=a:m
        sync a assign=a:y => store [g gen=2 a:y]
        durable           => a:sync \"y\"
        ",
    );
}

#[test]
fn a_deletion_that_takes_too_long_is_done_when_it_is_durable() {
    check(
        prompt(),
        "
        commit - t-0=5  => store [t-0=5]
        durable         => -:commit t-0:ok
        delete-group    => store [no t-0, no g]
        late            => delete-group CoordinatorNotAvailable
        fetch all       => fetch [t-0=5]
        durable         =>
        fetch all       => fetch []
        list            => list []
        ",
    );
}

#[test]
fn a_commit_that_cannot_be_stored_leaves_what_was_there() {
    check(
        prompt(),
        "
        commit - t-0=5        => store [t-0=5]
        durable               => -:commit t-0:ok
        commit - t-0=6 u-7=1  => store [t-0=6]
        commit - t-0=7        => store [t-0=7]
        fetch t-0 stable      =>
        fail notleader        => -:commit u-7:UnknownTopicOrPartition t-0:NotCoordinator
        fetch t-0             => fetch [t-0=5]
        fail unavailable      => -:commit t-0:CoordinatorNotAvailable; fetch NotCoordinator
        fetch t-0             => fetch [t-0=5]
        ",
    );
}

#[test]
fn a_simple_group_whose_only_commit_failed_leaves_no_trace() {
    check(
        prompt(),
        "
        commit - t-0=6  => store [t-0=6]
        list            => list [g \"\" Empty]
        fail notleader  => -:commit t-0:NotCoordinator
        list            => list []
        ",
    );
}

#[test]
fn a_deletion_that_cannot_be_stored_is_taken_back() {
    check(
        prompt(),
        "
        commit - t-0=5          => store [t-0=5]
        durable                 => -:commit t-0:ok
        delete-offsets t-0      => store [no t-0]
        fail notleader          => delete-offsets NotCoordinator
        delete-group            => store [no t-0, no g]
        list                    => list []
        fail unavailable        => delete-group CoordinatorNotAvailable
        fetch all               => fetch [t-0=5]
        list                    => list [g \"\" Empty]
        ",
    );
}

#[test]
fn the_deletion_of_a_group_covers_offsets_whose_own_deletion_fails() {
    check(
        prompt(),
        "
        commit - t-0=5      => store [t-0=5]
        commit - t-1=5      => store [t-1=5]
        delete-offsets t-0  => store [no t-0]
        delete-group        => store [no t-0, no t-1, no g]
        durable             => -:commit t-0:ok
        durable             => -:commit t-1:ok
        fail notleader      => delete-offsets NotCoordinator
        fetch all           => fetch [t-0=5 t-1=5]
        durable             => delete-group ok
        fetch all           => fetch []
        ",
    );
}

#[test]
fn a_commit_behind_a_deletion_survives_it() {
    check(
        prompt(),
        "
        commit - t-0=5 t-1=5 => store [t-0=5, t-1=5]
        durable              => -:commit t-0:ok t-1:ok
        delete-group         => store [no t-0, no t-1, no g]
        commit - t-0=6       => store [t-0=6]
        durable              => delete-group ok
        durable              => -:commit t-0:ok
        fetch all            => fetch [t-0=6]
        restart              =>
        fetch all            => fetch [t-0=6]
        ",
    );
}

#[test]
fn a_restart_brings_back_what_was_durable() {
    check(
        prompt(),
        "
        join a v=3 p=range:ma => store [g gen=0]
        +0                    => a:join gen=1 range leader=a members=a:ma
        sync a assign=a:x     => store [g gen=1 a:x]
        durable               =>
        durable               => a:sync \"x\"
        commit a t-0=5 meta=! => store [t-0=5]
        durable               => a:commit t-0:ok
        commit a t-0=6        => store [t-0=6]
        restart               =>
        describe              => describe Stable \"range\" [a]
        fetch all             => fetch [t-0=5!]
        sync a                => a:sync \"x\"
        beat a                => a:beat ok
        +9999                 =>
        beat a                => a:beat ok
        +10000                => store [g gen=2]
        durable               =>
        restart               =>
        describe              => describe Empty \"\" []
        ",
    );
}

#[test]
fn who_resigns_tells_everybody_to_look_elsewhere() {
    check(
        prompt(),
        "
        join a v=3          => store [g gen=0]
        +0                  => a:join gen=1 range leader=a members=a:m
        sync a assign=a:x   => store [g gen=1 a:x]
        group h
        join b v=3          => store [h gen=0]
        group i
        commit - t-0=1      => store [t-0=1]
        fetch all stable    =>
        resign              => -:commit t-0:NotCoordinator; fetch NotCoordinator; a:sync NotCoordinator; b:join NotCoordinator
        durable             =>
        durable             =>
        list                => list []
        ",
    );
}
