//! The same behaviour on O_DIRECT files of a real file system.
#![cfg(feature = "glommio")]

mod common;

use glommio::LocalExecutor;
use wal::file::Storage;
use wal::file::glommio::GlommioStorage;

#[test]
fn everything_on_a_real_file_system() {
    let root = tempfile::Builder::new().prefix("ringlog-wal-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = root.path().to_owned();
    LocalExecutor::default().run(async move {
        let storage = GlommioStorage::new(&path).await.unwrap();
        common::suite::everything(&storage, &path).await;
    });
}

/// One flush covers one device: a file elsewhere must not slip in by a link.
#[test]
fn files_on_another_device_are_refused() {
    let root = tempfile::Builder::new().prefix("ringlog-wal-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), root.path().join("t-0")).unwrap();
    let path = root.path().to_owned();
    LocalExecutor::default().run(async move {
        let storage = GlommioStorage::new(&path).await.unwrap();
        let error = storage.create(&path.join("t-0").join("x.log")).await.err().expect("it was refused");
        assert!(error.source.to_string().contains("must share the data directory's device"), "{error}");
        assert!(storage.create(&path.join("x.log")).await.is_ok());
    });
}
