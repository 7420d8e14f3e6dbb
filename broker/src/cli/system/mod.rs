//! The settings of the machine that matter to the broker: what `ringlog check` judges and `ringlog tune` changes.
//!
//! [`System`] is plain facts; [`probe`] reads them from `/sys` and `/proc` below a root, so that tests can give a machine
//! of their own. Nothing here judges or writes. What a kernel does not have is `None` or empty, never an error: virtual
//! machines and containers lack a good part of it.

mod interrupts;
mod parse;
mod pinned;
mod probe;

pub(super) use interrupts::Interrupt;
pub(super) use pinned::Pinned;

/// What was found; see the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct System {
    /// The whole disks that data and journal directory are on, those below a RAID or LVM volume too.
    pub(crate) disks: Vec<Disk>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub(crate) huge_pages: Option<Choice>,
    pub(crate) swap: Swap,
    pub(crate) clock: Option<Choice>,
    /// One per CPU whose frequency the kernel governs.
    pub(crate) governors: Vec<Governor>,
    pub(crate) numa_nodes: usize,
    /// `vm.zone_reclaim_mode`.
    pub(crate) zone_reclaim_mode: Option<u64>,
    /// Those of network cards.
    pub(crate) interrupts: Vec<Interrupt>,
    pub(crate) network: Network,
    pub(crate) time_sync: TimeSync,
    /// Services by systemd that run now, as `irqbalance.service`; `None` where there is no systemd to be seen.
    pub(crate) services: Option<Vec<String>>,
}

/// One of several, as the kernel writes it: `none [mq-deadline] kyber`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) current: String,
    pub(crate) available: Vec<String>,
}

impl Choice {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.available.iter().any(|available| available == name)
    }
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// `nvme0n1`.
    pub(crate) name: String,
    pub(crate) scheduler: Option<Choice>,
    pub(crate) rotational: bool,
    /// Whether the kernel sends the disk flushes: the disk has a cache that a power cut empties.
    pub(crate) flushed: Option<bool>,
    /// What the disk itself says about that, where it can be read (SCSI, virtio).
    pub(crate) volatile_cache: Option<bool>,
    /// Whether a single write can be made to bypass that cache (FUA).
    pub(crate) fua: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swap {
    /// Partitions and files that are in use as swap.
    pub(crate) areas: Vec<String>,
    /// `vm.swappiness`.
    pub(crate) swappiness: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Governor {
    pub(crate) cpu: usize,
    pub(crate) current: String,
    pub(crate) available: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// `net.core.somaxconn`.
    pub(crate) somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub(crate) syn_backlog: Option<u64>,
    /// The three numbers of `net.ipv4.tcp_rmem`: least, first and most bytes.
    pub(crate) receive_buffer: Option<[u64; 3]>,
    /// The three numbers of `net.ipv4.tcp_wmem`.
    pub(crate) send_buffer: Option<[u64; 3]>,
}

/// Whether something keeps the clock right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimeSync {
    /// systemd-timesyncd has reached a server since the start.
    Reached,
    /// This service runs; how well it does is not known.
    Runs(String),
    /// There are services, and none of them is known to do it.
    Nothing,
    /// No services can be seen from here.
    #[default]
    Unknown,
}
