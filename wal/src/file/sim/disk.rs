//! The state behind a simulated file system: what reads see, what is durable, and everything in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::SECTOR_BYTES;
use crate::file::BLOCK_BYTES;

const SECTORS_PER_BLOCK: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;
const ENOSPC: i32 = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// A write in flight, or one that has ended and is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteId(u64);

/// A sync in flight: what it covers.
pub(super) struct SyncBegin {
    at: u64,
    size: u64,
    mapped: BTreeSet<u64>,
}

#[derive(Clone)]
struct Version {
    write: u64,
    /// When the write ended; `None` while it is in flight.
    ended_at: Option<u64>,
    sector: Vec<u8>,
}

#[derive(Clone, Default)]
struct FileNode {
    /// As reads see it.
    content: Vec<u8>,
    /// As after a power cut that loses everything not synced.
    durable: Vec<u8>,
    /// By sector: what was written since.
    unsynced: BTreeMap<u64, Vec<Version>>,
    /// Blocks that were ever written.
    mapped: BTreeSet<u64>,
    durable_mapped: BTreeSet<u64>,
    /// Blocks with a write in flight.
    busy: BTreeSet<u64>,
}

#[derive(Clone)]
enum Change {
    Link(String, NodeId),
    Unlink(String),
    Rename { from: String, to: String, node: NodeId },
}

#[derive(Clone, Default)]
struct DirNode {
    entries: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    clock: u64,
    capacity_bytes: Option<u64>,
}

fn apply(entries: &mut BTreeMap<String, NodeId>, change: &Change) {
    match change {
        Change::Link(name, node) => {
            entries.insert(name.clone(), *node);
        }
        Change::Unlink(name) => {
            entries.remove(name);
        }
        Change::Rename { from, to, node } => {
            entries.remove(from);
            entries.insert(to.clone(), *node);
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

const ROOT: NodeId = NodeId(0);

impl Disk {
    pub(super) fn new(root: &Path) -> Disk {
        let mut disk = Disk { nodes: vec![Node::Dir(DirNode::default())], clock: 0, capacity_bytes: None };
        let mut path = PathBuf::new();
        for component in root.components() {
            path.push(component);
            if matches!(component, Component::Normal(_)) {
                disk.create_dir(&path).expect("its parent was created before");
            }
        }
        for node in &mut disk.nodes {
            if let Node::Dir(dir) = node {
                dir.durable = dir.entries.clone();
                dir.unsynced.clear();
            }
        }
        disk
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn set_capacity_bytes(&mut self, capacity_bytes: Option<u64>) {
        self.capacity_bytes = capacity_bytes;
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let Node::Dir(dir) = &self.nodes[node.0] else { return Err(io::ErrorKind::NotADirectory.into()) };
                node = name.to_str().and_then(|name| dir.entries.get(name)).copied().ok_or_else(not_found)?;
            }
        }
        Ok(node)
    }

    pub(super) fn lookup_file(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.lookup(path)?;
        self.content(node).map(|_| node)
    }

    fn file(&mut self, node: NodeId) -> &mut FileNode {
        match &mut self.nodes[node.0] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory was opened as a file"),
        }
    }

    fn parent(&mut self, path: &Path) -> io::Result<(&mut DirNode, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = self.lookup(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        match &mut self.nodes[parent.0] {
            Node::Dir(dir) => Ok((dir, name)),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(String) -> Change) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let change = change(name);
        apply(&mut dir.entries, &change);
        dir.unsynced.push(change);
        Ok(())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        if let Ok(node) = self.lookup(path) {
            self.shrink(node, 0);
            return Ok(node);
        }
        let node = NodeId(self.nodes.len());
        self.change(path, |name| Change::Link(name, node))?;
        self.nodes.push(Node::File(FileNode::default()));
        Ok(node)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.lookup(path).is_ok() {
            return Ok(());
        }
        let node = NodeId(self.nodes.len());
        self.change(path, |name| Change::Link(name, node))?;
        self.nodes.push(Node::Dir(DirNode::default()));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "moves between directories are not modelled");
        let node = self.lookup(from)?;
        let to = to.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        self.change(from, |from| Change::Rename { from, to, node })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.lookup_file(path)?;
        self.change(path, Change::Unlink)
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.lookup(path)?;
        match &self.nodes[node.0] {
            Node::Dir(dir) if dir.entries.is_empty() => self.change(path, Change::Unlink),
            Node::Dir(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        match &self.nodes[self.lookup(path)?.0] {
            Node::Dir(dir) => Ok(dir.entries.keys().cloned().collect()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.lookup(path)?;
        let Node::Dir(dir) = &mut self.nodes[node.0] else { return Err(io::ErrorKind::NotADirectory.into()) };
        dir.durable = dir.entries.clone();
        dir.unsynced.clear();
        Ok(())
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = dirs.pop() {
            match &self.nodes[node.0] {
                Node::Dir(dir) => dirs.extend(dir.entries.iter().map(|(name, node)| (path.join(name), *node))),
                Node::File(_) => found.push(path),
            }
        }
        found.sort();
        found
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let nodes = self.files().into_iter().filter_map(|path| self.lookup(&path).ok());
        nodes.filter_map(|node| self.content(node).ok()).map(|content| content.len() as u64).sum()
    }

    pub(super) fn content(&self, node: NodeId) -> io::Result<&[u8]> {
        match &self.nodes[node.0] {
            Node::File(file) => Ok(&file.content),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn flip_bit(&mut self, node: NodeId, byte: u64, bit: u8) {
        let file = self.file(node);
        file.content[byte as usize] ^= 1 << bit;
        file.durable[byte as usize] ^= 1 << bit;
    }

    pub(super) fn allocate(&mut self, node: NodeId, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(self.content(node)?.len() as u64);
        if self.capacity_bytes.is_some_and(|capacity| self.used_bytes() + more > capacity) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        // As `resize` does, which goes byte by byte where it is not optimized.
        self.file(node).content.extend_from_slice(&vec![0; more as usize]);
        Ok(())
    }

    pub(super) fn shrink(&mut self, node: NodeId, len: u64) {
        let file = self.file(node);
        file.content.truncate(len as usize);
        file.unsynced.split_off(&len.div_ceil(SECTOR_BYTES as u64));
        file.mapped.split_off(&len.div_ceil(BLOCK_BYTES as u64));
    }

    pub(super) fn begin_write(&mut self, node: NodeId, position: u64, bytes: &[u8]) -> io::Result<WriteId> {
        self.allocate(node, position + bytes.len() as u64)?;
        let write = self.tick();
        let file = self.file(node);
        let first_block = position / BLOCK_BYTES as u64;
        for block in first_block..first_block + (bytes.len() / BLOCK_BYTES) as u64 {
            assert!(file.busy.insert(block), "two writes in flight on block {block}");
            file.mapped.insert(block);
        }
        for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let sector_at = position / SECTOR_BYTES as u64 + at as u64;
            let version = Version { write, ended_at: None, sector: sector.to_vec() };
            file.unsynced.entry(sector_at).or_default().push(version);
        }
        Ok(WriteId(write))
    }

    pub(super) fn end_write(&mut self, node: NodeId, write: WriteId, position: u64, bytes: &[u8]) {
        let now = self.tick();
        let file = self.file(node);
        let first_block = position / BLOCK_BYTES as u64;
        for block in first_block..first_block + (bytes.len() / BLOCK_BYTES) as u64 {
            file.busy.remove(&block);
        }
        file.content[position as usize..position as usize + bytes.len()].copy_from_slice(bytes);
        let first = position / SECTOR_BYTES as u64;
        for (_, versions) in file.unsynced.range_mut(first..first + (bytes.len() / SECTOR_BYTES) as u64) {
            versions
                .iter_mut()
                .filter(|version| version.write == write.0)
                .for_each(|version| version.ended_at = Some(now));
        }
    }

    pub(super) fn begin_sync(&mut self, node: NodeId) -> SyncBegin {
        let at = self.tick();
        let file = self.file(node);
        SyncBegin { at, size: file.content.len() as u64, mapped: file.mapped.clone() }
    }

    pub(super) fn end_sync(&mut self, node: NodeId, sync: SyncBegin, whole_device: bool) {
        let file = self.file(node);
        file.durable.resize(sync.size as usize, 0);
        file.durable_mapped = sync.mapped;
        self.harden(node, sync.at);
        if whole_device {
            for other in 0..self.nodes.len() {
                if other != node.0 && matches!(self.nodes[other], Node::File(_)) {
                    self.harden(NodeId(other), sync.at);
                }
            }
        }
    }

    /// Makes writes that ended before `at` durable, in blocks whose mapping is.
    fn harden(&mut self, node: NodeId, at: u64) {
        let file = self.file(node);
        let FileNode { durable, unsynced, durable_mapped, .. } = file;
        unsynced.retain(|sector, versions| {
            let start = *sector as usize * SECTOR_BYTES;
            if !durable_mapped.contains(&(sector / SECTORS_PER_BLOCK)) || durable.len() < start + SECTOR_BYTES {
                return true;
            }
            let ended = versions.iter().rposition(|version| version.ended_at.is_some_and(|ended| ended <= at));
            if let Some(ended) = ended {
                durable[start..start + SECTOR_BYTES].copy_from_slice(&versions[ended].sector);
                versions.drain(..=ended);
            }
            !versions.is_empty()
        });
    }

    /// Decides what is left. `random(n)` gives a number below n.
    pub(super) fn lose_power(&mut self, random: &mut impl FnMut(u64) -> u64) {
        for node in &mut self.nodes {
            match node {
                Node::Dir(dir) => {
                    let kept = random(dir.unsynced.len() as u64 + 1) as usize;
                    for change in &dir.unsynced[..kept] {
                        apply(&mut dir.durable, change);
                    }
                    dir.unsynced.clear();
                    dir.entries = dir.durable.clone();
                }
                Node::File(file) => file.lose_power(random),
            }
        }
    }
}

impl FileNode {
    fn lose_power(&mut self, random: &mut impl FnMut(u64) -> u64) {
        let mut left = std::mem::take(&mut self.durable);
        if random(2) == 0 {
            left.resize(self.content.len(), 0);
            self.durable_mapped = std::mem::take(&mut self.mapped);
        }
        // Sometimes nothing or everything arrives, which independent sectors would hardly ever show.
        let mode = random(4);
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let start = sector as usize * SECTOR_BYTES;
            let mapped = self.durable_mapped.contains(&(sector / SECTORS_PER_BLOCK));
            let chosen = match mode {
                0 => 0,
                1 => versions.len(),
                _ => random(versions.len() as u64 + 1) as usize,
            };
            if mapped && start + SECTOR_BYTES <= left.len() && chosen > 0 {
                left[start..start + SECTOR_BYTES].copy_from_slice(&versions[chosen - 1].sector);
            }
        }
        self.mapped = self.durable_mapped.clone();
        self.busy.clear();
        self.content = left.clone();
        self.durable = left;
    }
}
