#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::wal_targets::leader_epoch_cache(data));
