//! How often each of some things is asked for.

use std::collections::BTreeMap;

/// Counts one more or one less; what is not asked for any more is not there.
pub(super) fn count<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K, add: bool) {
    if add {
        *counts.entry(key.clone()).or_default() += 1;
    } else if let Some(number) = counts.get_mut(key) {
        *number -= 1;
        if *number == 0 {
            counts.remove(key);
        }
    }
}

/// What is asked for most often; of equal ones the first.
pub(super) fn most<K>(counts: &BTreeMap<K, usize>) -> Option<&K> {
    counts.iter().rev().max_by_key(|(_, number)| **number).map(|(key, _)| key)
}
