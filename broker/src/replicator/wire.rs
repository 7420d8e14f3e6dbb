//! One replication connection, whichever end it is: frames in, frames out, beats, and its end.
//!
//! Two tasks and a watch: the reader hands frames to whoever owns the connection; the writer sends what has come together since
//! it last looked, so many small messages cost one send; the watch says [beats](BEAT_EVERY) where nothing else is said, and
//! ends a connection on which nothing is heard. A link that was cut in one direction is noticed by that too.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use protocol::frame::{FrameAssembler, FrameDecoder};

use crate::connection::gathered::Gathered;
use crate::connection::reader::READ_SCRATCH_BYTES;
use crate::connection::socket::{self, ReadHalf, WriteHalf};
use crate::shard::Shard;
use crate::shard::event::LocalEvent;
use crate::shard::queues::breathe_after;

/// A connection on which nothing was sent for so long says that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// A connection on which nothing was heard for so many beats is given up.
const BEATS_MISSED_MAX: u32 = 6;
/// Longest frame, in bytes: a turn's batches, or one larger batch.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Memory is taken at once for a frame of less; for a longer one as it arrives.
const RESERVE_BYTES_MAX: usize = 16 << 20;

/// What both tasks of a connection and its owner share.
pub struct Wire {
    /// Messages without batches, encoded, to be sent before anything else.
    messages: RefCell<BytesMut>,
    wake: LocalEvent,
    /// There is something to send.
    woken: Cell<bool>,
    heard: Cell<bool>,
    sent: Cell<bool>,
    /// Why the connection ends.
    ended: RefCell<Option<String>>,
    end: LocalEvent,
}

/// What the owner of a connection has to do with it.
pub trait Owner {
    /// A frame without its length. An error ends the connection.
    fn take(&self, frame: Bytes) -> Result<(), String>;
    /// Adds what is to be sent now, and says whether there may be more.
    fn gather(&self, out: &mut Gathered) -> bool;
    /// A message that says nothing but that the connection lives.
    fn beat(&self, out: &mut BytesMut);
}

impl Wire {
    pub fn new() -> Wire {
        Wire {
            messages: RefCell::default(),
            wake: LocalEvent::default(),
            woken: Cell::new(false),
            heard: Cell::new(true),
            sent: Cell::new(false),
            ended: RefCell::default(),
            end: LocalEvent::default(),
        }
    }

    /// Adds a message to what is sent next.
    pub fn say(&self, encode: impl FnOnce(&mut BytesMut)) {
        encode(&mut self.messages.borrow_mut());
        self.wake();
    }

    /// There is something to send.
    pub fn wake(&self) {
        if !self.woken.replace(true) {
            self.wake.notify();
        }
    }

    /// Ends the connection; the first reason counts.
    pub fn end(&self, reason: impl Into<String>) {
        self.ended.borrow_mut().get_or_insert_with(|| reason.into());
        self.end.notify();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Resolves when the connection is to end.
    async fn ended(&self) {
        while !self.has_ended() {
            self.end.listen().await;
        }
    }

    /// Serves the connection to its end, and says why it ended.
    pub async fn serve(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        socket: TcpStream,
        owner: &Rc<impl Owner + 'static>,
    ) -> String {
        let halves = match socket::split(socket) {
            Ok(halves) => halves,
            Err(error) => return error.to_string(),
        };
        let writing = {
            let (wire, owner) = (self.clone(), owner.clone());
            glommio::spawn_local(async move {
                if let Err(error) = wire.write(halves.writer, &*owner).await {
                    wire.end(error.to_string());
                }
            })
        };
        let watching = {
            let (wire, owner) = (self.clone(), owner.clone());
            glommio::spawn_local(async move { wire.watch(&*owner).await })
        };
        match self.read(shard, halves.reader, &**owner).await {
            Ok(()) => self.end("the other end closed it"),
            Err(reason) => self.end(reason),
        }
        writing.await;
        watching.await;
        self.ended.borrow().clone().unwrap_or_default()
    }

    /// Reads until the connection ends.
    async fn read(&self, shard: &Shard, mut socket: ReadHalf, owner: &dyn Owner) -> Result<(), String> {
        let mut frames = FrameAssembler::new(FrameDecoder::new(FRAME_BYTES_MAX));
        let mut more_is_there = false;
        loop {
            let mut bytes = 0;
            while let Some(frame) = frames.next_frame().map_err(|error| error.to_string())? {
                bytes += frame.len();
                owner.take(frame)?;
            }
            if self.has_ended() {
                return Ok(());
            }
            breathe_after(bytes).await;
            let read =
                match select(pin!(read_more(shard, &mut socket, &mut frames, &mut more_is_there)), pin!(self.ended()))
                    .await
                {
                    Either::Left((read, _)) => read.map_err(|error| error.to_string())?,
                    Either::Right(_) => return Ok(()),
                };
            if read == 0 {
                return Ok(());
            }
            self.heard.set(true);
        }
    }

    async fn write(&self, mut socket: WriteHalf, owner: &dyn Owner) -> io::Result<()> {
        let mut gathered = Gathered::default();
        let mut may_be_more = false;
        while !self.has_ended() {
            if !may_be_more && !self.woken.get() {
                self.wake.listen().await;
                continue;
            }
            self.woken.set(false);
            let messages = self.messages.borrow_mut().split();
            if !messages.is_empty() {
                gathered.add(messages.freeze());
            }
            may_be_more = owner.gather(&mut gathered);
            if gathered.is_empty() {
                continue;
            }
            self.sent.set(true);
            match select(pin!(gathered.send(&mut socket)), pin!(self.ended())).await {
                Either::Left((sent, _)) => sent?,
                Either::Right(_) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn watch(&self, owner: &dyn Owner) {
        let mut missed = 0;
        while !self.has_ended() {
            if let Either::Right(_) = select(Timer::new(BEAT_EVERY), pin!(self.ended())).await {
                break;
            }
            if !self.sent.replace(false) {
                self.say(|out| owner.beat(out));
            }
            missed = if self.heard.replace(false) { 0 } else { missed + 1 };
            if missed >= BEATS_MISSED_MAX {
                self.end(format!("nothing was heard for {:?}", BEAT_EVERY * BEATS_MISSED_MAX));
            }
        }
        // The writer may be waiting for something to send.
        self.wake();
    }
}

/// Reads once. Many small frames come through memory that the shard's connections share; what is missing of a large one is
/// read to where it stays.
async fn read_more(
    shard: &Shard,
    socket: &mut ReadHalf,
    frames: &mut FrameAssembler,
    more_is_there: &mut bool,
) -> io::Result<usize> {
    if (READ_SCRATCH_BYTES..RESERVE_BYTES_MAX).contains(&frames.announced_bytes()) {
        frames.reserve_announced();
    }
    if *more_is_there && let Some(partial) = frames.partial_mut() {
        let room = partial.capacity() - partial.len();
        if let Some(read) = socket.try_read(partial)? {
            frames.extended();
            *more_is_there = read == room;
            return Ok(read);
        }
    }
    let read = socket.read(shard.read_scratch(), READ_SCRATCH_BYTES, |bytes| frames.take_in(bytes)).await?;
    *more_is_there = read == READ_SCRATCH_BYTES;
    Ok(read)
}
