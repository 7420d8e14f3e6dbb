//! Consumer groups of KIP-848: members, epochs, and partitions on their way from one to another.

use super::super::GroupConfig;
use super::scenario::{check, prompt};

/// Without a pause between one target assignment and the next.
pub(super) fn eager() -> GroupConfig {
    GroupConfig { consumer_assignment_interval_ms: 0, ..prompt() }
}

#[test]
fn partitions_go_from_one_member_to_the_next_when_they_are_given_back() {
    check(
        eager(),
        "
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        hb a             => a:hb 2
        hb b s=t         => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable          => b:hb 3 []
        hb a             => store [a@2 [t-0,t-1]-[t-2] unrevoked]
        durable          => a:hb 2 [t-0,t-1]
        hb a             => a:hb 2
        hb a own=t-0,t-1,t-2 => a:hb 2
        cdescribe        => cdescribe Reconciling uniform 3/3 a@2 [t-0,t-1]->[t-0,t-1] b@3 []->[t-2]
        hb a own=t-0,t-1 => store [a@3 [t-0,t-1]]
        durable          => a:hb 3
        hb b             => store [b@3 [t-2]]
        durable          => b:hb 3 [t-2]
        cdescribe        => cdescribe Stable uniform 3/3 a@3 [t-0,t-1]->[t-0,t-1] b@3 [t-2]->[t-2]
        ",
    );
}

#[test]
fn a_target_stays_for_the_interval_and_whoever_comes_meanwhile_waits() {
    check(
        prompt(),
        "
        hb a s=t  => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable   => a:hb 2 [t-0,t-1,t-2]
        +999
        hb b s=t  => store [b s=t, epoch 3, b@2 []]
        durable   => b:hb 2 []
        cdescribe => cdescribe Assigning uniform 3/2 a@2 [t-0,t-1,t-2]->[t-0,t-1,t-2] b@2 []->[]
        +1
        hb b      => store [a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        ",
    );
}

#[test]
fn who_leaves_or_is_silent_is_out_and_its_partitions_go_to_the_others() {
    check(
        eager(),
        "
        hb a s=t   => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable    => a:hb 2 [t-0,t-1,t-2]
        hb b s=t   => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable    => b:hb 3 []
        hb a e=-1  => store [a has nothing, a no target, no a, epoch 4]
        durable    => a:hb -1
        hb b       => store [b->[t-0,t-1,t-2], target 4, b@4 [t-0,t-1,t-2]]
        durable    => b:hb 4 [t-0,t-1,t-2]
        +44999
        hb b       => b:hb 4
        +44999
        +1         => store [b has nothing, b no target, no b, epoch 5]
        durable
        hb b       => b:hb UnknownMemberId
        list       => list [g \"consumer\" Empty]
        restart
        list       => list [g \"consumer\" Empty]
        cdescribe  => cdescribe Empty uniform 5/4
        hb c s=t   => store [c s=t, epoch 6, c->[t-0,t-1,t-2], target 6, c@6 [t-0,t-1,t-2]]
        ",
    );
}

#[test]
fn who_does_not_give_back_in_time_is_out() {
    check(
        eager(),
        "
        hb a s=t rebalance=7000 => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        hb b s=t         => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable          => b:hb 3 []
        hb a             => store [a@2 [t-0,t-1]-[t-2] unrevoked]
        durable          => a:hb 2 [t-0,t-1]
        +6999
        hb a             => a:hb 2
        +1               => store [a has nothing, a no target, no a, epoch 4]
        durable
        hb a             => a:hb UnknownMemberId
        restart
        cdescribe        => cdescribe Assigning uniform 4/3 b@3 []->[t-2]
        ",
    );
}

#[test]
fn giving_back_has_to_end_in_time_after_a_restart_too() {
    check(
        eager(),
        "
        hb a s=t  => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable   => a:hb 2 [t-0,t-1,t-2]
        hb b s=t  => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable   => b:hb 3 []
        hb a      => store [a@2 [t-0,t-1]-[t-2] unrevoked]
        durable   => a:hb 2 [t-0,t-1]
        restart
        +4999
        +1        => store [a has nothing, a no target, no a, epoch 4]
        ",
    );
}

#[test]
fn epochs_fence_who_is_behind_unless_an_answer_may_have_got_lost() {
    check(
        eager(),
        "
        hb a s=t           => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable            => a:hb 2 [t-0,t-1,t-2]
        hb a e=3           => a:hb FencedMemberEpoch
        hb a e=2 s=t,u own=t-0 rebalance=9 => store [a s=t,u, epoch 3, a->[t-0,t-1,t-2,u-0,u-1,u-2], target 3, a@3 [t-0,t-1,t-2,u-0,u-1,u-2]]
        durable            => a:hb 3 [t-0,t-1,t-2,u-0,u-1,u-2]
        # The epoch before, with nothing that is not its own.
        hb a e=2 own=t-0   => a:hb 3
        hb a e=2           => a:hb FencedMemberEpoch
        hb a e=2 own=t-7   => a:hb FencedMemberEpoch
        # It starts over, and is told everything.
        hb a e=0 s=t,u     => store [a s=t,u]
        durable            => a:hb 3 [t-0,t-1,t-2,u-0,u-1,u-2]
        hb a e=3 own=t-0 s=t,u rebalance=5000 => a:hb 3 [t-0,t-1,t-2,u-0,u-1,u-2]
        ",
    );
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    check(
        eager(),
        "
        hb a s=t i=1   => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable        => a:hb 2 [t-0,t-1,t-2]
        hb b s=t i=1   => b:hb UnreleasedInstanceId
        hb a i=1 e=-2  => store [a@-2 [t-0,t-1,t-2]]
        durable        => a:hb -2
        hb b s=t i=1   => store [a has nothing, a no target, no a, b s=t, b->[t-0,t-1,t-2], b@0 [t-0,t-1,t-2], b s=t, b@2 [t-0,t-1,t-2]]
        durable        => b:hb 2 [t-0,t-1,t-2]
        hb a i=1 e=2   => a:hb FencedInstanceId
        hb a i=2 e=2   => a:hb UnknownMemberId
        hb a e=-1      => a:hb UnknownMemberId
        hb a i=1 e=-1  => a:hb FencedInstanceId
        restart
        cdescribe      => cdescribe Stable uniform 2/2 b@2 [t-0,t-1,t-2]->[t-0,t-1,t-2]
        hb b i=1 e=-1  => store [b has nothing, b no target, no b, epoch 3]
        ",
    );
}

#[test]
fn a_static_member_that_does_not_come_back_is_out_when_its_session_ends() {
    check(
        eager(),
        "
        hb a s=t i=1   => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable        => a:hb 2 [t-0,t-1,t-2]
        +1000
        hb a i=1 e=-2  => store [a@-2 [t-0,t-1,t-2]]
        durable        => a:hb -2
        +43999
        +1             => store [a has nothing, a no target, no a, epoch 3]
        ",
    );
}

#[test]
fn topics_that_come_grow_and_go_raise_the_epoch_with_the_next_heartbeat() {
    check(
        eager(),
        "
        hb a s=t,v     => store [a s=t,v, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable        => a:hb 2 [t-0,t-1,t-2]
        topic w 1
        hb a           => a:hb 2
        topic v 1
        hb a           => store [epoch 3, a->[t-0,t-1,t-2,v-0], target 3, a@3 [t-0,t-1,t-2,v-0]]
        durable        => a:hb 3 [t-0,t-1,t-2,v-0]
        topic t 4
        hb a           => store [epoch 4, a->[t-0,t-1,t-2,t-3,v-0], target 4, a@4 [t-0,t-1,t-2,t-3,v-0]]
        durable        => a:hb 4 [t-0,t-1,t-2,t-3,v-0]
        topic v
        hb a own=t-0   => store [epoch 5, a->[t-0,t-1,t-2,t-3], target 5, a@5 [t-0,t-1,t-2,t-3]]
        durable        => a:hb 5 [t-0,t-1,t-2,t-3]
        # While no coordinator was there.
        topic t 5
        restart
        hb a           => store [epoch 6, a->[t-0,t-1,t-2,t-3,t-4], target 6, a@6 [t-0,t-1,t-2,t-3,t-4]]
        ",
    );
}

#[test]
fn a_regular_expression_is_resolved_behind_the_heartbeat_and_when_topics_come() {
    check(
        eager(),
        "
        hb a re=[tv].*   => store [a s= re=[tv].*, a@1 []]
        durable          => a:hb 1 []
        +0               => store [re=[tv].*:t, epoch 2]
        durable
        hb a             => store [a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        topic v 1
        hb a             => a:hb 2
        # Not sooner than ten seconds after the last time.
        +10000
        hb a             => a:hb 2
        +1
        hb a             => a:hb 2
        +0               => store [re=[tv].*:t,v, epoch 3]
        durable
        hb a             => store [a->[t-0,t-1,t-2,v-0], target 3, a@3 [t-0,t-1,t-2,v-0]]
        durable          => a:hb 3 [t-0,t-1,t-2,v-0]
        restart
        hb b re=[tv].*   => store [b s= re=[tv].*, epoch 4, a->[t-0,t-1], b->[t-2,v-0], target 4, b@4 [] unreleased]
        durable          => b:hb 4 []
        hb b e=-1        => store [b has nothing, b no target, no b, epoch 5]
        durable          => b:hb -1
        hb a e=-1        => store [a has nothing, a no target, no a, no re=[tv].*, epoch 6]
        ",
    );
}

#[test]
fn the_epoch_of_a_group_that_subscribes_to_nothing_is_1_and_nothing_says_so() {
    check(
        eager(),
        "
        hb a re=x.*  => store [a s= re=x.*, a@1 []]
        durable      => a:hb 1 []
        +0           => store [re=x.*:]
        durable
        hb a         => a:hb 1
        cdescribe    => cdescribe Stable uniform 1/1 a@1 []->[]
        restart
        hb a         => a:hb 1
        cdescribe    => cdescribe Stable uniform 1/1 a@1 []->[]
        hb b s=      => store [b s=, b@1 []]
        durable      => b:hb 1 []
        hb b s=t own= rebalance=5000 => store [b s=t, epoch 2, a->[], b->[t-0,t-1,t-2], target 2, b@2 [t-0,t-1,t-2]]
        durable      => b:hb 2 [t-0,t-1,t-2]
        hb a         => store [a@2 []]
        durable      => a:hb 2
        ",
    );
}

#[test]
fn a_static_member_comes_back_to_its_regular_expression_or_changes_it() {
    check(
        eager(),
        "
        hb a re=t.* i=1  => store [a s= re=t.*, a@1 []]
        durable          => a:hb 1 []
        +0               => store [re=t.*:t, epoch 2]
        durable
        hb a i=1         => store [a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        hb a i=1 e=-2    => store [a@-2 [t-0,t-1,t-2]]
        durable          => a:hb -2
        # The same one: it has what it had, and nothing is resolved anew.
        hb b re=t.* i=1  => store [a has nothing, a no target, no a, b s= re=t.*, b->[t-0,t-1,t-2], b@0 [t-0,t-1,t-2], b s= re=t.*, b@2 [t-0,t-1,t-2]]
        durable          => b:hb 2 [t-0,t-1,t-2]
        +20000
        hb b i=1         => b:hb 2
        hb b i=1 e=-2    => store [b@-2 [t-0,t-1,t-2]]
        durable          => b:hb -2
        # Another one: what it had goes with the old one, and comes back when the new one has been resolved.
        hb c re=[tu] i=1 => store [b has nothing, b no target, no b, c s= re=t.*, c->[t-0,t-1,t-2], c@0 [t-0,t-1,t-2], c s= re=[tu], no re=t.*, c@2 []]
        durable          => c:hb 2 []
        +0               => store [re=[tu]:t,u, epoch 3]
        durable
        hb c i=1         => store [c->[t-0,t-1,t-2,u-0,u-1,u-2], target 3, c@3 [t-0,t-1,t-2,u-0,u-1,u-2]]
        durable          => c:hb 3 [t-0,t-1,t-2,u-0,u-1,u-2]
        hb c i=1 e=-2    => store [c@-2 [t-0,t-1,t-2,u-0,u-1,u-2]]
        durable          => c:hb -2
        # After a restart every group looks at its topics, so that a new expression counts for none at once.
        restart
        hb d re=u i=1    => store [c has nothing, c no target, no c, d s= re=[tu], d->[t-0,t-1,t-2,u-0,u-1,u-2], d@0 [t-0,t-1,t-2,u-0,u-1,u-2], d s= re=u, no re=[tu], epoch 4, d->[], target 4, d@4 []]
        durable          => d:hb 4 []
        +0               => store [re=u:u, epoch 5]
        durable
        hb d i=1         => store [d->[u-0,u-1,u-2], target 5, d@5 [u-0,u-1,u-2]]
        ",
    );
}

#[test]
fn a_regular_expression_that_is_none_is_refused_and_leaves_no_trace() {
    check(
        GroupConfig { regexes_max: 1, ..eager() },
        "
        hb a re=(     => a:hb InvalidRegularExpression
        list          => list []
        hb a re=t     => store [a s= re=t, a@1 []]
        durable       => a:hb 1 []
        hb b re=u     => b:hb InvalidRegularExpression
        cdescribe     => cdescribe Stable uniform 1/1 a@1 []->[]
        ",
    );
}

#[test]
fn requests_that_cannot_be_are_refused() {
    check(
        GroupConfig { consumer_max_size: 1, groups_max: 2, ..eager() },
        "
        hb a e=4                => a:hb GroupIdNotFound
        hb a e=-1               => a:hb GroupIdNotFound
        hb a e=-2               => a:hb InvalidRequest
        hb a e=-3 i=1           => a:hb InvalidRequest
        hb a                    => a:hb InvalidRequest
        hb a s=t rebalance=-1   => a:hb InvalidRequest
        hb a s=t own=t-0        => a:hb InvalidRequest
        hb a s=t assignor=mine  => a:hb UnsupportedAssignor
        cdescribe               => cdescribe GroupIdNotFound \"Group g not found.\"
        hb a s=t assignor=range => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable                 => a:hb 2 [t-0,t-1,t-2]
        cdescribe               => cdescribe Stable range 2/2 a@2 [t-0,t-1,t-2]->[t-0,t-1,t-2]
        hb b s=t                => b:hb GroupMaxSizeReached
        hb b e=2                => b:hb GroupMaxSizeReached
        describe                => describe Dead GroupIdNotFound
        delete-group            => delete-group NonEmptyGroup
        group h
        commit - t-0=5          => store [t-0=5]
        durable                 => -:commit t-0:ok
        group i
        hb c s=t                => c:hb CoordinatorNotAvailable
        ",
    );
}

#[test]
fn offsets_are_committed_and_read_with_the_members_epoch() {
    check(
        eager(),
        "
        commit - t-1=3     => store [t-1=3]
        durable            => -:commit t-1:ok
        hb a s=t           => store [no g, a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable            => a:hb 2 [t-0,t-1,t-2]
        fetch all          => fetch [t-1=3]
        commit a t-0=5     => store [t-0=5]
        durable            => a:commit t-0:ok
        commit a t-0=6 gen=3 => a:commit t-0:StaleMemberEpoch
        commit a t-0=6 v=8 => a:commit t-0:UnsupportedVersion
        commit x t-0=6 gen=2 => x:commit t-0:UnknownMemberId
        commit - t-0=6     => -:commit t-0:UnknownMemberId
        hb a e=2 s=t,u     => store [a s=t,u, epoch 3, a->[t-0,t-1,t-2,u-0,u-1,u-2], target 3, a@3 [t-0,t-1,t-2,u-0,u-1,u-2]]
        durable            => a:hb 3 [t-0,t-1,t-2,u-0,u-1,u-2]
        # An epoch that it has left is good for what it had then.
        commit a t-0=7 u-0=1 gen=2 => store [t-0=7]
        durable            => a:commit t-0:ok u-0:StaleMemberEpoch
        delete-offsets t-0 => delete-offsets t-0:GroupSubscribedToTopic
        hb a e=-1          => store [a has nothing, a no target, no a, epoch 4]
        durable            => a:hb -1
        commit - t-0=9     => store [t-0=9]
        durable            => -:commit t-0:ok
        delete-offsets t-0 => store [no t-0]
        durable            => delete-offsets t-0:ok
        delete-group       => store [no t-1, no target, no topics, no epoch]
        durable            => delete-group ok
        list               => list []
        restart
        list               => list []
        fetch all          => fetch []
        ",
    );
}

#[test]
fn offsets_are_read_by_members_in_their_own_epoch_and_by_whoever_does_not_say_who_it_is() {
    check(
        eager(),
        "
        hb a s=t             => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable              => a:hb 2 [t-0,t-1,t-2]
        commit a t-0=5       => store [t-0=5]
        durable              => a:commit t-0:ok
        fetch all as=a gen=2 => fetch [t-0=5]
        fetch t-0 t-1 as=a gen=2 => fetch [t-0=5 t-1=-1]
        fetch all as=a gen=1 => fetch StaleMemberEpoch
        fetch all as=a gen=3 => fetch StaleMemberEpoch
        fetch all as=a       => fetch StaleMemberEpoch
        fetch t-0 as=x gen=2 => fetch UnknownMemberId
        fetch all gen=2      => fetch UnknownMemberId
        fetch all            => fetch [t-0=5]
        # Before version 9 nobody says who it is.
        fetch all v=8        => fetch [t-0=5]
        # An epoch counts once it is durable.
        hb b s=t             => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        fetch all as=b gen=3 => fetch UnknownMemberId
        durable              => b:hb 3 []
        fetch all as=b gen=3 => fetch [t-0=5]
        hb a e=-1            => store [a has nothing, a no target, no a, epoch 4]
        fetch all as=a gen=2 => fetch [t-0=5]
        durable              => a:hb -1
        fetch all as=a gen=2 => fetch UnknownMemberId
        restart
        fetch all as=b gen=2 => fetch StaleMemberEpoch
        fetch all as=b gen=3 => fetch [t-0=5]
        # A group that is none, or a classic one, has no members whose epochs could be stale.
        group h
        fetch all as=a gen=7 => fetch []
        join c v=3           => store [h gen=0]
        durable
        +0                   => c:join gen=1 range leader=c members=c:m
        fetch all as=a gen=7 => fetch []
        ",
    );
}

#[test]
fn offsets_of_an_empty_group_expire_and_the_group_with_them() {
    let config = GroupConfig { offsets_retention_ms: 100_000, offsets_retention_check_interval_ms: 60_000, ..eager() };
    check(
        config,
        "
        hb a s=t       => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable        => a:hb 2 [t-0,t-1,t-2]
        commit a t-0=5 => store [t-0=5]
        durable        => a:commit t-0:ok
        +45000         => store [a has nothing, a no target, no a, epoch 3]
        durable
        +15000
        +60000         => store [no t-0, no target, no topics, no epoch]
        durable
        list           => list []
        ",
    );
}

/// They hold from the next heartbeat on, for members that are there too.
#[test]
fn a_group_may_have_settings_of_its_own() {
    check(
        GroupConfig { consumer_assignment_interval_ms: 0, ..prompt() },
        "
        settings session=60000 interval=7000 =>
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2] every 7000
        # Those of another group are not touched.
        group h          =>
        hb b s=u         => store [b s=u, epoch 2, b->[u-0,u-1,u-2], target 2, b@2 [u-0,u-1,u-2]]
        durable          => b:hb 2 [u-0,u-1,u-2]
        +45000           => store [b has nothing, b no target, no b, epoch 3]
        durable          =>
        group g          =>
        hb a             => a:hb 2 every 7000
        # The session that has begun ends when it was to.
        settings session=50000 =>
        +59999           =>
        hb a             => a:hb 2
        +49999           =>
        +1               => store [a has nothing, a no target, no a, epoch 3]
        durable          =>
        # Without any it has the broker's again.
        hb c s=t         => store [c s=t, epoch 4, c->[t-0,t-1,t-2], target 4, c@4 [t-0,t-1,t-2]]
        durable          => c:hb 4 [t-0,t-1,t-2]
        settings         =>
        hb c             => c:hb 4
        +44999           =>
        +1               => store [c has nothing, c no target, no c, epoch 5]
        ",
    );
}

#[test]
fn targets_of_a_group_are_computed_as_often_as_its_settings_say() {
    check(
        prompt(),
        "
        settings assign-every=10000 =>
        hb a s=t         => store [a s=t, epoch 2, a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable          => a:hb 2 [t-0,t-1,t-2]
        topic t 4        =>
        +9999            =>
        hb a             => store [epoch 3]
        durable          => a:hb 2
        +1               =>
        hb a             => store [a->[t-0,t-1,t-2,t-3], target 3, a@3 [t-0,t-1,t-2,t-3]]
        durable          => a:hb 3 [t-0,t-1,t-2,t-3]
        ",
    );
}

#[test]
fn what_another_expression_finds_nothing_of_is_for_others() {
    check(
        eager(),
        "
        hb a re=t.*  => store [a s= re=t.*, a@1 []]
        durable      => a:hb 1 []
        +0           => store [re=t.*:t, epoch 2]
        durable      =>
        hb a         => store [a->[t-0,t-1,t-2], target 2, a@2 [t-0,t-1,t-2]]
        durable      => a:hb 2 [t-0,t-1,t-2]
        hb b s=t     => store [b s=t, epoch 3, a->[t-0,t-1], b->[t-2], target 3, b@3 [] unreleased]
        durable      => b:hb 3 []
        hb a re=x.*  => store [a s= re=x.*, no re=t.*, a@2 []-[t-0,t-1,t-2] unrevoked]
        durable      => a:hb 2 []
        +0           => store [re=x.*:, epoch 4]
        durable      =>
        hb b         => store [a->[], b->[t-0,t-1,t-2], target 4, b@4 [] unreleased]
        durable      => b:hb 4
        ",
    );
}
