//! The test as the other end of a replication connection.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use protocol::frame::FrameDecoder;
use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::divergence::LogTail;
use replication::message::{CONNECTION, Progress, Reason, Run, StreamId, ToFollower, ToLeader};

use super::{Connect, PATIENCE, RunningShard, empty_at, headers, key};
use crate::shard::message::ShardMessage;

/// Often enough for the other end not to give the connection up, even where the machine is busy.
const BEAT_EVERY: Duration = Duration::from_millis(300);

/// What one end hears.
pub trait Heard: Sized {
    fn decode(frame: Bytes) -> (StreamId, Self);
    fn is_beat(&self) -> bool;
}

impl Heard for ToLeader {
    fn decode(frame: Bytes) -> (StreamId, ToLeader) {
        ToLeader::decode(frame).unwrap()
    }

    fn is_beat(&self) -> bool {
        *self == ToLeader::Beat
    }
}

impl Heard for ToFollower {
    fn decode(frame: Bytes) -> (StreamId, ToFollower) {
        ToFollower::decode(frame).unwrap()
    }

    fn is_beat(&self) -> bool {
        *self == ToFollower::Beat
    }
}

/// Batches of which each begins where the one before ends.
pub fn dense(batches: &[u8]) -> Run {
    Run { has_gaps: false, batches: Bytes::copy_from_slice(batches) }
}

/// One end of a connection, which says that it lives until it is dropped.
pub struct Peer<H> {
    socket: TcpStream,
    writer: Arc<Mutex<TcpStream>>,
    arrived: BytesMut,
    /// Of streams that nobody asked about yet.
    heard: VecDeque<(StreamId, H)>,
    next_barrier: StreamId,
    _beats: Option<mpsc::Sender<()>>,
}

/// Hears what a follower says.
pub type FakeLeader = Peer<ToLeader>;
/// Hears what a leader says.
pub type FakeFollower = Peer<ToFollower>;

/// Both ends of a connection.
pub fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

impl<H: Heard> Peer<H> {
    fn new(socket: TcpStream) -> Peer<H> {
        let mut peer = Peer::silent(socket);
        let (sender, ended) = mpsc::channel::<()>();
        let writer = peer.writer.clone();
        std::thread::spawn(move || {
            let mut beat = BytesMut::new();
            ToFollower::Beat.encode(CONNECTION, &mut beat);
            while ended.recv_timeout(BEAT_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                // The other end may have closed it.
                let _ = writer.lock().unwrap().write_all(&beat);
            }
        });
        peer._beats = Some(sender);
        peer
    }

    /// One that says nothing by itself.
    pub fn silent(socket: TcpStream) -> Peer<H> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let writer = Arc::new(Mutex::new(socket.try_clone().unwrap()));
        let (arrived, heard) = (BytesMut::new(), VecDeque::new());
        Peer { socket, writer, arrived, heard, next_barrier: 1 << 20, _beats: None }
    }

    pub fn send(&self, bytes: &[u8]) {
        self.writer.lock().unwrap().write_all(bytes).unwrap();
    }

    /// What comes next; `None` if the other end has closed the connection.
    fn hear_any(&mut self) -> Option<(StreamId, H)> {
        let decoder = FrameDecoder::new(64 << 20);
        // A connection on which there are beats alone says nothing either.
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing is heard but beats");
            while let Some(frame) = decoder.next_frame(&mut self.arrived).unwrap() {
                let (stream, message) = H::decode(frame);
                if !message.is_beat() {
                    return Some((stream, message));
                }
            }
            let mut bytes = [0; 64 << 10];
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.arrived.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing is heard: {error}"),
            }
        }
    }

    /// What is said next of a stream.
    pub fn hear_of(&mut self, stream: StreamId) -> H {
        if let Some(at) = self.heard.iter().position(|(of, _)| *of == stream) {
            return self.heard.remove(at).unwrap().1;
        }
        loop {
            let (of, message) = self.hear_any().expect("the connection was closed");
            if of == stream {
                return message;
            }
            self.heard.push_back((of, message));
        }
    }

    /// What was heard of a stream and not asked about.
    pub fn heard_of(&self, stream: StreamId) -> Vec<&H> {
        self.heard.iter().filter(|(of, _)| *of == stream).map(|(_, message)| message).collect()
    }

    /// The other end closes the connection.
    pub fn hear_the_end(&mut self) {
        while self.hear_any().is_some() {}
    }
}

pub fn progress(high_watermark: i64) -> Progress {
    Progress { high_watermark: Offset(high_watermark), log_start: Offset(0) }
}

impl FakeLeader {
    /// A connection from a shard of this broker.
    pub fn connect(shard: &RunningShard, from: i32) -> FakeLeader {
        FakeLeader::new(FakeLeader::socket(shard, from))
    }

    pub fn socket(shard: &RunningShard, from: i32) -> TcpStream {
        let (socket, theirs) = connection();
        let peer = theirs.peer_addr().unwrap();
        let message = ShardMessage::Replication { socket: theirs, peer, from: BrokerId(from) };
        shard.inbox.send_blocking(message).unwrap();
        socket
    }

    pub fn say(&self, stream: StreamId, message: &ToFollower) {
        let mut bytes = BytesMut::new();
        message.encode(stream, &mut bytes);
        self.send(&bytes);
    }

    pub fn open(&self, stream: StreamId, partition: i32, leader_epoch: i32) {
        let (topic_id, partition) = (key(partition).topic_id, key(partition).partition);
        self.say(stream, &ToFollower::Open { topic_id, partition, leader_epoch: LeaderEpoch(leader_epoch) });
    }

    /// Sends batches that a leader would, whose high watermark is at `high_watermark`.
    pub fn batches(&self, stream: StreamId, high_watermark: i64, batches: &[u8]) {
        self.say(stream, &ToFollower::Batches { progress: progress(high_watermark), run: dense(batches) });
    }

    pub fn position(&mut self, stream: StreamId) -> LogTail {
        match self.hear_of(stream) {
            ToLeader::Position { tail, broker_epoch: 0, window_bytes } if window_bytes > 0 => tail,
            other => panic!("{other:?}"),
        }
    }

    /// Opens a stream and agrees to whatever the follower has; gives where it ends.
    pub fn follow(&mut self, stream: StreamId, partition: i32, leader_epoch: i32) -> i64 {
        self.open(stream, partition, leader_epoch);
        let tail = self.position(stream);
        self.say(stream, &ToFollower::Agreed(progress(0)));
        let first = self.hear_of(stream);
        assert!(matches!(first, ToLeader::Durable { end, .. } if end == tail.log_end), "{first:?}");
        tail.log_end.0
    }

    /// The follower acknowledges `end`, and nothing above it before.
    pub fn durable(&mut self, stream: StreamId, up_to: i64) {
        loop {
            match self.hear_of(stream) {
                ToLeader::Durable { end, .. } if end.0 == up_to => return,
                ToLeader::Durable { end, .. } if end.0 < up_to => {}
                other => panic!("{other:?} instead of {up_to} acknowledged"),
            }
        }
    }

    /// The follower closes the stream, perhaps after acknowledgements.
    pub fn closed(&mut self, stream: StreamId) -> Reason {
        loop {
            match self.hear_of(stream) {
                ToLeader::Durable { .. } => {}
                ToLeader::Close(reason) => return reason,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything that was sent before has been taken in when this returns. `partition` is one that nothing else is done with.
    pub fn barrier(&mut self, partition: i32, leader_epoch: i32) {
        let stream = self.next_barrier;
        self.next_barrier += 1;
        self.open(stream, partition, leader_epoch);
        self.position(stream);
        self.say(stream, &ToFollower::Close(Reason::Over));
    }
}

impl FakeFollower {
    pub fn accept(connect: Connect) -> FakeFollower {
        let (socket, theirs) = connection();
        connect.reply.send(Ok(theirs)).unwrap();
        FakeFollower::new(socket)
    }

    pub fn say(&self, stream: StreamId, message: &ToLeader) {
        let mut bytes = BytesMut::new();
        message.encode(stream, &mut bytes);
        self.send(&bytes);
    }

    /// The next stream that the leader opens: its number, partition and leader epoch.
    pub fn opened(&mut self) -> (StreamId, i32, i32) {
        let is_open = |(_, message): &(StreamId, ToFollower)| matches!(message, ToFollower::Open { .. });
        loop {
            if let Some(at) = self.heard.iter().position(is_open) {
                let (stream, message) = self.heard.remove(at).unwrap();
                let ToFollower::Open { partition, leader_epoch, .. } = message else { unreachable!() };
                return (stream, partition.0, leader_epoch.0);
            }
            let heard = self.hear_any().expect("the connection was closed");
            self.heard.push_back(heard);
        }
    }

    pub fn position(&self, stream: StreamId, tail: LogTail, window_bytes: u32) {
        self.say(stream, &ToLeader::Position { tail, broker_epoch: 0, window_bytes });
    }

    /// The next stream, of this partition, on which an empty log is followed. Gives its number.
    pub fn follow(&mut self, partition: i32, window_bytes: u32) -> StreamId {
        let (stream, of, _) = self.opened();
        assert_eq!(of, partition);
        self.follow_opened(stream, window_bytes);
        stream
    }

    pub fn follow_opened(&mut self, stream: StreamId, window_bytes: u32) {
        self.position(stream, empty_at(0), window_bytes);
        let agreed = self.hear_of(stream);
        assert!(matches!(agreed, ToFollower::Agreed(_)), "{agreed:?}");
        self.durable(stream, 0);
    }

    pub fn durable(&self, stream: StreamId, end: i64) {
        self.say(stream, &ToLeader::Durable { end: Offset(end), log_start: Offset(0) });
    }

    /// The next batches of a stream.
    pub fn batches(&mut self, stream: StreamId) -> Bytes {
        loop {
            match self.hear_of(stream) {
                ToFollower::Batches { run, .. } => return run.batches,
                ToFollower::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Batches up to an offset, acknowledged as they come.
    pub fn take_up_to(&mut self, stream: StreamId, end: i64) -> Vec<u8> {
        let mut taken = Vec::new();
        let mut next = 0;
        while next < end {
            let batches = self.batches(stream);
            next = headers(&batches).last().unwrap().next_offset().0;
            taken.extend_from_slice(&batches);
            self.durable(stream, next);
        }
        assert_eq!(next, end);
        taken
    }

    /// The leader closes the stream, perhaps after other messages.
    pub fn closed(&mut self, stream: StreamId) -> Reason {
        loop {
            match self.hear_of(stream) {
                ToFollower::Close(reason) => return reason,
                ToFollower::Batches { .. } | ToFollower::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
