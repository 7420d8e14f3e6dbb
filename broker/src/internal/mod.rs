//! The port that brokers reach each other at (`--internal-addr`).
//!
//! - [`handshake`]: who is at both ends and what the connection is for, checked before anything else is read.
//! - [`frame`]: questions and answers on it, several at once.
//! - [`links`]: the asking end; [`listener`]: the answering one.
//!
//! Raft's messages and requests to the controller stay on the metadata core. There is no authentication: the port belongs on
//! a network that only brokers and operators reach.

pub mod frame;
pub mod handshake;
pub mod links;
pub mod listener;
#[cfg(test)]
mod tests;
