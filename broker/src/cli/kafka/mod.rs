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
//! - [`log_ends`]: asks partitions' leaders for offsets.
//!
//! Deliberately absent: TLS and SASL, producing, consuming, and caches that outlive a command.

mod client;
mod connection;
mod coordinator;
mod error;
mod log_ends;

pub(super) use client::{Client, Node, passes};
pub(super) use coordinator::{Answered, PerGroup};
pub(super) use error::{ClientError, code_name};
pub(super) use log_ends::{At, PartitionName};
