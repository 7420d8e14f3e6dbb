//! What the configuration needs to know of the machine.

/// The cores that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that scheduling affinity allows, ascending; these are what threads can be pinned to. Empty if unknown.
    pub cpus: Vec<usize>,
    /// How many cores' worth of time there is: the control group's quota may be below the number of CPUs.
    pub cores: usize,
}

impl Machine {
    /// Asks the system.
    #[must_use]
    pub fn detect() -> Machine {
        let cpus: Vec<usize> = match rustix::thread::sched_getaffinity(None) {
            Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
            // More CPUs than the set has room for: nothing can be pinned, and the count below still holds.
            Err(_) => Vec::new(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Machine { cpus, cores }
    }

    /// One shard per core but one, which is left to metadata, the kernel's I/O workers and the network. On two cores a
    /// second shard was measured to give no more, for half as much CPU again (docs/performance.md).
    #[must_use]
    pub fn default_shards(&self) -> usize {
        self.cores.saturating_sub(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_gets_a_core_of_its_own_if_there_are_two() {
        for (cores, shards) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (64, 63)] {
            assert_eq!(Machine { cpus: Vec::new(), cores }.default_shards(), shards, "{cores} cores");
        }
    }

    #[test]
    fn this_machine_has_cores() {
        let machine = Machine::detect();
        assert!(machine.cores >= 1);
        assert!(machine.cpus.len() >= machine.cores, "{machine:?}: a quota never exceeds affinity");
    }
}
