//! A file system in memory that behaves as badly as a real one may when the power goes. Deterministic by its seed.
//!
//! What it models:
//! - Completed writes are visible at once and durable only after a sync that started later. At a power cut each 512-byte
//!   sector that was written since has, independently, its durable content or that of any write since, finished or not.
//! - A file's size and the mapping of its blocks become durable with its own sync; before, a power cut keeps or loses
//!   them as a whole. Data in blocks whose mapping is lost is lost.
//! - Names become durable with a sync of their directory; before, a power cut keeps some prefix of the changes.
//! - [`FlushScope::Device`]: one file's sync also covers completed writes of others, in blocks durably mapped before.
//! - Operations take a random number of polls, so concurrent ones finish in any order.
//! - Errors can be injected, and space can run out.
//!
//! It panics where a caller breaks the seam's contract: unaligned access, two writes in flight on one block, a write or
//! sync whose future is dropped before its end.
//!
//! Not modelled: sectors that are torn themselves, reads that fail by damage (flip bits instead), hard links, moves from
//! one directory to another, and metadata of directories that gets lost while that of files is kept in some order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use super::{Access, BLOCK_BYTES, FlushScope, IoError, IoOp, Storage, StorageFile, WriteBuffer};

mod disk;

use disk::{Disk, NodeId};

/// What a power cut keeps or loses as a whole.
pub const SECTOR_BYTES: usize = 512;

/// The next number of a splitmix64 sequence.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug)]
struct InjectedError {
    op: IoOp,
    /// Operations of that kind that still pass.
    skip: u64,
    errno: i32,
}

struct Sim {
    disk: RefCell<Disk>,
    random: Cell<u64>,
    /// Writes, syncs and changes of names so far.
    effects: Cell<u64>,
    cut_at: Cell<Option<u64>>,
    cut: Cell<bool>,
    /// Rises with each power cut: handles from before are dead.
    boot: Cell<u64>,
    errors: RefCell<Vec<InjectedError>>,
    counts: RefCell<BTreeMap<IoOp, u64>>,
    flush_scope: FlushScope,
}

/// See the module's contract. Clones share the file system.
#[derive(Clone)]
pub struct SimStorage {
    sim: Rc<Sim>,
    boot: u64,
}

/// Memory for a write to a [`SimStorage`].
pub struct SimBuffer(Vec<u8>);

impl AsRef<[u8]> for SimBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for SimBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl WriteBuffer for SimBuffer {
    fn truncate(&mut self, len: usize) {
        assert!(len <= self.0.len());
        self.0.truncate(len);
    }
}

impl SimStorage {
    /// An empty file system with the directory `root`.
    #[must_use]
    pub fn new(seed: u64, flush_scope: FlushScope, root: &Path) -> SimStorage {
        let sim = Sim {
            disk: RefCell::new(Disk::new(root)),
            random: Cell::new(seed),
            effects: Cell::new(0),
            cut_at: Cell::new(None),
            cut: Cell::new(false),
            boot: Cell::new(0),
            errors: RefCell::default(),
            counts: RefCell::default(),
            flush_scope,
        };
        SimStorage { sim: Rc::new(sim), boot: 0 }
    }

    /// Writes, syncs and changes of names so far: the points where power can be cut.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.sim.effects.get()
    }

    /// Power goes in the middle of the operation that is the `effect`-th from the begin: it and all later ones never end.
    pub fn cut_power_at(&self, effect: u64) {
        self.sim.cut_at.set(Some(effect));
    }

    /// Power goes now.
    pub fn cut_power(&self) {
        self.sim.cut.set(true);
    }

    /// Whether power has gone; drop everything that uses the storage then, and [`SimStorage::restart`].
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.sim.cut.get()
    }

    /// Power is back: what is on disk is chosen by the seed among all that may be. Handles from before are dead.
    #[must_use]
    pub fn restart(&self) -> SimStorage {
        let mut random = self.sim.random.get();
        self.sim.disk.borrow_mut().lose_power(&mut |below| next_random(&mut random) % below);
        self.sim.random.set(random);
        self.sim.cut.set(false);
        self.sim.cut_at.set(None);
        self.sim.boot.set(self.sim.boot.get() + 1);
        SimStorage { sim: self.sim.clone(), boot: self.sim.boot.get() }
    }

    /// An independent file system with the same content, for another continuation from here.
    #[must_use]
    pub fn fork(&self, seed: u64) -> SimStorage {
        let sim = Sim {
            disk: RefCell::new(self.sim.disk.borrow().clone()),
            random: Cell::new(seed),
            effects: Cell::new(self.sim.effects.get()),
            cut_at: Cell::new(None),
            cut: Cell::new(self.sim.cut.get()),
            boot: Cell::new(self.boot),
            errors: RefCell::default(),
            counts: RefCell::default(),
            flush_scope: self.sim.flush_scope,
        };
        SimStorage { sim: Rc::new(sim), boot: self.boot }
    }

    /// Lets the operation of kind `op` that comes after `skip` others fail with `errno`.
    pub fn fail(&self, op: IoOp, skip: u64, errno: i32) {
        self.sim.errors.borrow_mut().push(InjectedError { op, skip, errno });
    }

    /// How many operations of that kind have begun since the file system was made.
    #[must_use]
    pub fn count(&self, op: IoOp) -> u64 {
        self.sim.counts.borrow().get(&op).copied().unwrap_or(0)
    }

    /// Bounds the space that files can take; `None`: no bound.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.sim.disk.borrow_mut().set_capacity_bytes(capacity_bytes);
    }

    /// Space that files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.sim.disk.borrow().used_bytes()
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.sim.disk.borrow().files()
    }

    /// A file's content as a read sees it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.sim.disk.borrow();
        disk.lookup(path).ok().and_then(|node| disk.content(node).ok()).map(<[u8]>::to_vec)
    }

    /// Damages a file on the medium, durably.
    ///
    /// # Panics
    /// If the file does not exist or is shorter.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        let mut disk = self.sim.disk.borrow_mut();
        let node = disk.lookup(path).expect("the file to damage exists");
        disk.flip_bit(node, byte, bit);
    }

    fn random(&self, below: u64) -> u64 {
        let mut random = self.sim.random.get();
        let number = next_random(&mut random) % below;
        self.sim.random.set(random);
        number
    }

    async fn delay(&self) {
        let mut polls = self.random(3);
        poll_fn(|cx| {
            if self.is_dead() {
                return Poll::Pending;
            }
            if polls == 0 {
                return Poll::Ready(());
            }
            polls -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn is_dead(&self) -> bool {
        self.sim.cut.get() || self.sim.boot.get() != self.boot
    }

    fn injected(&self, op: IoOp, path: &Path) -> Result<(), IoError> {
        *self.sim.counts.borrow_mut().entry(op).or_default() += 1;
        let mut errors = self.sim.errors.borrow_mut();
        let Some(at) = errors.iter().position(|error| error.op == op) else { return Ok(()) };
        if errors[at].skip > 0 {
            errors[at].skip -= 1;
            return Ok(());
        }
        let errno = errors.remove(at).errno;
        Err(IoError::new(op, path, io::Error::from_raw_os_error(errno)))
    }

    /// An operation that changes something begins: `true` if power goes in its middle.
    fn begin_effect(&self) -> bool {
        let effect = self.sim.effects.get() + 1;
        self.sim.effects.set(effect);
        if self.sim.cut_at.get().is_some_and(|cut_at| effect >= cut_at) {
            self.sim.cut.set(true);
        }
        self.sim.cut.get()
    }

    /// A change that happens at one instant, or not at all.
    async fn change<T>(
        &self,
        op: IoOp,
        path: &Path,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> Result<T, IoError> {
        self.delay().await;
        self.injected(op, path)?;
        if self.begin_effect() {
            // Half of them happen just before the power goes.
            if self.random(2) == 0 {
                let _ = change(&mut self.sim.disk.borrow_mut());
            }
            return pending().await;
        }
        let result = change(&mut self.sim.disk.borrow_mut());
        self.delay().await;
        result.map_err(|source| IoError::new(op, path, source))
    }

    async fn look<T>(&self, op: IoOp, path: &Path, look: impl FnOnce(&Disk) -> io::Result<T>) -> Result<T, IoError> {
        self.delay().await;
        self.injected(op, path)?;
        look(&self.sim.disk.borrow()).map_err(|source| IoError::new(op, path, source))
    }

    fn file(&self, node: NodeId, path: &Path) -> SimFile {
        SimFile { storage: self.clone(), node, path: path.to_owned() }
    }
}

impl Storage for SimStorage {
    type File = SimFile;
    type WriteBuffer = SimBuffer;

    fn allocate_buffer(&self, len: usize) -> SimBuffer {
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "{len} bytes are not whole blocks");
        // Unspecified content must not go unnoticed.
        SimBuffer(vec![0xdd; len])
    }

    fn flush_scope(&self) -> FlushScope {
        self.sim.flush_scope
    }

    async fn open(&self, path: &Path, _access: Access) -> Result<SimFile, IoError> {
        let node = self.look(IoOp::Open, path, |disk| disk.lookup_file(path)).await?;
        Ok(self.file(node, path))
    }

    async fn create(&self, path: &Path) -> Result<SimFile, IoError> {
        let node = self.change(IoOp::Create, path, |disk| disk.create_file(path)).await?;
        Ok(self.file(node, path))
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change(IoOp::Rename, from, |disk| disk.rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::Remove, path, |disk| disk.remove(path)).await
    }

    async fn create_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::CreateDir, path, |disk| disk.create_dir(path)).await
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::RemoveDir, path, |disk| disk.remove_dir(path)).await
    }

    async fn list_dir(&self, path: &Path) -> Result<Vec<String>, IoError> {
        self.look(IoOp::ListDir, path, |disk| disk.list_dir(path)).await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::SyncDir, path, |disk| disk.sync_dir(path)).await
    }
}

/// An open file of a [`SimStorage`].
pub struct SimFile {
    storage: SimStorage,
    node: NodeId,
    path: PathBuf,
}

/// Panics if a write or sync is dropped before its end, except when power has gone or a panic is under way.
struct NotDropped<'a>(&'a SimStorage, bool);

impl Drop for NotDropped<'_> {
    fn drop(&mut self) {
        assert!(self.1 || self.0.is_dead() || std::thread::panicking(), "a write or sync was dropped before its end");
    }
}

impl StorageFile for SimFile {
    type WriteBuffer = SimBuffer;
    type ReadBuffer = Bytes;

    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, IoError> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64) && len.is_multiple_of(BLOCK_BYTES), "{position} {len}");
        self.storage
            .look(IoOp::Read, &self.path, |disk| {
                let content = disk.content(self.node)?;
                let start = content.len().min(position as usize);
                let end = content.len().min(start + len);
                Ok(Bytes::copy_from_slice(&content[start..end]))
            })
            .await
    }

    async fn write_at(&self, buffer: SimBuffer, position: u64) -> Result<(), IoError> {
        let len = buffer.0.len();
        assert!(position.is_multiple_of(BLOCK_BYTES as u64) && len.is_multiple_of(BLOCK_BYTES), "{position} {len}");
        let storage = &self.storage;
        let mut guard = NotDropped(storage, false);
        storage.delay().await;
        let result = async {
            storage.injected(IoOp::Write, &self.path)?;
            let begun = storage.sim.disk.borrow_mut().begin_write(self.node, position, &buffer.0);
            let write = begun.map_err(|source| IoError::new(IoOp::Write, &self.path, source))?;
            if storage.begin_effect() {
                return pending().await;
            }
            storage.delay().await;
            storage.sim.disk.borrow_mut().end_write(self.node, write, position, &buffer.0);
            Ok(())
        };
        let result = result.await;
        guard.1 = true;
        result
    }

    async fn write_zeros(&self, range: Range<u64>) -> Result<(), IoError> {
        self.write_at(SimBuffer(vec![0; (range.end - range.start) as usize]), range.start).await
    }

    async fn write_durably_at(&self, buffer: SimBuffer, position: u64) -> Result<(), IoError> {
        self.write_at(buffer, position).await?;
        self.sync_data().await
    }

    async fn sync_data(&self) -> Result<(), IoError> {
        let storage = &self.storage;
        let mut guard = NotDropped(storage, false);
        storage.delay().await;
        let result = async {
            storage.injected(IoOp::Sync, &self.path)?;
            let sync = storage.sim.disk.borrow_mut().begin_sync(self.node);
            if storage.begin_effect() {
                return pending().await;
            }
            storage.delay().await;
            let whole_device = storage.sim.flush_scope == FlushScope::Device;
            storage.sim.disk.borrow_mut().end_sync(self.node, sync, whole_device);
            Ok(())
        };
        let result = result.await;
        guard.1 = true;
        result
    }

    async fn allocate(&self, len: u64) -> Result<(), IoError> {
        self.storage.change(IoOp::Allocate, &self.path, |disk| disk.allocate(self.node, len)).await
    }

    async fn shrink(&self, len: u64) -> Result<(), IoError> {
        self.storage
            .change(IoOp::Shrink, &self.path, |disk| {
                disk.shrink(self.node, len);
                Ok(())
            })
            .await
    }

    async fn size(&self) -> Result<u64, IoError> {
        self.storage
            .look(IoOp::Size, &self.path, |disk| disk.content(self.node).map(|content| content.len() as u64))
            .await
    }

    async fn close(self) -> Result<(), IoError> {
        self.storage.look(IoOp::Close, &self.path, |_| Ok(())).await
    }
}

#[cfg(test)]
mod tests;
