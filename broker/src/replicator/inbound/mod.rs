//! Receiving what this shard follows: one [`session::Session`] for each connection from a leader's shard, and on it an
//! [`stream::InStream`] for each partition.

pub mod session;
pub mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use crate::partition::PartitionKey;
use stream::InStream;

/// Streams that wait until this shard's metadata knows the leader epoch that they were opened in.
#[derive(Default)]
pub struct Parked {
    streams: RefCell<HashMap<PartitionKey, Vec<Rc<InStream>>, RandomState>>,
}

impl Parked {
    pub fn add(&self, stream: Rc<InStream>) {
        self.streams.borrow_mut().entry(stream.key).or_default().push(stream);
    }

    /// The streams of a partition of which the metadata says something new.
    pub fn take(&self, key: PartitionKey) -> Vec<Rc<InStream>> {
        self.streams.borrow_mut().remove(&key).unwrap_or_default()
    }

    /// Forgets a stream that was closed.
    pub fn remove(&self, stream: &InStream) {
        let mut streams = self.streams.borrow_mut();
        if let Some(parked) = streams.get_mut(&stream.key) {
            parked.retain(|parked| !std::ptr::eq(&**parked, stream));
            if parked.is_empty() {
                streams.remove(&stream.key);
            }
        }
    }
}
