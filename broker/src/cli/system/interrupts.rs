//! Which interrupts are network cards', and which CPUs take them.
//!
//! Disks are left out: the kernel itself gives each of their queues a CPU (NVMe, virtio), lets nobody change that, and
//! an answer is best taken where the request was made.

use std::path::Path;

use super::parse::cpu_list;
use super::probe::{entries, read};

/// An interrupt of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    pub(crate) number: u32,
    /// `eth0`.
    pub(crate) card: String,
    /// The CPUs that may take it, and by which it can be changed: `/proc/irq/N/smp_affinity_list`.
    pub(crate) allowed: Vec<usize>,
    /// The CPUs that do take it; as `allowed` where the kernel does not say.
    pub(crate) taken_by: Vec<usize>,
}

/// Of all cards that are devices, by number. Cards with neither MSI nor MSI-X interrupts, which are old, have none here.
pub(super) fn probe(root: &Path) -> Vec<Interrupt> {
    let mut interrupts = Vec::new();
    for card in entries(&root.join("sys/class/net")) {
        let device = root.join("sys/class/net").join(&card).join("device");
        let Ok(device) = device.canonicalize() else { continue };
        // A virtio card's are those of the PCI device above it.
        let Some(with_interrupts) = device.ancestors().take(3).find(|above| above.join("msi_irqs").is_dir()) else {
            continue;
        };
        let numbers = entries(&with_interrupts.join("msi_irqs"));
        interrupts.extend(numbers.iter().filter_map(|number| interrupt(root, &card, number.parse().ok()?)));
    }
    interrupts.sort_by_key(|interrupt| interrupt.number);
    interrupts
}

fn interrupt(root: &Path, card: &str, number: u32) -> Option<Interrupt> {
    let directory = root.join("proc/irq").join(number.to_string());
    let allowed = cpu_list(&read(&directory.join("smp_affinity_list"))?)?;
    let effective = read(&directory.join("effective_affinity_list")).and_then(|text| cpu_list(&text));
    let taken_by = effective.filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| allowed.clone());
    Some(Interrupt { number, card: card.to_owned(), allowed, taken_by })
}
