//! Consumer groups whose records could not be stored: what is told, and what is left.

use super::consumer_groups::eager;
use super::conversions::classic_group;
use super::scenario::check;

#[test]
fn a_group_that_could_not_be_stored_is_gone() {
    check(
        eager(),
        "
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        list             => list []
        fail unavailable => a:hb CoordinatorNotAvailable
        list             => list []
        hb a e=2         => a:hb GroupIdNotFound
        +3600000
        ",
    );
}

#[test]
fn a_change_that_could_not_be_stored_is_taken_back() {
    check(
        eager(),
        "
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        hb b s=t         => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        fail notleader   => b:hb NotCoordinator
        cdescribe        => cdescribe Stable uniform 2/2 a@2 [t-0,t-1,t-2]->[t-0,t-1,t-2]
        hb a             => a:hb 2
        hb b e=3         => b:hb UnknownMemberId
        hb b s=t         => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable          => b:hb 3 []
        ",
    );
}

#[test]
fn what_was_decided_on_top_of_a_failure_fails_too_and_what_comes_after_it_does_not() {
    check(
        eager(),
        "
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        hb b s=t         => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable          => b:hb 3 []
        hb a own=t-0,t-1 => store [a@3 [t-0,t-1]]
        hb b             => store [b@3 [t-2]]
        fail unavailable => a:hb CoordinatorNotAvailable
        # The partition is a's again, also before the other store has ended.
        hb b             => store [b@3 [] unreleased]
        hb a own=t-0,t-1 => store [a@3 [t-0,t-1]]
        hb b             => store [b@3 [t-2]]
        fail unavailable => b:hb CoordinatorNotAvailable
        durable          => b:hb 3
        durable          => a:hb 3 [t-0,t-1]
        durable          => b:hb 3 [t-2]
        restart
        cdescribe        => cdescribe Stable uniform 3/3 a@3 [t-0,t-1]->[t-0,t-1] b@3 [t-2]->[t-2]
        ",
    );
}

#[test]
fn a_deletion_that_could_not_be_stored_is_taken_back() {
    check(
        eager(),
        "
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        commit a t-0=5   => store [t-0=5]
        durable          => a:commit t-0:ok
        hb a e=-1        => store [a has nothing, a no target, no a, epoch 3]
        durable          => a:hb -1
        delete-group     => store [no t-0, no target, no topics, no epoch]
        list             => list [g \"consumer\" Empty]
        fail unavailable => delete-group CoordinatorNotAvailable
        list             => list [g \"consumer\" Empty]
        fetch all        => fetch [t-0=5]
        ",
    );
}

#[test]
fn a_conversion_that_could_not_be_stored_leaves_the_classic_group_to_rebalance() {
    classic_group(eager()).run(
        "
        hb c s=t         => store [no g, a/classic s=t, b/classic s=t, epoch 1, a->[t-0,t-1], b->[t-2], target 1, a@1 [t-0,t-1], b@1 [t-2], c s=t, epoch 2, a->[t-0], c->[t-1], target 2, c@2 [] unreleased]
        beat a
        fail unavailable => c:hb CoordinatorNotAvailable; a:beat CoordinatorNotAvailable
        list             => list [g \"consumer\" PreparingRebalance]
        beat a           => a:beat RebalanceInProgress
        +5000            => store [g gen=2]
        ",
    );
}

#[test]
fn a_conversion_back_that_could_not_be_stored_leaves_the_consumer_group() {
    classic_group(eager()).run(
        "
        hb c s=t         => store [no g, a/classic s=t, b/classic s=t, epoch 1, a->[t-0,t-1], b->[t-2], target 1, a@1 [t-0,t-1], b@1 [t-2], c s=t, epoch 2, a->[t-0], c->[t-1], target 2, c@2 [] unreleased]
        durable          => c:hb 2 []
        hb c e=-1        => store [a has nothing, b has nothing, c has nothing, a no target, b no target, c no target, no target, no a, no b, no c, no topics, no epoch, g gen=2 a:[t-0,t-1] b:[t-2]]
        join a p=range:@t
        fail unavailable => c:hb CoordinatorNotAvailable; a:join CoordinatorNotAvailable
        cdescribe        => cdescribe Reconciling uniform 2/2 a/classic@1 [t-0,t-1]->[t-0] b/classic@1 [t-2]->[t-2] c@2 []->[t-1]
        hb c e=2         => store [c@2 [] unreleased]
        ",
    );
}
