//! Suggests what a mistyped name was meant to be.

/// Below this similarity (Jaro-Winkler, 0 to 1) a suggestion misleads more than it helps.
const SIMILARITY_MIN: f64 = 0.8;

/// The candidate most like `given`, if any is like it at all. Case and the choice of `-`, `_` or `.` do not matter.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    let given = plain(given);
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&given, &plain(candidate)), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["data-dir", "kafka-addr", "shards"];
        for (given, expected) in [
            ("data_dir", Some("data-dir")),
            ("datadir", Some("data-dir")),
            ("KAFKA_ADDRESS", Some("kafka-addr")),
            ("shard", Some("shards")),
            ("zookeeper", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
    }
}
