//! Bodies of the fuzz targets: each takes any bytes, must not panic, and asserts what has to hold beyond that.

pub mod metadata_targets;
pub mod protocol_targets;
pub mod wal_targets;
