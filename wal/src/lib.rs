//! One partition's log on disk, and group commit over many.
//!
//! Start at [`Log`] (a partition) and [`ShardWal`] (what the logs of a shard share). Everything that touches a disk goes
//! through [`file::Storage`]; only `file::glommio` names a runtime.
//!
//! Deliberately absent: replication, high watermarks, who may write what; those are decided elsewhere.

mod appender;
pub mod checkpoint;
pub mod compaction;
pub mod file;
pub mod frame;
mod gather;
mod group_commit;
mod inline_commit;
pub mod inspect;
mod jobs;
pub mod journal;
pub mod leader_epoch_cache;
pub mod log;
pub mod metrics;
mod names;
mod prewrite;
pub mod producer_state;
mod read_cache;
mod read_limit;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod segment;
mod segment_index;
pub mod shard;
mod sidecar;
mod state_snapshot;
mod sync;
mod tail_cache;
mod write_back;

pub use checkpoint::{IdentityError, read_identity};
pub use file::{IoError, IoOp, Storage, StorageFile};
pub use jobs::LogClosed;
pub use log::{
    AdvanceStartError, AppendError, Appended, CloseError, DeleteError, Durability, DurableListener, Log, LogConfig,
    LogIdentity, ReadBatches, ReserveError, RestartError, TruncateError, remove_deleted,
};
pub use reader::ReadError;
pub use recovery::{Corruption, OpenError, RecoveryReport, TailCut};
pub use retention::{RetentionError, RetentionReport};
pub use shard::{FatalIo, ShardWal, ShardWalConfig};
