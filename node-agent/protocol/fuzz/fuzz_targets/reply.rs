//! Any bytes as replies; what must hold stands with the body.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moraine_protocol_fuzz::run("reply", bytes));
