//! Tests of real broker processes.

mod admin;
mod cluster;
mod followers;
mod harness;
mod journal;
mod life;
mod moving;
mod versions;
