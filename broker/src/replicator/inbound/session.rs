//! The follower's end of a connection: its streams by number, and their acknowledgements on the way back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::rc::{Rc, Weak};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use protocol::BrokerId;
use replication::message::{CONNECTION, Reason, StreamId, ToFollower, ToLeader};

use super::stream::InStream;
use crate::connection::gathered::Gathered;
use crate::partition::PartitionKey;
use crate::replicator::wire::{Owner, Wire};
use crate::shard::Shard;

/// Streams of one connection. More than any broker has partitions.
const STREAMS_MAX: usize = 1 << 20;

/// See the module's documentation.
pub struct Session {
    pub shard: Rc<Shard>,
    /// The broker at the other end.
    pub from: BrokerId,
    this: Weak<Session>,
    wire: Rc<Wire>,
    streams: RefCell<HashMap<StreamId, Rc<InStream>, RandomState>>,
    /// Streams with something to acknowledge.
    durable: RefCell<Vec<Rc<InStream>>>,
}

/// Serves a connection of another broker's shard to its end.
pub async fn serve(shard: Rc<Shard>, socket: TcpStream, peer: SocketAddr, from: BrokerId) {
    let session = Rc::new_cyclic(|this| Session {
        shard: shard.clone(),
        from,
        this: this.clone(),
        wire: Rc::new(Wire::new()),
        streams: RefCell::default(),
        durable: RefCell::default(),
    });
    shard.replicator().add_session(&session);
    let reason = session.wire.serve(&shard, socket, &session).await;
    shard.suspect(from);
    tracing::info!(shard = shard.index(), leader = %from, %peer, reason, "a leader's replication connection has ended");
    let streams: Vec<_> = session.streams.borrow_mut().drain().map(|(_, stream)| stream).collect();
    streams.iter().for_each(|stream| stream.lost());
    session.durable.borrow_mut().clear();
}

impl Session {
    pub fn say(&self, stream: StreamId, message: &ToLeader) {
        self.wire.say(|out| message.encode(stream, out));
    }

    /// A stream has something to acknowledge.
    pub fn acknowledge(&self, stream: Rc<InStream>) {
        self.durable.borrow_mut().push(stream);
        self.wire.wake();
    }

    /// Closes a stream from this end.
    pub fn close(&self, stream: StreamId, reason: Reason) {
        self.streams.borrow_mut().remove(&stream);
        self.say(stream, &ToLeader::Close(reason));
    }

    pub fn end(&self, reason: &str) {
        self.wire.end(reason);
    }
}

impl Owner for Session {
    fn take(&self, frame: Bytes) -> Result<(), String> {
        let (id, message) = ToFollower::decode(frame).map_err(|error| error.to_string())?;
        if id == CONNECTION {
            return Ok(());
        }
        if let ToFollower::Open { topic_id, partition, leader_epoch } = message {
            let key = PartitionKey { topic_id, partition };
            if self.streams.borrow().len() >= STREAMS_MAX {
                return Err(format!("more than {STREAMS_MAX} streams on one connection"));
            }
            let stream = InStream::new(self.this.clone(), id, key, leader_epoch);
            let before = self.streams.borrow_mut().insert(id, stream.clone());
            if let Some(before) = before {
                before.lost();
                return Err(format!("stream {id} was opened twice"));
            }
            stream.begin();
            return Ok(());
        }
        // One that was closed here may still be spoken of there.
        let stream = self.streams.borrow().get(&id).cloned();
        if let Some(stream) = stream {
            if matches!(message, ToFollower::Close(_)) {
                self.streams.borrow_mut().remove(&id);
            }
            stream.take(message);
        }
        Ok(())
    }

    fn gather(&self, out: &mut Gathered) -> bool {
        let durable = self.durable.take();
        if !durable.is_empty() {
            let mut messages = BytesMut::with_capacity(durable.len() * 32);
            durable.iter().for_each(|stream| stream.acknowledgement(&mut messages));
            out.add(messages.freeze());
        }
        false
    }

    fn beat(&self, out: &mut BytesMut) {
        ToLeader::Beat.encode(CONNECTION, out);
    }
}
