//! What every report begins with: the machine, and what the sides are and promise.

use std::path::Path;

use serde::Serialize;

use crate::broker::{Programs, Side};
use crate::machine::Machine;
use crate::member::Shape;

/// What a report says about one side.
#[derive(Clone, Debug, Serialize)]
pub struct SideDescription {
    pub side: Side,
    pub version: String,
    pub durability: &'static str,
    #[serde(flatten)]
    pub shape: Shape,
}

/// The head of every report: on what, and of what, the figures are.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub machine: Machine,
    pub sides: Vec<SideDescription>,
}

impl Setting {
    #[must_use]
    pub fn describe(sides: &[Side], shape: Shape, programs: &Programs, data_dir: &Path) -> Setting {
        let describe = |side: &Side| SideDescription {
            side: *side,
            version: programs.version(*side),
            durability: side.durability(),
            shape: side.shape(shape),
        };
        Setting { machine: Machine::describe(data_dir), sides: sides.iter().map(describe).collect() }
    }
}

impl Setting {
    /// Whether any side has several brokers.
    #[must_use]
    pub fn has_clusters(&self) -> bool {
        self.sides.iter().any(|side| side.shape.is_cluster())
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A head for reports of Ringlog and Kafka as shipped on a machine of two cores.
    pub fn setting() -> Setting {
        let machine = Machine {
            cpu: "cpu".into(),
            cores: 2,
            memory_bytes: 1 << 30,
            kernel: "Linux 6".into(),
            disk: "/dev/vda".into(),
            file_system: "ext4 (rw)".into(),
            load_average_before: 0.5,
        };
        let side = |side: Side| SideDescription {
            side,
            version: format!("{} 1", side.slug()),
            durability: side.durability(),
            shape: Shape::ALONE,
        };
        Setting { machine, sides: [Side::Ringlog, Side::Kafka].map(side).to_vec() }
    }
}
