//! Tests of real broker processes.

mod harness;
mod journal;
mod life;
mod versions;
