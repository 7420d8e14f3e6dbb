//! A client of the Kafka protocol for the subcommands that administer a cluster through its Kafka port.
//!
//! It speaks to any broker of Kafka 3.0 and newer, not to Ringlog alone, so it believes nothing: frames are bounded, answers
//! are checked before they are decoded ([`protocol::response_guard`]), and whatever a peer says ends in a [`ClientError`] at
//! worst. Everything of one command has one deadline. What passes by itself, a coordinator that loads or a leader that
//! moves, is waited for until then.
//!
//! - [`connection`]: one connection, one request at a time, in the newest version that both sides know.
//! - [`client`]: which brokers there are, and a connection to each that is asked.
//! - [`coordinator`]: asks groups' coordinators, wherever they are and go to.
//! - [`leaders`]: asks partitions' leaders, wherever they are and go to; [`log_ends`]: for offsets, and to move where logs start.
//!
//! - [`reading`], [`writing`]: fetch and produce record batches, as plainly as that goes.
//! - [`topic_names`]: what may have been meant by a topic that does not exist.
//! - [`wrong_port`]: what else may listen where no broker answers.
//!
//! Deliberately absent: TLS and SASL, consumer groups' members, transactions, and caches that outlive a command.

mod args;
mod client;
mod connection;
mod coordinator;
mod error;
mod leaders;
mod log_ends;
mod reading;
mod topic_names;
mod writing;
mod wrong_port;

pub(super) use args::{BOOTSTRAP_VARIABLE, DEFAULT_BOOTSTRAP, KafkaArgs};
pub(super) use client::{Client, Node, passes};
pub(super) use coordinator::{Answered, PerGroup};
pub(super) use error::{ClientError, code_name, refused};
pub(super) use leaders::{PartitionName, of_leader};
pub(super) use log_ends::At;
pub(super) use reading::{Fetched, From as FetchFrom};
pub(super) use writing::Producer;
pub(super) use wrong_port::{Spoken, what_is_spoken};
