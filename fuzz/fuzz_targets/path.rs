//! Paths and spellings: nothing leads out of the workspace, and no two texts mean one path.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stopover_fuzz::checks::path(input));
