//! Once the controller has fenced a broker for its silence, that broker neither acknowledges anything nor is read from: others
//! may lead by now, and it may not know.

use super::{Checked, Checker};

pub fn check(broker: usize, is_silenced: bool, does: &str) -> Checked {
    if is_silenced {
        return Err((Checker::Lease, format!("broker {broker} {does} after it was fenced for its silence")));
    }
    Ok(())
}
