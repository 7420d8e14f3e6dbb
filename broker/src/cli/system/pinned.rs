//! Which CPUs shards are pinned to, and which are left for all else.

/// For one spare CPU this many shards' network traffic is little enough to take.
const SHARDS_PER_SPARE_CPU: usize = 8;

/// Shards that are pinned, and what is spare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// The CPUs with a shard.
    pub(crate) shards: Vec<usize>,
    /// The others that the broker may use.
    pub(crate) spare: Vec<usize>,
}

impl Pinned {
    /// Of all `cpus` those of `shards` are taken; `None` if shards are not pinned.
    pub(crate) fn new(cpus: &[usize], shards: Option<Vec<usize>>) -> Option<Pinned> {
        let shards = shards?;
        let spare = cpus.iter().copied().filter(|cpu| !shards.contains(cpu)).collect();
        Some(Pinned { shards, spare })
    }

    /// Whether a shard is interrupted by what these CPUs take.
    pub(crate) fn disturbed_by(&self, cpus: &[usize]) -> bool {
        cpus.iter().any(|cpu| self.shards.contains(cpu))
    }

    /// Whether the spare CPUs can take all interrupts of the network cards. Few of them for many shards cannot: there it
    /// is better that each queue of a card has a core of its own.
    pub(crate) fn spare_suffice(&self) -> bool {
        !self.spare.is_empty() && self.spare.len() * SHARDS_PER_SPARE_CPU >= self.shards.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_is_what_shards_leave() {
        assert_eq!(Pinned::new(&[0, 1], None), None);
        let few = Pinned::new(&[0, 1, 2, 3], Some(vec![1, 2])).unwrap();
        assert_eq!(few.spare, [0, 3]);
        assert!(few.disturbed_by(&[0, 2]) && !few.disturbed_by(&[0, 3, 9]));
        assert!(few.spare_suffice());
        let many = Pinned::new(&(0..10).collect::<Vec<_>>(), Some((1..10).collect())).unwrap();
        assert!(!many.spare_suffice());
        assert!(!Pinned { shards: vec![1], spare: vec![] }.spare_suffice());
    }
}
