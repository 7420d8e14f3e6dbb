//! Groups that go from one protocol to the other, and classic members of consumer groups.

use super::super::{GroupConfig, MigrationPolicy};
use super::consumer_groups::eager;
use super::scenario::{Scenario, check};

/// A classic group of a and b, which have t-0 and t-1, and t-2.
const CLASSIC: &str = "
    join a v=3 p=range:@t              => store [g gen=0]
    join b v=3 p=range:@t
    +0                                 => a:join gen=1 range leader=a members=a:@,b:@; b:join gen=1 range leader=a
    sync a assign=a:@t-0+t-1,b:@t-2    => store [g gen=1 a:[t-0,t-1] b:[t-2]]
    sync b
    durable
    durable                            => a:sync [t-0,t-1]; b:sync [t-2]
";

pub(super) fn classic_group(config: GroupConfig) -> Scenario {
    let mut scenario = Scenario::new(config);
    scenario.run(CLASSIC);
    scenario
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_a_classic_one_again() {
    classic_group(eager()).run(
        "
        hb c s=t          => store [no g, a/classic s=t, b/classic s=t, epoch 1, a->[t-0,t-1], b->[t-2], target 1, a@1 [t-0,t-1], b@1 [t-2], c s=t, epoch 2, a->[t-0], c->[t-1], target 2, c@2 [] unreleased]
        list              => list [g \"consumer\" Stable]
        durable           => c:hb 2 []
        cdescribe         => cdescribe Reconciling uniform 2/2 a/classic@1 [t-0,t-1]->[t-0] b/classic@1 [t-2]->[t-2] c@2 []->[t-1]
        describe          => describe Dead GroupIdNotFound
        # The classic members hear of it, join, and say what they have.
        beat a            => a:beat RebalanceInProgress
        beat b            => b:beat RebalanceInProgress
        join b p=range:@t+t-2 => store [b/classic s=t, b@2 [t-2]]
        durable           => b:join gen=2 range leader=
        sync b            => b:sync [t-2]
        beat b            => b:beat ok
        join a p=range:@t+t-0+t-1 => store [a/classic s=t, a@1 [t-0]-[t-1] unrevoked]
        durable           => a:join gen=1 range leader=
        sync a            => a:sync [t-0]
        beat a            => a:beat RebalanceInProgress
        hb c              => store [c@2 [] unreleased]
        durable           => c:hb 2
        join a p=range:@t+t-0 => store [a/classic s=t, a@2 [t-0]]
        durable           => a:join gen=2 range leader=
        sync a            => a:sync [t-0]
        beat a            => a:beat ok
        hb c              => store [c@2 [t-1]]
        durable           => c:hb 2 [t-1]
        commit a t-0=5    => store [t-0=5]
        durable           => a:commit t-0:ok
        commit a t-0=5 gen=7 => a:commit t-0:IllegalGeneration
        restart
        beat a            => a:beat ok
        # The last member of the consumer protocol leaves.
        hb c e=-1         => store [a has nothing, b has nothing, c has nothing, a no target, b no target, c no target, no target, no a, no b, no c, no topics, no epoch, g gen=2 a:[t-0] b:[t-2]]
        durable           => c:hb -1
        list              => list [g \"consumer\" PreparingRebalance]
        cdescribe         => cdescribe GroupIdNotFound \"Group g is not a consumer group.\"
        beat a            => a:beat RebalanceInProgress
        join a p=range:@t
        join b p=range:@t => a:join gen=3 range leader=a members=a:@,b:@; b:join gen=3 range leader=a
        fetch all         => fetch [t-0=5]
        ",
    );
}

#[test]
fn a_group_stays_what_it_is_where_the_policy_says_so() {
    classic_group(GroupConfig { consumer_migration_policy: MigrationPolicy::Downgrade, ..eager() }).run(
        "
        hb c s=t => c:hb GroupIdNotFound
        beat a   => a:beat ok
        ",
    );
    let upgrade = GroupConfig { consumer_migration_policy: MigrationPolicy::Upgrade, ..eager() };
    classic_group(upgrade).run(
        "
        hb c s=t  => store [no g, a/classic s=t, b/classic s=t, epoch 1, a->[t-0,t-1], b->[t-2], target 1, a@1 [t-0,t-1], b@1 [t-2], c s=t, epoch 2, a->[t-0], c->[t-1], target 2, c@2 [] unreleased]
        durable   => c:hb 2 []
        hb c e=-1 => store [c has nothing, c no target, no c, epoch 3]
        ",
    );
}

#[test]
fn only_groups_of_consumers_with_plain_assignors_are_taken_over() {
    check(
        eager(),
        "
        join a v=3 type=connect p=x:m => store [g gen=0]
        hb c s=t                      => c:hb GroupIdNotFound
        group h
        join b v=3 p=range:m          => store [h gen=0]
        hb c s=t                      => c:hb GroupIdNotFound
        +0                            => a:join gen=1 x leader=a members=a:m; b:join gen=1 range leader=b members=b:m
        ",
    );
}

#[test]
fn classic_members_join_an_existing_consumer_group() {
    check(
        eager(),
        "
        hb c s=t             => store [c s=t, epoch 2, c->[t-0,t-1,t-2], target 2, c@2 [t-0,t-1,t-2]]
        durable              => c:hb 2 [t-0,t-1,t-2]
        join a type=connect p=range:@t => a:join InconsistentGroupProtocol
        join a p=range:@t    => a:join MemberIdRequired
        join a p=range:m     => a:join UnknownServerError
        join a p=range:@t    => store [a/classic s=t, epoch 3, a->[t-2], c->[t-0,t-1], target 3, a@3 [] unreleased]
        durable              => a:join gen=3 range leader=
        sync a p=rr          => a:sync InconsistentGroupProtocol
        sync a gen=2         => a:sync IllegalGeneration
        sync a               => a:sync []
        beat c               => c:beat UnknownMemberId
        hb c own=t-0,t-1     => store [c@3 [t-0,t-1]]
        durable              => c:hb 3 [t-0,t-1]
        beat a               => a:beat RebalanceInProgress
        join a p=range:@t    => store [a@3 [t-2]]
        durable              => a:join gen=3 range leader=
        sync a               => a:sync [t-2]
        leave a              => store [a has nothing, a no target, no a, epoch 4]
        durable              => a:leave [ok]
        ",
    );
}

#[test]
fn a_classic_member_that_does_not_join_or_sync_in_time_is_out() {
    let ready = "
        hb c s=t             => store [c s=t, epoch 2, c->[t-0,t-1,t-2], target 2, c@2 [t-0,t-1,t-2]]
        durable              => c:hb 2 [t-0,t-1,t-2]
        join a p=range:@t session=30000 rebalance=5000 => a:join MemberIdRequired
        join a p=range:@t session=30000 rebalance=5000 => store [a/classic s=t, epoch 3, a->[t-2], c->[t-0,t-1], target 3, a@3 [] unreleased]
        durable              => a:join gen=3 range leader=
    ";
    let mut scenario = Scenario::new(eager());
    scenario.run(ready);
    scenario.run("+4999");
    scenario.run("+1 => store [a has nothing, a no target, no a, epoch 4]");
    let mut scenario = Scenario::new(eager());
    scenario.run(ready);
    scenario.run(
        "
        sync a           => a:sync []
        hb c own=t-0,t-1 => store [c@3 [t-0,t-1]]
        durable          => c:hb 3 [t-0,t-1]
        beat a           => a:beat RebalanceInProgress
        +4999
        beat a           => a:beat RebalanceInProgress
        +1               => store [a has nothing, a no target, no a, epoch 4]
        ",
    );
}

#[test]
fn an_empty_group_is_taken_over_by_either_protocol() {
    check(
        eager(),
        "
        hb a s=t   => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable    => a:hb 2 [t-0,t-1,t-2]
        hb a e=-1  => store [a has nothing, a no target, no a, epoch 3]
        durable    => a:hb -1
        join b v=3 => store [no target, no topics, no epoch]; store [g gen=0]
        durable
        durable
        +0         => b:join gen=1 range leader=b members=b:m
        leave b    => store [g gen=2]
        durable    => b:leave [ok]
        hb a e=0 s=t => store [no g, a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable    => a:hb 2 [t-0,t-1,t-2]
        restart
        cdescribe  => cdescribe Stable uniform 2/2 a@2 [t-0,t-1,t-2]->[t-0,t-1,t-2]
        ",
    );
}

#[test]
fn a_static_member_changes_its_protocol_and_takes_the_group_along() {
    check(
        eager(),
        "
        hb a s=t i=1    => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable         => a:hb 2 [t-0,t-1,t-2]
        hb a i=1 e=-2   => store [a@-2 [t-0,t-1,t-2]]
        durable         => a:hb -2
        join b i=1 p=range:@t+t-0+t-1+t-2 => store [a has nothing, a no target, no a, AAAAAAAAAAAAAAAAAAAAAQ s=t, AAAAAAAAAAAAAAAAAAAAAQ->[t-0,t-1,t-2], AAAAAAAAAAAAAAAAAAAAAQ@0 [t-0,t-1,t-2], AAAAAAAAAAAAAAAAAAAAAQ/classic s=t, AAAAAAAAAAAAAAAAAAAAAQ@2 [t-0,t-1,t-2], AAAAAAAAAAAAAAAAAAAAAQ has nothing, AAAAAAAAAAAAAAAAAAAAAQ no target, no target, no AAAAAAAAAAAAAAAAAAAAAQ, no topics, no epoch, g gen=2 AAAAAAAAAAAAAAAAAAAAAQ:[t-0,t-1,t-2]]
        durable         => b:join gen=2 range leader=
        sync b i=1      => b:sync [t-0,t-1,t-2]
        beat b i=1      => b:beat ok
        restart
        beat b i=1      => b:beat ok
        list            => list [g \"consumer\" Stable]
        ",
    );
}
