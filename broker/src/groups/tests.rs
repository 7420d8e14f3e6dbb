//! Tests of the coordinator as a whole.
