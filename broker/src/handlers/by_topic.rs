//! Answers about partitions, gathered under the topics that a response lists them by.

use metadata::controller::PartitionName;
use protocol::PartitionId;

/// A topic, and what its partitions are answered.
pub type TopicAnswers<A> = (String, Vec<(PartitionId, A)>);

/// In the order given: partitions of a topic that follow one another are one entry, as they were in the request.
pub fn by_topic<A>(answers: impl IntoIterator<Item = (PartitionName, A)>) -> Vec<TopicAnswers<A>> {
    let mut topics: Vec<TopicAnswers<A>> = Vec::new();
    for ((topic, partition), answer) in answers {
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push((partition, answer)),
            _ => topics.push((topic, vec![(partition, answer)])),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_stay_in_the_order_of_the_request() {
        let answer = |topic: &str, partition, answer| ((topic.to_owned(), PartitionId(partition)), answer);
        let found = by_topic([answer("b", 1, 'x'), answer("b", 0, 'y'), answer("a", 0, 'z'), answer("b", 2, 'w')]);
        let id = PartitionId;
        let expected = [
            ("b".to_owned(), vec![(id(1), 'x'), (id(0), 'y')]),
            ("a".to_owned(), vec![(id(0), 'z')]),
            ("b".to_owned(), vec![(id(2), 'w')]),
        ];
        assert_eq!(found, expected);
    }
}
