//! Packs and frames: hostile bytes are refused or inflate to what they say; what is written comes back.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stopover_fuzz::checks::frame(input));
