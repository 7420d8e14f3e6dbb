//! Tests of real broker processes.

mod harness;
mod life;
mod versions;
