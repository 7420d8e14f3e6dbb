//! Whoever may lead has all that is committed, whatever happens to brokers, replicas and configs.
//!
//! A model of one partition beside the controller's decisions: it counts what is committed and what each broker has of it. What
//! is committed grows after every step in which somebody leads and enough are in sync, and then only the ISR has it all.

use super::cluster::{id, ids_of, with_topics};
use super::isr::{ask, change};
use super::*;
use crate::image::PartitionImage;
use crate::testing::{beat, binding, start};
use proptest::prelude::*;

const BROKERS: i32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Fence(i32),
    Unfence(i32),
    /// A new process, which has what is on its disk.
    Register(i32),
    /// Away for good, and another node with its id and an empty disk.
    Replace(i32),
    /// The leader says who is in sync beside itself; those that come in have caught up.
    Isr(Vec<i32>),
    Reassign(Option<Vec<i32>>),
    /// Of the topic, or of the cluster.
    MinIsr(bool, Option<i32>),
    Elect(ElectionType),
    /// A replica that serves cannot be opened any more; one that does not yet has lost all.
    Impair(i32),
}

fn some_brokers() -> impl Strategy<Value = Vec<i32>> {
    let all: Vec<i32> = (1..=BROKERS).collect();
    (Just(all).prop_shuffle(), 1..=4_usize).prop_map(|(all, count)| all[..count].to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 1..=BROKERS;
    prop_oneof![
        4 => broker.clone().prop_map(Step::Fence),
        4 => broker.clone().prop_map(Step::Unfence),
        1 => broker.clone().prop_map(Step::Register),
        1 => broker.clone().prop_map(Step::Replace),
        2 => broker.prop_map(Step::Impair),
        6 => prop_oneof![Just(vec![]), some_brokers()].prop_map(Step::Isr),
        1 => prop::option::of(some_brokers()).prop_map(Step::Reassign),
        1 => (any::<bool>(), prop::option::of(1..=4_i32)).prop_map(|(of_topic, value)| Step::MinIsr(of_topic, value)),
        1 => prop::sample::select(vec![ElectionType::Preferred, ElectionType::Unclean]).prop_map(Step::Elect),
    ]
}

struct Model {
    image: MetadataImage,
    incarnations: u128,
    committed: u64,
    /// Of what is committed, how much each broker has.
    has: BTreeMap<BrokerId, u64>,
}

impl Model {
    fn new(replicas: &[i32]) -> Model {
        let has = (1..=BROKERS).map(|broker| (id(broker), 0)).collect();
        Model { image: with_topics(&image_with_brokers(BROKERS), &[replicas]), incarnations: 1, committed: 0, has }
    }

    fn state(&self) -> &PartitionImage {
        self.image.partition("t0", PartitionId(0)).unwrap()
    }

    fn min_isr(&self) -> usize {
        usize::try_from(self.image.min_insync_replicas("t0")).unwrap().min(self.state().replicas.len())
    }

    fn take(&mut self, records: &[MetadataRecord]) {
        let before = self.state().clone();
        self.image = applied(&self.image, records);
        // Nobody had all that was committed, and whoever was the last to lead does again.
        if let (None, Some(leader)) = (before.leader, self.state().leader)
            && !before.elr.contains(&leader)
            && *before.last_known_elr == [leader]
        {
            self.give_up_to(leader);
        }
    }

    /// What this broker does not have is given up, and nobody has any of it any more.
    fn give_up_to(&mut self, leader: BrokerId) {
        self.committed = self.has[&leader];
        self.has.values_mut().for_each(|has| *has = (*has).min(self.committed));
    }

    fn step(&mut self, step: &Step) {
        let image = self.image.clone();
        match step {
            Step::Fence(broker) => self.take(&fence(&image, id(*broker), &LogEnds::default())),
            Step::Unfence(broker) => self.take(&beat(&image, *broker, Wish::Unfenced)),
            Step::Register(broker) => {
                self.incarnations += 1;
                let start = start(*broker, self.incarnations);
                let start = BrokerStart { node: image.node(id(*broker)).unwrap().as_ref().clone(), ..start };
                self.take(&register_broker(&image, &start, &LogEnds::default()).unwrap().0);
            }
            Step::Replace(broker) => {
                let Ok(records) = remove_node(&image, id(*broker)) else { return };
                self.take(&records);
                self.has.insert(id(*broker), 0);
                if *self.state().replicas == [id(*broker)] {
                    self.committed = 0;
                }
                self.incarnations += 1;
                let node = binding(*broker, self.incarnations);
                self.take(&join(&self.image, &node).unwrap());
                let start = BrokerStart { node, ..start(*broker, self.incarnations) };
                self.take(&register_broker(&self.image, &start, &LogEnds::default()).unwrap().0);
            }
            Step::Isr(others) => {
                let Some(leader) = self.state().leader else { return };
                let may_be = |broker: &BrokerId| self.state().replicas.contains(broker) && image.is_unfenced(*broker);
                let isr = [&[leader.0], &others[..]].concat().into_iter().filter(|broker| may_be(&id(*broker)));
                let mut isr: Vec<i32> = isr.collect();
                isr.sort_unstable();
                isr.dedup();
                let before = self.state().partition_epoch;
                let (image, answer) = ask(&image, leader.0, change(&image, &isr));
                assert_eq!(answer, Ok(before + 1), "accepted, even if it changes nothing");
                self.image = image;
                isr.iter().for_each(|member| *self.has.get_mut(&id(*member)).unwrap() = self.committed);
            }
            Step::Reassign(target) => {
                let (topic, target) = ("t0".to_owned(), target.as_ref().map(|target| ids_of(target)));
                let wanted = WantedReassignment { topic, partition: PartitionId(0), target };
                self.take(&alter_partition_reassignments(&image, true, &[wanted]).0);
            }
            Step::MinIsr(of_topic, value) => {
                let resource = match of_topic {
                    true => ConfigResource::Topic("t0".to_owned()),
                    false => ConfigResource::BrokerDefault,
                };
                let op = if value.is_some() { AlterOp::Set } else { AlterOp::Delete };
                let name = "min.insync.replicas".to_owned();
                let changes = vec![ConfigChange { name, op, value: value.map(|value| value.to_string()) }];
                let alteration = ConfigAlteration { resource, changes };
                self.take(&incremental_alter_configs(&image, &StaticConfig::default(), &[alteration]).0);
            }
            Step::Elect(election) => {
                self.take(&elect_leaders(&image, *election, None, &LogEnds::default()).0);
                let is_new = image.partition("t0", PartitionId(0)).unwrap().leader != self.state().leader;
                if let (ElectionType::Unclean, true, Some(leader)) = (election, is_new, self.state().leader) {
                    self.give_up_to(leader);
                }
            }
            Step::Impair(broker) => {
                let epoch = image.broker(id(*broker)).unwrap().epoch;
                let impairment = match image.is_unfenced(id(*broker)) {
                    true => Impairment::Closed,
                    false => Impairment::Lost,
                };
                if impairment == Impairment::Lost {
                    self.has.insert(id(*broker), 0);
                }
                let topic_id = image.topic("t0").unwrap().id;
                let replica = ImpairedReplica { topic_id, partition: PartitionId(0), impairment };
                self.take(&report_impaired(&image, id(*broker), epoch, &[replica]).unwrap());
            }
        }
    }

    /// Producers go on.
    fn commit(&mut self) {
        let state = self.state().clone();
        if state.leader.is_some() && state.isr.len() >= self.min_isr() {
            self.committed += 1;
            state.isr.iter().for_each(|member| *self.has.get_mut(member).unwrap() = self.committed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whoever_may_lead_has_all_that_is_committed(
        first in some_brokers(),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut model = Model::new(&first);
        model.commit();
        for step in steps {
            let before = model.state().clone();
            model.step(&step);
            let now = model.state().clone();
            let shown = format!("{step:?} made {now:?} of {before:?}");
            let PartitionImage { isr, elr, leader, .. } = &now;
            for member in isr.iter().chain(elr.iter()) {
                prop_assert!(now.replicas.contains(member), "{}", shown);
                prop_assert_eq!(model.has[member], model.committed, "{} lacks some: {}", member, shown);
            }
            prop_assert!(!isr.iter().any(|member| elr.contains(member)), "{}", shown);
            prop_assert!(leader.is_none_or(|leader| isr.contains(&leader) && model.image.is_unfenced(leader)), "{}", shown);
            prop_assert!(isr.iter().all(|member| model.image.is_unfenced(*member)), "{}", shown);
            prop_assert!(elr.is_empty() || isr.len() < model.min_isr(), "{}", shown);
            prop_assert!(leader.is_some() || !elr.iter().any(|member| model.image.is_unfenced(*member)), "{}", shown);
            prop_assert_eq!(leader.is_none(), isr.is_empty(), "{}", shown);
            prop_assert!(now == before || now.partition_epoch > before.partition_epoch, "{}", shown);
            prop_assert!(now.leader_epoch > before.leader_epoch || *leader == before.leader, "{}", shown);
            for member in isr.iter().filter(|member| !before.isr.contains(member)) {
                let is_said = matches!(&step, Step::Isr(others) if others.contains(&member.0));
                let is_elected = *leader == Some(*member) && isr.len() == 1;
                let was_last = before.isr.is_empty() && elr.is_empty() && *before.last_known_elr == [*member];
                let is_unclean = matches!(step, Step::Elect(ElectionType::Unclean));
                let may = before.elr.contains(member) || was_last || is_unclean;
                prop_assert!(is_said || is_elected && may, "{} came in: {}", member, shown);
            }
            let were = || before.isr.iter().chain(before.elr.iter());
            prop_assert!(elr.iter().all(|member| were().any(|was| was == member)), "{}", shown);
            prop_assert!(model.image.min_insync_replicas("t0") >= 1);
            model.commit();
        }
    }
}
