//! Any bytes as heads of segments; what must hold stands with the body.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moraine_store_fuzz::run("head", bytes));
