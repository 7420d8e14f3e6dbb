//! A partition does not stay without a leader that is there, as long as a replica that may lead is there: within the session
//! timeout, and the time for which answers are waited for, that one or another leads.

use super::super::controller::SESSION_US;
use super::super::electing::LOOK_US;
use super::super::world::World;
use super::{Checked, Checker};
use protocol::newtypes::BrokerId;
use std::collections::BTreeMap;

/// The session of whoever led, and then of whoever did not answer or was elected and is not there either, with what is waited
/// for answers and between looks.
const WITHOUT_US_MAX: u64 = 2 * SESSION_US + 10 * LOOK_US;

/// By partition: brokers that could have led all the time, and since when.
#[derive(Debug)]
pub struct Led {
    since_us: Vec<BTreeMap<BrokerId, u64>>,
}

impl Led {
    pub fn new(partitions: usize) -> Led {
        Led { since_us: vec![BTreeMap::new(); partitions] }
    }

    /// Another controller has to hear of everybody first.
    pub fn begin_anew(&mut self) {
        self.since_us.iter_mut().for_each(BTreeMap::clear);
    }
}

pub fn check(world: &mut World) -> Checked {
    for partition in 0..world.partitions {
        let state = world.controller.partition(partition).clone();
        // A leader that reports is not fenced. Others may only be counted on if everything is well with them.
        let is_there = |id: BrokerId| world.is_heard(id.0 as usize);
        if state.leader.is_some_and(|leader| world.reports(leader.0 as usize)) {
            world.led.since_us[partition].clear();
            continue;
        }
        let pool = if state.isr.is_empty() { &state.elr } else { &state.isr };
        let could = |id: &BrokerId| is_there(*id) && world.controller.image().is_unfenced(*id);
        let could: Vec<BrokerId> = pool.iter().copied().filter(could).collect();
        let now_us = world.now_us;
        let since = &mut world.led.since_us[partition];
        since.retain(|id, _| could.contains(id));
        for id in could {
            let from_us = *since.entry(id).or_insert(now_us);
            if now_us - from_us > WITHOUT_US_MAX {
                let text = format!("nobody leads since {from_us} us although {id} could: {state:?}");
                return Err((Checker::Led, text));
            }
        }
    }
    Ok(())
}
