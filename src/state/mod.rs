//! `DIR/.stopover/`: lock, origin, mine, ready, phase, index file, aside, receipts. A cache; the bucket is the truth.
