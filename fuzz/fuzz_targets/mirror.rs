//! Mirrors: what is read can be written and read again; an overlay over its base is the mirror it was made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stopover_fuzz::{LIMITS, object, snapshot::Mirror};

/// A whole mirror of another snapshot.
static OTHER: LazyLock<Mirror> = LazyLock::new(|| {
    let text = include_bytes!("../seeds/mirror/whole");
    Mirror::decode(&object(text)[..], &LIMITS).expect("the seed is a mirror")
});

fuzz_target!(|input: &[u8]| {
    let bytes = object(input);
    let header = Mirror::decode_header(&bytes[..], &LIMITS);
    let Ok(mirror) = Mirror::decode(&bytes[..], &LIMITS) else { return };
    assert_eq!(header.expect("a mirror has a header"), mirror.header);
    let again =
        Mirror::decode(&mirror.encode().expect("it can be written")[..], &LIMITS).expect("it can be read again");
    assert_eq!(again, mirror);
    if let Some(base) = mirror.header.base {
        let mut other = OTHER.clone();
        other.header.id = base;
        let rows = mirror.rows.clone();
        let whole = Mirror::whole(other, mirror).expect("any base has facts");
        assert!(rows.iter().all(|(path, row)| whole.rows.get(path) == Some(row)));
    } else {
        let overlay = Mirror::overlay(&OTHER, &mirror).expect("both are whole");
        assert_eq!(Mirror::whole(OTHER.clone(), overlay).expect("both are one mirror"), mirror);
    }
});
