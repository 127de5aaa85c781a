//! How a large file is laid out in parts where much of it can be copied from the object that it replaces.

use super::{super::Span, MOST_PARTS, PART};

const MIB: u64 = 1024 * 1024;
/// Only the last part may be shorter.
const SHORTEST: u64 = 5 * MIB;
/// What one copy takes where more is to be copied: servers read and write it while we wait.
const COPY: u64 = 128 * MIB;
/// Where less would be copied the file goes up whole: below that the further requests, one after the other, cost about
/// what they save.
const WORTH: u64 = 16 * MIB;

/// One part of an upload, in its place: part N is the Nth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) span: Span,
    /// Whether it is copied.
    pub(super) copied: bool,
}

/// The parts of a file of `size` bytes which has `same` in common with its object: ascending, apart, each beginning and
/// ending at a multiple of `step` or at the end of the file, and so do the parts. None where copying is not worth it.
///
/// The first copy is a short one: by it a server is tried out.
pub(super) fn layout(size: u64, step: u64, same: &[Span]) -> Option<Vec<Place>> {
    let up = |bytes: u64| bytes.div_ceil(step).saturating_mul(step);
    // With none but the last below this there are not too many.
    let shortest = up(SHORTEST.max(size.div_ceil(MOST_PARTS - 1)));
    let (sent, copied) = (up(PART).max(shortest), up(COPY).max(shortest));
    let mut places = Vec::new();
    let mut at = 0;
    for run in same {
        let is_last = run.end == size;
        // What is sent before it is as long as a part must be, at the cost of the run.
        let begin = if run.start > at { run.start.max(at.saturating_add(shortest)) } else { at };
        let left = run.end.saturating_sub(begin);
        if run.start < at || left < shortest && !(is_last && left > 0) {
            continue;
        }
        split(&mut places, at..begin, sent, false);
        let is_first = !places.iter().any(|place| place.copied);
        let trial = if is_first && left >= 2 * shortest { begin + shortest } else { begin };
        split(&mut places, begin..trial, copied, true);
        split(&mut places, trial..run.end, copied, true);
        at = run.end;
    }
    split(&mut places, at..size, sent, false);
    let saved: u64 = places.iter().filter(|place| place.copied).map(|place| place.span.end - place.span.start).sum();
    (saved >= WORTH).then_some(places)
}

/// Cuts `span` into parts of `length`; the last one takes what is left over, so that none is too short.
fn split(places: &mut Vec<Place>, span: Span, length: u64, copied: bool) {
    let mut at = span.start;
    while at < span.end {
        let end = if span.end - at < 2 * length { span.end } else { at + length };
        places.push(Place { span: at..end, copied });
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use proptest::prelude::*;

    use super::*;

    fn spans(size: u64, same: &[Span]) -> Vec<(u64, u64, bool)> {
        let places = layout(size, MIB, same).unwrap();
        places.into_iter().map(|place| (place.span.start / MIB, place.span.end.div_ceil(MIB), place.copied)).collect()
    }

    #[test]
    fn one_changed_page_costs_one_part() {
        let same = [0..20 * MIB, 21 * MIB..40 * MIB];
        assert_eq!(spans(40 * MIB, &same), [(0, 5, true), (5, 20, true), (20, 25, false), (25, 40, true)]);
    }

    #[test]
    fn what_is_too_short_between_goes_up_with_its_neighbours() {
        let same = [0..30 * MIB, 31 * MIB..34 * MIB, 35 * MIB..44 * MIB, 45 * MIB..60 * MIB];
        // The one of three MiB is no part; the page before the last run takes four of it along.
        let wanted = [(0, 5, true), (5, 30, true), (30, 35, false), (35, 44, true), (44, 49, false), (49, 60, true)];
        assert_eq!(spans(60 * MIB, &same), wanted);
    }

    #[test]
    fn the_end_may_be_short_and_the_beginning_may_not() {
        let size = 40 * MIB + 7;
        assert_eq!(spans(size, from_ref(&(MIB..size))), [(0, 5, false), (5, 10, true), (10, 41, true)]);
        assert_eq!(spans(size, from_ref(&(0..40 * MIB))), [(0, 5, true), (5, 40, true), (40, 41, false)]);
        assert_eq!(
            spans(size, &[0..30 * MIB, 39 * MIB..size]),
            [(0, 5, true), (5, 30, true), (30, 39, false), (39, 41, true)]
        );
    }

    #[test]
    fn what_saves_little_is_not_copied() {
        assert_eq!(layout(20 * MIB, MIB, from_ref(&(0..15 * MIB))), None);
        assert_eq!(layout(40 * MIB, MIB, &[]), None);
        let scattered: Vec<Span> = (0..20).map(|n| n * 2 * MIB..(n * 2 + 1) * MIB).collect();
        assert_eq!(layout(40 * MIB, MIB, &scattered), None);
    }

    proptest! {
        #[test]
        fn parts_are_what_s3_takes_and_only_what_is_the_same_is_copied(
            step in prop::sample::select(vec![1u64, 4, 16]),
            pieces in prop::sample::select(vec![9u64, 40, 100, 4096, 70_000, 330_000]),
            short in 0u64..2,
            flips in prop::collection::vec(0.0f64..1.0, 0..40),
        ) {
            let step = step * MIB;
            let size = pieces * step - short * 17;
            let mut edges: Vec<u64> = flips.iter().map(|at| (at * pieces as f64) as u64 * step).collect();
            edges.sort_unstable();
            edges.dedup();
            let same: Vec<Span> = edges.chunks(2).map(|pair| pair[0]..pair.get(1).map_or(size, |end| *end)).collect();
            let Some(places) = layout(size, step, &same) else { return Ok(()) };
            prop_assert!(places.len() as u64 <= MOST_PARTS);
            let mut at = 0;
            for (n, place) in places.iter().enumerate() {
                prop_assert_eq!(place.span.start, at);
                prop_assert!(at.is_multiple_of(step));
                at = place.span.end;
                prop_assert!(n + 1 == places.len() || at - place.span.start >= SHORTEST);
                prop_assert!(at - place.span.start <= 5 << 30);
                let known = same.iter().any(|run| run.start <= place.span.start && at <= run.end);
                prop_assert!(!place.copied || known);
            }
            prop_assert_eq!(at, size);
        }
    }
}
