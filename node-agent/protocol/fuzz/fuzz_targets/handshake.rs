//! Any bytes as frames of a handshake, at each of its steps; what must hold stands with the body.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moraine_protocol_fuzz::run("handshake", bytes));
