//! Paths and spellings: nothing leads out of the workspace, and no two texts mean one path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stopover_fuzz::rows::{RelPath, read_spelling, spell};

fn assert_inside(path: &RelPath) {
    assert!(path.segments().all(|name| !matches!(name, b"" | b"." | b".." | b".stopover") && !name.contains(&0)));
    assert!(path.as_path().is_relative() && path.as_bytes().len() < 4096);
}

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(read_spelling(&spell(bytes)).expect("it is spelt by the rule"), bytes);
    if let Ok(path) = RelPath::new(bytes) {
        assert_inside(&path);
        assert_eq!(RelPath::from_text(&path.to_text()).expect("it is spelt by the rule"), path);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(path) = RelPath::from_text(text) {
            assert_inside(&path);
            assert_eq!(path.to_text(), text);
        }
        if let Ok(read) = read_spelling(text) {
            assert_eq!(spell(&read), text);
        }
    }
});
