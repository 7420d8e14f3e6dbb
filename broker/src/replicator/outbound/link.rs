//! The connection from this shard to one shard of a follower's broker, made when the first stream needs it and made again when
//! it breaks; all streams between the two share it, in turns.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use futures_util::future::select;
use glommio::timer::Timer;
use protocol::BrokerId;
use replication::backoff::Backoff;
use replication::message::{CONNECTION, Reason, StreamId, ToFollower, ToLeader};
use replication::turns::{Class, Turns};

use super::stream::OutStream;
use crate::connection::gathered::Gathered;
use crate::replicator::wire::{Owner, Wire};
use crate::shard::Shard;
use crate::shard::event::LocalEvent;

/// Pauses before a connection that failed is made again, in milliseconds.
const RECONNECT_FIRST_MS: u64 = 20;
const RECONNECT_LONGEST_MS: u64 = 1_000;
/// How long a follower may go without being told of a high watermark that no batches carry.
const TELL_WITHIN: Duration = Duration::from_millis(5);

/// The process and shard at the other end. Another process has another broker epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    pub broker: BrokerId,
    pub broker_epoch: u64,
    pub shard: u32,
}

/// See the module's documentation.
pub struct Link {
    key: LinkKey,
    shard: Rc<Shard>,
    /// By their numbers on the present connection; those that are not opened on it are in `waiting`.
    streams: RefCell<HashMap<StreamId, Rc<OutStream>, RandomState>>,
    waiting: RefCell<Vec<Rc<OutStream>>>,
    /// Streams that partitions have on it, opened or not.
    attached: Cell<usize>,
    next_id: Cell<StreamId>,
    turns: RefCell<Turns>,
    untold: RefCell<Vec<Rc<OutStream>>>,
    telling: Cell<bool>,
    tell_now: Cell<bool>,
    wire: RefCell<Option<Rc<Wire>>>,
    /// No streams need it, or the process at the other end is another.
    over: Cell<bool>,
    /// Try again now, or end.
    kicked: LocalEvent,
}

impl Link {
    /// Starts to connect.
    pub fn start(shard: &Rc<Shard>, key: LinkKey) -> Rc<Link> {
        let link = Rc::new(Link {
            key,
            shard: shard.clone(),
            streams: RefCell::default(),
            waiting: RefCell::default(),
            attached: Cell::new(0),
            next_id: Cell::new(1),
            turns: RefCell::default(),
            untold: RefCell::default(),
            telling: Cell::new(false),
            tell_now: Cell::new(false),
            wire: RefCell::default(),
            over: Cell::new(false),
            kicked: LocalEvent::default(),
        });
        let running = link.clone();
        shard.queues().spawn_produce(async move { running.run().await });
        link
    }

    pub fn key(&self) -> LinkKey {
        self.key
    }

    /// Adds a stream; it is opened as soon as there is a connection.
    pub fn open(&self, stream: &Rc<OutStream>) {
        if stream.id() != 0 {
            return;
        }
        let connected = self.wire.borrow().as_ref().is_some_and(|wire| !wire.has_ended());
        if !connected {
            return self.wait(stream.clone());
        }
        let id = self.next_id.get();
        // After four thousand million streams the connection is made anew.
        let Some(next) = id.checked_add(1) else {
            self.wait(stream.clone());
            return self.disconnect("all numbers of streams are used up");
        };
        self.next_id.set(next);
        self.streams.borrow_mut().insert(id, stream.clone());
        stream.open(id);
    }

    /// The stream is opened on the next connection.
    fn wait(&self, stream: Rc<OutStream>) {
        let mut waiting = self.waiting.borrow_mut();
        // An ended one would keep it, and be kept by it, for ever.
        if !self.over.get() && !stream.waits.replace(true) {
            waiting.push(stream);
        }
    }

    /// Takes a stream away that its partition has no use for.
    pub fn detach(&self, stream: &OutStream) {
        self.attached.set(self.attached.get() - 1);
        let id = stream.id();
        if id != 0 {
            self.wire_say(|out| ToFollower::Close(Reason::Over).encode(id, out));
            self.forget(id);
            stream.lost();
        }
        self.waiting.borrow_mut().retain(|waiting| !std::ptr::eq(&**waiting, stream));
    }

    /// A stream is closed on this connection.
    pub fn forget(&self, id: StreamId) {
        self.turns.borrow_mut().remove(id);
        self.streams.borrow_mut().remove(&id);
    }

    /// A partition needs it for a stream, until that is detached.
    pub fn attached(&self) {
        self.attached.set(self.attached.get() + 1);
    }

    /// Whether no partition needs it. Streams that pause count: they are opened on it again.
    pub fn is_unused(&self) -> bool {
        self.attached.get() == 0
    }

    /// It was ended, and connects no more.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Ends it for good.
    pub fn end(&self, reason: &str) {
        self.over.set(true);
        self.disconnect(reason);
        self.kicked.notify();
    }

    /// Tries to connect again without waiting for the pause to end.
    pub fn kick(&self) {
        self.kicked.notify();
    }

    fn disconnect(&self, reason: &str) {
        if let Some(wire) = &*self.wire.borrow() {
            wire.end(reason);
        }
    }

    pub fn wire_say(&self, encode: impl FnOnce(&mut BytesMut)) {
        if let Some(wire) = &*self.wire.borrow() {
            wire.say(encode);
        }
    }

    fn wake(&self) {
        if let Some(wire) = &*self.wire.borrow() {
            wire.wake();
        }
    }

    /// A stream has batches to send.
    pub fn ready(&self, stream: StreamId, class: Class) {
        self.turns.borrow_mut().ready(stream, class);
        self.wake();
    }

    /// A stream's follower is to be told how far the leader is, after a moment in which batches may carry it.
    pub fn tell_soon(self: &Rc<Self>, stream: Rc<OutStream>) {
        self.untold.borrow_mut().push(stream);
        if self.telling.replace(true) {
            return;
        }
        let link = self.clone();
        self.shard.queues().spawn_produce(async move {
            Timer::new(TELL_WITHIN).await;
            link.telling.set(false);
            link.tell_now.set(true);
            link.wake();
        });
    }

    async fn run(self: Rc<Self>) {
        let mut backoff = Backoff::new(RECONNECT_FIRST_MS, RECONNECT_LONGEST_MS);
        let mut is_known = false;
        while !self.over.get() && !self.shard.is_stopping() {
            let LinkKey { broker, shard, .. } = self.key;
            match self.shard.metadata().connect(broker, shard).await {
                Ok(socket) if !self.over.get() => {
                    is_known = false;
                    tracing::info!(shard = self.shard.index(), follower = %broker, their_shard = shard, "replication connected");
                    let began = crate::clock::monotonic_ms();
                    let reason = self.serve(socket).await;
                    self.shard.suspect(broker);
                    tracing::info!(shard = self.shard.index(), follower = %broker, their_shard = shard, reason, "replication disconnected");
                    if crate::clock::monotonic_ms() - began >= RECONNECT_LONGEST_MS {
                        backoff.succeeded();
                    }
                }
                Ok(_) => break,
                Err(error) if !is_known => {
                    is_known = true;
                    tracing::info!(shard = self.shard.index(), follower = %broker, their_shard = shard, error,
                        "replication could not connect: it tries again");
                }
                Err(error) => tracing::debug!(follower = %broker, error, "replication could not connect"),
            }
            if self.over.get() {
                break;
            }
            let pause = Duration::from_millis(backoff.failed(self.shard.random_u32()));
            select(Timer::new(pause), pin!(self.kicked.listen())).await;
        }
        self.waiting.borrow_mut().clear();
    }

    async fn serve(self: &Rc<Self>, socket: std::net::TcpStream) -> String {
        let wire = Rc::new(Wire::new());
        *self.wire.borrow_mut() = Some(wire.clone());
        let waiting = self.waiting.take();
        for stream in waiting {
            stream.waits.set(false);
            self.open(&stream);
        }
        let reason = wire.serve(&self.shard, socket, self).await;
        *self.wire.borrow_mut() = None;
        *self.turns.borrow_mut() = Turns::default();
        self.untold.borrow_mut().clear();
        let lost: Vec<_> = self.streams.borrow_mut().drain().map(|(_, stream)| stream).collect();
        for stream in lost {
            stream.lost();
            self.wait(stream);
        }
        reason
    }
}

impl Owner for Link {
    fn take(&self, frame: Bytes) -> Result<(), String> {
        let (id, message) = ToLeader::decode(frame).map_err(|error| error.to_string())?;
        if id == CONNECTION {
            return Ok(());
        }
        // One that was closed here may still be spoken of there.
        let stream = self.streams.borrow().get(&id).cloned();
        if let Some(stream) = stream {
            stream.take(message);
        }
        Ok(())
    }

    fn gather(&self, out: &mut Gathered) -> bool {
        if self.tell_now.replace(false) {
            let untold = self.untold.take();
            untold.iter().for_each(|stream| stream.tell());
        }
        while !out.is_much() {
            let Some(turn) = self.turns.borrow_mut().begin() else { return false };
            let stream = self.streams.borrow().get(&turn.stream).cloned();
            let (bytes, again) = stream.map_or((0, None), |stream| stream.take_turn(out));
            self.shard.metrics().replicated_out_bytes.add(bytes as u64);
            self.turns.borrow_mut().ended(turn, bytes, again);
        }
        true
    }

    fn beat(&self, out: &mut BytesMut) {
        ToFollower::Beat.encode(CONNECTION, out);
    }
}
