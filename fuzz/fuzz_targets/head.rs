//! head.json: what is read can be written and read again, and every head that follows it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stopover_fuzz::checks::head(input));
