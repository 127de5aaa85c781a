//! Decoders take hostile bytes: what the fuzz targets check holds for their seeds, and for thousands of inputs that are
//! nearly them. The same inputs each time; `just fuzz` goes on from there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use stopover::{rows, snapshot};

#[allow(clippy::cast_possible_truncation, unreachable_pub, reason = "as the fuzz targets have it")]
#[path = "../fuzz/src/checks.rs"]
mod checks;

const CASES: u32 = 1500;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut names: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|name| fs::read(name).unwrap()).collect()
}

/// What is done to a seed: at a place of it, bytes are taken out, put in or changed, or something of another is put in.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    /// Numbers and names as they stand in headers.
    Word(usize, &'static str),
    Splice(usize, usize, usize),
    Cut(usize),
}

const WORDS: &[&str] =
    &["-1", "18446744073709551615", "4294967296", "null", "\"..\"", "\"a/../b\"", "[]", "{}", "1e9", "\n", "%2f"];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        2 => (any::<usize>(), 1_usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Change::Insert(at, new)),
        3 => (any::<usize>(), prop::sample::select(WORDS)).prop_map(|(at, word)| Change::Word(at, word)),
        2 => (any::<usize>(), any::<usize>(), 1_usize..200).prop_map(|(at, from, length)| Change::Splice(at, from, length)),
        1 => any::<usize>().prop_map(Change::Cut),
    ]
}

fn changed(seed: &[u8], changes: &[Change], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        let place = |at: usize| at % (bytes.len() + 1);
        match change {
            Change::Flip(at, bits) if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] ^= bits;
            }
            Change::Flip(..) => {}
            Change::Remove(at, length) => {
                let at = place(*at);
                let end = (at + length).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            Change::Insert(at, new) => {
                let at = place(*at);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Change::Word(at, word) => {
                let at = place(*at);
                // In place of the number or word that stands there.
                let end = bytes[at..].iter().position(|byte| b",:]}\n".contains(byte)).map_or(at, |length| at + length);
                drop(bytes.splice(at..end, word.bytes()));
            }
            Change::Splice(at, from, length) => {
                let (at, from) = (place(*at), from % (other.len() + 1));
                let part = other[from..(from + length).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            Change::Cut(at) => bytes.truncate(place(*at)),
        }
    }
    bytes
}

fn holds(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| check(seed));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let input = (0..seeds.len(), 0..seeds.len(), prop::collection::vec(change(), 1..6));
    runner
        .run(&input, |(seed, other, changes)| {
            check(&changed(&seeds[seed], &changes, &seeds[other]));
            Ok(())
        })
        .unwrap();
}

#[test]
fn heads() {
    holds("head", checks::head);
}

#[test]
fn trees() {
    holds("tree", checks::tree);
}

#[test]
fn mirrors() {
    holds("mirror", checks::mirror);
}

#[test]
fn frames_and_packs() {
    holds("frame", checks::frame);
}

#[test]
fn paths() {
    holds("path", checks::path);
}
