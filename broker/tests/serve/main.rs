//! Tests of real broker processes.

mod cluster;
mod harness;
mod journal;
mod life;
mod versions;
