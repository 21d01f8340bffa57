//! Any bytes as a script of requests, answers and crashes; what must hold stands with the body.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moraine_replica_fuzz::requests(bytes));
