//! The high watermark of a process never goes back, whatever role it has.

use super::{Checked, Checker};

pub fn check(broker: usize, from: i64, to: i64) -> Checked {
    if to >= from {
        return Ok(());
    }
    Err((Checker::Monotonic, format!("the high watermark of broker {broker} goes back from {from} to {to}")))
}
