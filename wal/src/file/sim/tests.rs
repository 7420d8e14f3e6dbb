use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

const ROOT: &str = "/data";

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    for _ in 0..10_000 {
        if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
    panic!("the work does not end");
}

fn block(storage: &SimStorage, byte: u8) -> SimBuffer {
    let mut buffer = storage.allocate_buffer(BLOCK_BYTES);
    buffer.as_mut().fill(byte);
    buffer
}

async fn file_with(storage: &SimStorage, name: &str, byte: u8) -> SimFile {
    let file = storage.create(&Path::new(ROOT).join(name)).await.unwrap();
    file.write_at(block(storage, byte), 0).await.unwrap();
    file
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_go() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..100 {
        let storage = SimStorage::new(seed, FlushScope::File, Path::new(ROOT));
        run(async {
            let file = file_with(&storage, "a", 1).await;
            file.sync_data().await.unwrap();
            storage.sync_dir(Path::new(ROOT)).await.unwrap();
            file.write_at(block(&storage, 2), 0).await.unwrap();
        });
        storage.cut_power();
        let storage = storage.restart();
        let content = storage.content(&Path::new(ROOT).join("a")).expect("its name was synced");
        assert!(content.chunks(SECTOR_BYTES).all(|sector| sector == [sector[0]; SECTOR_BYTES] && sector[0] != 0));
        match (content.contains(&1), content.contains(&2)) {
            (true, true) => torn += 1,
            (true, false) => lost += 1,
            _ => kept += 1,
        }
    }
    assert!(kept > 5 && lost > 5 && torn > 5, "{kept} {lost} {torn}");
}

#[test]
fn an_unsynced_name_or_size_may_go() {
    let (mut names, mut data) = (0, 0);
    for seed in 0..100 {
        let storage = SimStorage::new(seed, FlushScope::Device, Path::new(ROOT));
        run(async {
            let _file = file_with(&storage, "a", 1).await;
            file_with(&storage, "b", 1).await.sync_data().await.unwrap();
        });
        storage.cut_power();
        let storage = storage.restart();
        if let Some(content) = storage.content(&Path::new(ROOT).join("a")) {
            names += 1;
            data += usize::from(content == [1; BLOCK_BYTES]);
        }
    }
    assert!(names > 10 && names < 90 && data > 0 && data < names, "{names} {data}");
}

#[test]
fn one_flush_covers_what_was_mapped_before() {
    for seed in 0..50 {
        let storage = SimStorage::new(seed, FlushScope::Device, Path::new(ROOT));
        run(async {
            let (a, b) = (file_with(&storage, "a", 1).await, file_with(&storage, "b", 1).await);
            a.sync_data().await.unwrap();
            storage.sync_dir(Path::new(ROOT)).await.unwrap();
            a.write_at(block(&storage, 2), 0).await.unwrap();
            b.sync_data().await.unwrap();
        });
        storage.cut_power();
        let storage = storage.restart();
        assert_eq!(storage.content(&Path::new(ROOT).join("a")), Some(vec![2; BLOCK_BYTES]));
    }
}

#[test]
fn space_runs_out_and_errors_come_when_told() {
    let storage = SimStorage::new(1, FlushScope::File, Path::new(ROOT));
    run(async {
        let file = file_with(&storage, "a", 1).await;
        storage.set_capacity_bytes(Some(2 * BLOCK_BYTES as u64));
        file.allocate(2 * BLOCK_BYTES as u64).await.unwrap();
        assert!(file.allocate(3 * BLOCK_BYTES as u64).await.unwrap_err().is_no_space());
        storage.fail(IoOp::Sync, 1, 5);
        file.sync_data().await.unwrap();
        assert_eq!(file.sync_data().await.unwrap_err().errno(), Some(5));
        file.sync_data().await.unwrap();
    });
}
