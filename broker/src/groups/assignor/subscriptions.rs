//! Who subscribes to what, sorted so that assignors need not look at every pair of a member and a topic.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use protocol::TopicId;

use super::{AssignError, GroupSpec};

/// The subscriptions of a group. Members are numbered in the order of the group specification.
pub(super) struct Subscriptions<'a> {
    /// What members of each class subscribe to; no two classes have the same. There are as many classes as different
    /// subscriptions: mostly one.
    pub classes: Vec<&'a BTreeSet<TopicId>>,
    /// By member, its class.
    pub class_of: Vec<usize>,
    /// Topics that somebody subscribes to, in the order of their ids.
    pub topics: Vec<Topic>,
}

pub(super) struct Topic {
    pub id: TopicId,
    pub partitions: i32,
    /// The classes that subscribe to it.
    pub classes: Vec<usize>,
    /// How many members subscribe to it.
    pub subscribers: usize,
}

impl<'a> Subscriptions<'a> {
    pub fn of(group: &'a GroupSpec) -> Result<Subscriptions<'a>, AssignError> {
        let mut classes = Vec::new();
        let mut members_of_class = Vec::new();
        let mut class_of = Vec::with_capacity(group.members.len());
        let mut by_address = HashMap::new();
        let mut by_topics = BTreeMap::new();
        for (id, member) in &group.members {
            let class = *by_address.entry(Rc::as_ptr(&member.subscribed)).or_insert_with(|| {
                *by_topics.entry(&*member.subscribed).or_insert_with(|| {
                    classes.push((id, &*member.subscribed));
                    members_of_class.push(0);
                    classes.len() - 1
                })
            });
            members_of_class[class] += 1;
            class_of.push(class);
        }
        let mut topics: Vec<Topic> = Vec::new();
        let mut number_of: HashMap<TopicId, usize, foldhash::fast::FixedState> = HashMap::default();
        for (class, (member, subscription)) in classes.iter().enumerate() {
            for id in *subscription {
                let number = match number_of.get(id) {
                    Some(number) => *number,
                    None => {
                        let Some(partitions) = group.topics.get(id) else {
                            return Err(AssignError::UnknownTopic { member: (*member).clone(), topic: *id });
                        };
                        let partitions = (*partitions).max(0);
                        topics.push(Topic { id: *id, partitions, classes: Vec::new(), subscribers: 0 });
                        number_of.insert(*id, topics.len() - 1);
                        topics.len() - 1
                    }
                };
                topics[number].classes.push(class);
                topics[number].subscribers += members_of_class[class];
            }
        }
        topics.sort_by_key(|topic| topic.id);
        let classes = classes.into_iter().map(|(_, subscription)| subscription).collect();
        Ok(Subscriptions { classes, class_of, topics })
    }
}
