//! The same behaviour on O_DIRECT files of a real file system.
#![cfg(feature = "glommio")]

mod common;

use glommio::LocalExecutor;
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
