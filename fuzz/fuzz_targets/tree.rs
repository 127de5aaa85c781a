//! Trees: what is read can be written and read again; an overlay over its base is the tree it was made of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| stopover_fuzz::checks::tree(input));
