//! Any bytes as patches of a whole disk; what must hold stands with the body.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moraine_store_fuzz::run("open", bytes));
