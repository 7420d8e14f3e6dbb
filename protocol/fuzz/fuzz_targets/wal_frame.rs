#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::wal_targets::wal_frame(data));
