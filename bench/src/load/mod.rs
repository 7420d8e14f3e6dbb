//! The load generator: producers and consumers of our own, lean enough not to be the limit.

pub mod outcome;
