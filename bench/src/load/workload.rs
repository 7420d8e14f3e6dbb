//! What load to make: a description in TOML, by name from those that come with the program, or from a file. The fields are
//! explained in `bench/workloads/README.md`.
//!
//! A [`Workload`] that exists is valid: every way to make one checks it. Sizes are bytes unless the name says otherwise.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::load::batch::VALUE_BYTES_MIN;

mod ready_made;
#[cfg(test)]
mod tests;

/// When an acknowledgement is given (`acks` in Produce).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acks {
    /// None is given: what arrived is counted at the end.
    #[serde(rename = "0")]
    None,
    #[serde(rename = "1")]
    Leader,
    #[serde(rename = "all")]
    All,
}

impl Acks {
    /// As the protocol has it.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Whether records have keys, and with them which partition a batch goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyDistribution {
    /// No keys; partitions in turn.
    None,
    /// Keys; partitions in turn.
    RoundRobin,
    /// Keys; each batch to a partition drawn evenly.
    Random,
    /// Keys; each batch to a partition drawn by Zipf's law with exponent 1: partition 0 gets most.
    Zipf,
}

/// What load to make. Fields are those of the TOML files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    /// What it is for, in a line.
    #[serde(default)]
    pub description: String,
    #[serde(default = "one")]
    pub topics: usize,
    /// Of each topic.
    pub partitions: i32,
    #[serde(default = "one_i16")]
    pub replication_factor: i16,
    /// New topics are led by one broker alone, the one that the client is told of.
    #[serde(default)]
    pub one_leader: bool,
    /// Bytes of a record's value.
    pub record_size: usize,
    /// A batch gets as many records as fit this size before compression, but at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<usize>,
    /// Instead of `batch_bytes`. Linger is modelled by this: at rate r, n records a batch are those of n/r seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_batch: Option<usize>,
    /// Partitions of a topic that each Produce request has a batch for.
    #[serde(default = "one")]
    pub partitions_per_request: usize,
    /// Connections that produce, each to all partitions that its broker leads; the brokers get them in turn.
    #[serde(default = "one")]
    pub producers: usize,
    /// Produce requests in flight on a connection at most.
    #[serde(default = "in_flight_default")]
    pub in_flight: usize,
    #[serde(default = "acks_default")]
    pub acks: Acks,
    #[serde(default = "compression_default")]
    pub compression: Compression,
    #[serde(default = "key_distribution_default")]
    pub key_distribution: KeyDistribution,
    /// Bytes of a record's key, where there are keys.
    #[serde(default = "key_size_default")]
    pub key_size: usize,
    /// Records a second over all producers; absent: as many as the broker takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Groups that read what is written from when the backlog has been written.
    #[serde(default)]
    pub consumer_groups: usize,
    /// Groups that read from where the backlog begins.
    #[serde(default)]
    pub groups_from_start: usize,
    /// Consumers of each group, among which its partitions are dealt out; each has a connection to every leader it needs.
    #[serde(default = "one")]
    pub consumers_per_group: usize,
    /// `min_bytes` of Fetch.
    #[serde(default = "fetch_min_bytes_default")]
    pub fetch_min_bytes: i32,
    /// `max_wait_ms` of Fetch.
    #[serde(default = "fetch_max_wait_ms_default")]
    pub fetch_max_wait_ms: i32,
    /// `max_bytes` of Fetch.
    #[serde(default = "fetch_max_bytes_default")]
    pub fetch_max_bytes: i32,
    /// `partition_max_bytes` of Fetch.
    #[serde(default = "fetch_partition_max_bytes_default")]
    pub fetch_partition_max_bytes: i32,
    /// Whether consumers use fetch sessions (KIP-227), as Kafka's own do.
    #[serde(default = "yes")]
    pub fetch_sessions: bool,
    /// Bytes of batches to write, as fast as possible, before anything is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<u64>,
    /// Instead of `backlog_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_records: Option<u64>,
    /// Only reading is measured, from the start of the backlog, and the run ends when all is read.
    #[serde(default)]
    pub drain: bool,
    /// With `drain`: groups that are through begin again, until the time is over.
    #[serde(default)]
    pub reread: bool,
    /// Load that is not counted, before what is.
    #[serde(default)]
    pub warmup_seconds: f64,
    /// At a fixed rate: how long after the measured time requests that were due in it are still sent.
    #[serde(default = "give_up_seconds_default")]
    pub give_up_seconds: f64,
    /// How long to measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Records to produce while measuring, at most; or, with `duration_seconds` absent, exactly (rounded up to batches).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

fn one() -> usize {
    1
}

fn one_i16() -> i16 {
    1
}

fn yes() -> bool {
    true
}

fn in_flight_default() -> usize {
    5
}

fn acks_default() -> Acks {
    Acks::All
}

fn compression_default() -> Compression {
    Compression::None
}

fn key_distribution_default() -> KeyDistribution {
    KeyDistribution::None
}

fn key_size_default() -> usize {
    16
}

fn give_up_seconds_default() -> f64 {
    10.0
}

fn fetch_min_bytes_default() -> i32 {
    1
}

fn fetch_max_wait_ms_default() -> i32 {
    500
}

fn fetch_max_bytes_default() -> i32 {
    50 << 20
}

fn fetch_partition_max_bytes_default() -> i32 {
    1 << 20
}

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("no workload {name:?}; give the path of a TOML file, or one of: {known}")]
    Unknown { name: String, known: String },
    #[error("cannot read the workload {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("workload {name}: {source}")]
    Toml { name: String, source: Box<toml::de::Error> },
    #[error("{setting:?} is not FIELD=VALUE")]
    Setting { setting: String },
    #[error("workload {name}: {field} is {found}, expected {expected}")]
    Field { name: String, field: &'static str, found: String, expected: String },
    #[error("workload {name}: {what}")]
    Together { name: String, what: &'static str },
}

impl Workload {
    /// The workload of this name that comes with the program, or else the one in the file of that path; `settings` are
    /// `FIELD=VALUE` and replace fields before anything is checked. An empty value removes a field.
    pub fn load(name_or_path: &str, settings: &[String]) -> Result<Workload, WorkloadError> {
        match ready_made::text(name_or_path) {
            Some(text) => Workload::parse(name_or_path, text, settings),
            None => {
                let path = Path::new(name_or_path);
                if !path.exists() {
                    let known = ready_made::names().collect::<Vec<_>>().join(", ");
                    return Err(WorkloadError::Unknown { name: name_or_path.to_owned(), known });
                }
                let text = fs::read_to_string(path);
                let text = text.map_err(|source| WorkloadError::Read { path: path.to_owned(), source })?;
                Workload::parse(name_or_path, &text, settings)
            }
        }
    }

    /// Reads and checks TOML; `name` is for errors.
    pub fn parse(name: &str, text: &str, settings: &[String]) -> Result<Workload, WorkloadError> {
        let toml_error = |source| WorkloadError::Toml { name: name.to_owned(), source: Box::new(source) };
        if settings.is_empty() {
            // Read directly, so that errors tell line and column.
            let workload: Workload = toml::from_str(text).map_err(toml_error)?;
            return workload.checked();
        }
        let mut table: toml::Table = toml::from_str(text).map_err(toml_error)?;
        for setting in settings {
            let wrong = || WorkloadError::Setting { setting: setting.clone() };
            let (field, value) = setting.split_once('=').ok_or_else(wrong)?;
            let (field, value) = (field.trim(), value.trim());
            if value.is_empty() {
                table.remove(field);
            } else {
                table.insert(field.to_owned(), setting_value(field, value));
            }
        }
        let workload: Workload = table.try_into().map_err(toml_error)?;
        workload.checked()
    }

    /// Records in each batch.
    #[must_use]
    pub fn batch_records(&self) -> usize {
        use crate::load::batch::records_that_fit;
        match (self.records_per_batch, self.batch_bytes) {
            (Some(records), _) => records,
            (None, Some(bytes)) => records_that_fit(bytes, self.key_bytes(), self.record_size),
            (None, None) => 1,
        }
    }

    /// Bytes of a key; none where there are no keys.
    #[must_use]
    pub fn key_bytes(&self) -> Option<usize> {
        (self.key_distribution != KeyDistribution::None).then_some(self.key_size)
    }

    /// Records in each Produce request.
    #[must_use]
    pub fn request_records(&self) -> u64 {
        (self.batch_records() * self.partitions_per_request) as u64
    }

    /// Partitions over all topics.
    #[must_use]
    pub fn partitions_total(&self) -> usize {
        self.topics * self.partitions as usize
    }

    /// Whether groups of either kind read.
    #[must_use]
    pub fn has_consumers(&self) -> bool {
        self.consumer_groups + self.groups_from_start > 0
    }

    /// Checks what the types do not express; call after changing fields.
    pub fn checked(self) -> Result<Workload, WorkloadError> {
        let within = |field: &'static str, found: f64, min: f64, max: f64| {
            if (min..=max).contains(&found) {
                return Ok(());
            }
            let (name, found) = (self.name.clone(), found.to_string());
            Err(WorkloadError::Field { name, field, found, expected: format!("{min} to {max}") })
        };
        let together = |is_wrong: bool, what: &'static str| {
            if is_wrong { Err(WorkloadError::Together { name: self.name.clone(), what }) } else { Ok(()) }
        };
        within("topics", self.topics as f64, 1.0, 10_000.0)?;
        within("partitions", f64::from(self.partitions), 1.0, 100_000.0)?;
        within("topics * partitions", self.partitions_total() as f64, 1.0, 200_000.0)?;
        within("replication_factor", f64::from(self.replication_factor), 1.0, 100.0)?;
        within("record_size", self.record_size as f64, VALUE_BYTES_MIN as f64, 100e6)?;
        if let Some(bytes) = self.batch_bytes {
            within("batch_bytes", bytes as f64, 1.0, 100e6)?;
        }
        if let Some(records) = self.records_per_batch {
            within("records_per_batch", records as f64, 1.0, 1e6)?;
        }
        within("key_size", self.key_size as f64, 1.0, 10_000.0)?;
        within("partitions_per_request", self.partitions_per_request as f64, 1.0, f64::from(self.partitions))?;
        within("producers", self.producers as f64, 0.0, 100_000.0)?;
        within("in_flight", self.in_flight as f64, 1.0, 100_000.0)?;
        within("consumer_groups", self.consumer_groups as f64, 0.0, 1000.0)?;
        within("groups_from_start", self.groups_from_start as f64, 0.0, 1000.0)?;
        within("consumers_per_group", self.consumers_per_group as f64, 1.0, self.partitions_total() as f64)?;
        within("fetch_min_bytes", f64::from(self.fetch_min_bytes), 0.0, 1e9)?;
        within("fetch_max_wait_ms", f64::from(self.fetch_max_wait_ms), 0.0, 60_000.0)?;
        within("fetch_max_bytes", f64::from(self.fetch_max_bytes), 1.0, 1e9)?;
        within("fetch_partition_max_bytes", f64::from(self.fetch_partition_max_bytes), 1.0, 1e9)?;
        within("warmup_seconds", self.warmup_seconds, 0.0, 86_400.0)?;
        within("give_up_seconds", self.give_up_seconds, 0.0, 86_400.0)?;
        if let Some(rate) = self.rate {
            within("rate", rate, 0.001, 1e10)?;
        }
        if let Some(seconds) = self.duration_seconds {
            within("duration_seconds", seconds, 0.01, 7.0 * 86_400.0)?;
        }
        if let Some(records) = self.records {
            within("records", records as f64, 1.0, 1e15)?;
        }
        together(
            self.records_per_batch.is_some() && self.batch_bytes.is_some(),
            "batch_bytes and records_per_batch exclude each other",
        )?;
        together(
            self.backlog_bytes.is_some() && self.backlog_records.is_some(),
            "backlog_bytes and backlog_records exclude each other",
        )?;
        let has_backlog = self.backlog_bytes.is_some() || self.backlog_records.is_some();
        together(self.producers == 0 && has_backlog, "a backlog needs producers")?;
        together(self.producers == 0 && !self.drain, "without producers there is nothing to do but to drain")?;
        together(self.drain && !self.has_consumers(), "drain needs consumer groups")?;
        together(
            self.drain && self.consumer_groups > 0,
            "drain reads from the start: use groups_from_start instead of consumer_groups",
        )?;
        together(self.reread && !self.drain, "reread needs drain")?;
        together(
            self.drain && !self.reread && (self.warmup_seconds > 0.0 || self.duration_seconds.is_some()),
            "drain without reread is over when all is read: warmup_seconds and duration_seconds do not go with it",
        )?;
        together(self.reread && self.duration_seconds.is_none(), "reread needs duration_seconds")?;
        together(
            self.drain && self.rate.is_some(),
            "rate does not go with drain: nothing is produced while measuring",
        )?;
        together(
            !self.drain && self.duration_seconds.is_none() && self.records.is_none(),
            "duration_seconds or records must say when it ends",
        )?;
        let batch_bytes = self.batch_records() as f64 * (self.record_size + self.key_bytes().unwrap_or(0)) as f64;
        within("bytes of a batch", batch_bytes, 1.0, 100e6)?;
        Ok(self)
    }
}

/// A value as TOML would have it; what is not TOML is a text.
fn setting_value(field: &str, value: &str) -> toml::Value {
    // The one text that looks like a number.
    if field == "acks" {
        return toml::Value::String(value.trim_matches('"').to_owned());
    }
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()))
}
