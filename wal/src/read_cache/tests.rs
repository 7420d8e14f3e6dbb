use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::file::sim::{SimFile, SimStorage};
use crate::file::{FlushScope, WriteBuffer};

const SEGMENT: u64 = 7;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    (0..10_000).find_map(|_| poll(work.as_mut())).expect("the work does not end")
}

/// A file of `chunks` chunks, each filled with its number.
fn file_of(chunks: u8) -> Rc<SimFile> {
    let storage = SimStorage::new(1, FlushScope::Device, Path::new("/data"));
    run(async {
        let file = storage.create(Path::new("/data/log")).await.unwrap();
        for chunk in 0..chunks {
            let mut buffer = storage.allocate_buffer(CHUNK_BYTES);
            buffer.as_mut().fill(chunk);
            buffer.truncate(CHUNK_BYTES);
            file.write_at(buffer, u64::from(chunk) * CHUNK_BYTES as u64).await.unwrap();
        }
        Rc::new(file)
    })
}

fn cache_of(chunks: usize) -> ReadCache<SimStorage> {
    ReadCache::new(chunks * CHUNK_BYTES, Arc::default())
}

fn is_ready(cache: &ReadCache<SimStorage>, chunk: u64) -> bool {
    matches!(cache.slots.borrow().get(&ChunkKey { segment_uid: SEGMENT, chunk }), Some(Slot::Ready { .. }))
}

fn demanded(cache: &ReadCache<SimStorage>, file: &Rc<SimFile>, chunk: u64) -> u8 {
    run(cache.chunk(SEGMENT, file, chunk)).unwrap()[CHUNK_BYTES - 1]
}

#[test]
fn what_is_queued_is_read_ahead_and_found() {
    let (cache, file) = (cache_of(8), file_of(4));
    let readers = cache.queue(SEGMENT, &[0, 1, 2], &file);
    assert_eq!(readers.len(), 3);
    assert!((0..3).all(|chunk| cache.has(SEGMENT, chunk) && !is_ready(&cache, chunk)));
    for reader in readers {
        run(cache.read_ahead(reader));
    }
    assert!((0..3).all(|chunk| is_ready(&cache, chunk)) && !cache.has(SEGMENT, 3));
    assert_eq!((demanded(&cache, &file, 2), demanded(&cache, &file, 3)), (2, 3));
    assert_eq!(cache.ahead_readers.get(), 0);
}

#[test]
fn who_wants_a_queued_chunk_reads_it_and_read_ahead_passes_it_over() {
    let (cache, file) = (cache_of(8), file_of(2));
    let mut readers = cache.queue(SEGMENT, &[0, 1], &file);
    assert_eq!(demanded(&cache, &file, 0), 0);
    run(cache.read_ahead(readers.pop().unwrap()));
    assert!(is_ready(&cache, 1) && cache.queued.borrow().is_empty());
    // The other reader finds nothing to do, and holds no turn.
    run(cache.read_ahead(readers.pop().unwrap()));
    let turns: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| run(cache.limit.turn(ReadKind::Demanded))).collect();
    drop(turns);
}

#[test]
fn readers_that_never_run_or_end_half_way_hold_up_nobody() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cache, file) = (cache_of(8), file_of(9));
    drop(cache.queue(SEGMENT, &[0], &file));
    assert_eq!(demanded(&cache, &file, 0), 0);
    // Some reads of the simulated disk are done at once.
    let begin = |chunk| {
        let reader = cache.queue(SEGMENT, &[chunk], &file).pop().unwrap();
        let mut reading = Box::pin(cache.read_ahead(reader));
        poll(reading.as_mut()).is_none().then_some((chunk, reading))
    };
    let (chunk, reading) = (1..9).find_map(begin).expect("one that takes its time");
    let woken = Arc::new(Count::default());
    let mut wanted = pin!(cache.chunk(SEGMENT, &file, chunk));
    assert!(wanted.as_mut().poll(&mut Context::from_waker(&woken.clone().into())).is_pending());
    drop(reading);
    assert!(woken.0.load(Ordering::Relaxed) > 0, "whoever waits for it is to read it now");
    assert_eq!(u64::from(run(wanted).unwrap()[0]), chunk);
}

#[test]
fn what_is_ahead_is_bounded_and_the_next_chunks_come_first() {
    let (cache, file) = (cache_of(8), file_of(10));
    let readers = cache.queue(SEGMENT, &[0, 1, 2, 3, 4, 5, 6, 7], &file);
    let marked: Vec<u64> = (0..8).filter(|chunk| cache.has(SEGMENT, *chunk)).collect();
    assert_eq!((marked.as_slice(), readers.len()), ([0, 1, 2, 3, 4, 5].as_slice(), 6));
    for reader in readers {
        run(cache.read_ahead(reader));
    }
    assert!(cache.queue(SEGMENT, &[6], &file).is_empty(), "there is no room");
    assert_eq!(demanded(&cache, &file, 0), 0);
    assert_eq!(cache.queue(SEGMENT, &[6, 7], &file).len(), 1, "room for one");
    assert!(cache.has(SEGMENT, 6) && !cache.has(SEGMENT, 7));
}

#[test]
fn memory_is_bounded_and_what_was_used_longest_ago_goes() {
    let (cache, file) = (cache_of(2), file_of(3));
    for chunk in [0, 1, 0, 2] {
        demanded(&cache, &file, chunk);
    }
    assert!(is_ready(&cache, 0) && !cache.has(SEGMENT, 1) && is_ready(&cache, 2));
}

#[test]
fn what_was_read_ahead_outlives_what_was_used_since() {
    let (cache, file) = (cache_of(4), file_of(20));
    for reader in cache.queue(SEGMENT, &[0, 1, 2], &file) {
        run(cache.read_ahead(reader));
    }
    for chunk in 10..15 {
        demanded(&cache, &file, chunk);
    }
    assert!((0..3).all(|chunk| is_ready(&cache, chunk)) && is_ready(&cache, 14) && !cache.has(SEGMENT, 13));
    // Once it was had it goes like all others, unless its reader stopped within it.
    demanded(&cache, &file, 0);
    demanded(&cache, &file, 1);
    cache.keep(SEGMENT, 1);
    demanded(&cache, &file, 15);
    demanded(&cache, &file, 16);
    assert!(!cache.has(SEGMENT, 0) && is_ready(&cache, 1) && is_ready(&cache, 2) && is_ready(&cache, 16));
}

#[test]
fn what_nobody_comes_for_makes_room_at_last() {
    let (cache, file) = (cache_of(4), file_of(20));
    for reader in cache.queue(SEGMENT, &[0, 1, 2], &file) {
        run(cache.read_ahead(reader));
    }
    assert!(cache.queue(SEGMENT, &[3], &file).is_empty());
    for chunk in 4..16 {
        demanded(&cache, &file, chunk);
    }
    assert_eq!(cache.queue(SEGMENT, &[3, 16, 17, 18], &file).len(), 3);
    assert!((0..3).all(|chunk| !cache.has(SEGMENT, chunk)));
}

#[test]
fn readers_of_many_logs_read_nothing_twice() {
    const LOGS: u64 = 4;
    const CHUNKS: u64 = 40;
    let (cache, file) = (cache_of(16), file_of(CHUNKS as u8));
    let mut reads = 0;
    // Each goes on by a chunk and a half, in turn, and has four chunks read ahead.
    for halves in (0..2 * CHUNKS).step_by(3) {
        for log in 0..LOGS {
            let (first, end) = (halves / 2, ((halves + 3) / 2).min(CHUNKS - 1));
            for chunk in first..=end {
                reads += usize::from(!cache.has(log, chunk));
                run(cache.chunk(log, &file, chunk)).unwrap();
            }
            cache.keep(log, end);
            let ahead: Vec<u64> = (end..(end + 4).min(CHUNKS)).filter(|chunk| !cache.has(log, *chunk)).collect();
            for reader in cache.queue(log, &ahead, &file) {
                run(cache.read_ahead(reader));
            }
            reads += ahead.iter().filter(|chunk| cache.has(log, **chunk)).count();
        }
    }
    assert_eq!(reads as u64, LOGS * CHUNKS);
}
