//! Against the definition, evaluated from scratch after every event.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Durable(BrokerId, i64),
    Isr(Vec<BrokerId>),
    MinInsync(i32),
    Tick(u64),
    Outcome(Outcome),
    Lost(BrokerId),
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![Just(Outcome::Made), Just(Outcome::Refused), Just(Outcome::Unknown)];
    prop_oneof![
        6 => (1..=3_i32, 0..40_i64).prop_map(|(id, end)| Event::Durable(BrokerId(id), end)),
        1 => proptest::sample::subsequence(vec![SECOND, THIRD], 0..=2)
            .prop_map(|others| Event::Isr([vec![ME], others].concat())),
        1 => (0..=4_i32).prop_map(Event::MinInsync),
        2 => (1..700_u64).prop_map(Event::Tick),
        2 => outcome.prop_map(Event::Outcome),
        1 => (2..=3_i32).prop_map(|id| Event::Lost(BrokerId(id))),
    ]
}

proptest! {
    /// Against the definition: whenever the high watermark rises, it is to what all have that may be in the ISR by what is
    /// known, and the ISR is large enough; and it never is behind what all replicas have.
    #[test]
    fn what_is_committed_is_on_every_disk_that_may_be_in_the_isr(events in proptest::collection::vec(event(), 1..80)) {
        let mut leader = leader(&ALL, 2, 10);
        let mut ends = [0, 10, 0, 0];
        let (mut isr, mut min_insync, mut partition_epoch) = (ALL.to_vec(), 2, 3);
        // Members of ISRs that were proposed on the current partition epoch, and may have been made.
        let mut may_be: Vec<BrokerId> = Vec::new();
        let mut in_flight = None;
        let (mut ms, mut log_end) = (0, 40);
        for event in events {
            let before = leader.high_watermark();
            let risen;
            let mut proposal = None;
            match event {
                Event::Durable(ME, end) => {
                    ends[1] = ends[1].max(end);
                    risen = leader.on_own_durable(Offset(end));
                }
                Event::Durable(id, end) => {
                    let known = &mut ends[id.0 as usize];
                    *known = end.max(*known);
                    log_end = log_end.max(end);
                    let effects = agree(&mut leader, id, *known, at(ms, log_end));
                    (risen, proposal) = (effects.high_watermark, effects.proposal);
                }
                Event::Isr(members) => {
                    partition_epoch += 1;
                    isr = members;
                    in_flight = None;
                    may_be.clear();
                    risen = leader.on_assignment(assignment(&ALL, &isr, partition_epoch));
                }
                Event::MinInsync(wanted) => {
                    min_insync = wanted;
                    risen = leader.on_settings(settings(wanted));
                }
                Event::Tick(passed) => {
                    ms += passed;
                    let effects = leader.on_tick(at(ms, log_end));
                    (risen, proposal) = (effects.high_watermark, effects.proposal);
                }
                Event::Outcome(outcome) => {
                    if outcome != Outcome::Made {
                        in_flight = None;
                    }
                    risen = leader.on_outcome(partition_epoch, outcome, ms);
                }
                Event::Lost(id) => risen = leader.on_lost(id),
            }
            let high_watermark = leader.high_watermark();
            prop_assert_eq!(risen, (high_watermark > before).then_some(high_watermark));
            prop_assert!(high_watermark >= before);
            if let Some(Offset(to)) = risen {
                for member in isr.iter().chain(&may_be) {
                    prop_assert!(ends[member.0 as usize] >= to, "{} at {}, and {} is committed", member, ends[member.0 as usize], to);
                }
            }
            let enough = isr.len() as i32 >= min_insync.clamp(1, 3);
            prop_assert!(enough || risen.is_none());
            let all_have = *ends[1..].iter().min().unwrap();
            prop_assert!(!enough || high_watermark.0 >= all_have, "nothing waits for what every disk has");
            if let Some(proposal) = proposal {
                prop_assert_eq!(in_flight, None, "one at a time");
                prop_assert_eq!(proposal.partition_epoch, partition_epoch);
                prop_assert!(proposal.isr.iter().any(|(id, _)| *id == ME));
                for (id, _) in &proposal.isr {
                    let held = isr.contains(id) || ends[id.0 as usize] >= high_watermark.0.max(10);
                    prop_assert!(held, "{} joins at {}", id, ends[id.0 as usize]);
                }
                in_flight = Some(partition_epoch);
                may_be.extend(proposal.isr.iter().map(|(id, _)| *id));
            }
        }
    }
}
