//! head.json: what is read can be written and read again, and every head that follows it, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stopover_fuzz::snapshot::{Counts, Head, HeadState, SnapshotId, WriteId, Written};

fuzz_target!(|bytes: &[u8]| {
    let Ok(head) = Head::decode(bytes) else { return };
    assert_eq!(Head::decode(&head.encode()).expect("it can be read again"), head);
    let written = || Written { write_id: WriteId::new([1; 6]), writer: "w".to_owned(), time: head.time };
    let id = SnapshotId::new(head.next_seq(), [2; 6]);
    let next = Head::live_over(Some(&head), id, head.mirror, Counts::default(), [3; 6], written());
    // The very last number has no head after it; that is said, not written.
    if next.check().is_ok() {
        assert_eq!(Head::decode(&next.encode()).expect("the next one can be read"), next);
    }
    if head.state != HeadState::Deleted {
        for other in [head.pruned([4; 6], written()), head.tombstone([5; 6], written())] {
            assert_eq!(Head::decode(&other.encode()).expect("what follows can be read"), other);
        }
    }
    for entry in &head.history {
        if let Ok(tagged) = head.tagged(&entry.snapshot, "tag", written()) {
            assert_eq!(tagged.tag("tag").map(|entry| entry.snapshot), Some(entry.snapshot));
        }
    }
});
