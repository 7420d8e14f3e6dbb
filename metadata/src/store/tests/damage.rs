//! Files that are no databases any more, or never were, are refused by name.

use super::{NODE, error_of, look, open_as};
use crate::store::{DATABASE_FILE, OpenError};
use crate::testing::bootstrap;
use tempfile::TempDir;

#[test]
fn a_file_cut_short_or_of_something_else_is_refused() {
    let directory = TempDir::new().unwrap();
    look(directory.path());
    let path = directory.path().join(DATABASE_FILE);
    let intact = std::fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, 10_000, intact.len() / 2, intact.len() - 1] {
        std::fs::write(&path, &intact[..length]).unwrap();
        let error = error_of(open_as(directory.path(), NODE, &bootstrap()));
        assert!(matches!(error, OpenError::Database(_)), "{length} bytes: {error}");
    }
    std::fs::write(&path, vec![0x5A; 100_000]).unwrap();
    let error = error_of(open_as(directory.path(), NODE, &bootstrap()));
    assert!(matches!(error, OpenError::Database(_)), "{error}");
}
