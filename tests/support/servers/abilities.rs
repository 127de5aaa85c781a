//! Who has what. `tests/servers.rs` measures every cell.

use super::Kind;

/// An ability, what it means, and whether s3s-fs, moto and MinIO have it.
pub const TABLE: [(&str, &str, [bool; 3]); 15] = [
    ("conditional-put", "PUT honours If-Match and If-None-Match", [true, true, true]),
    // moto looks and then writes, and on a busy machine two of 16 see nothing there.
    ("atomic-create", "of 16 conditional PUTs at once exactly one wins", [false, false, true]),
    ("conditional-complete", "CompleteMultipartUpload honours both conditions", [true, false, true]),
    ("delete-condition", "DELETE honours If-Match", [false, true, false]),
    ("start-after", "a listing starts after what is no key", [true, true, true]),
    ("list-etags", "listings have ETags", [false, true, true]),
    ("url-encoding", "listings that say `url` are encoded", [false, true, true]),
    ("odd-keys", "keys with control characters can be put, listed and read", [false, false, true]),
    ("long-keys", "a key of 900 bytes with parts of 255", [false, true, true]),
    ("folder-markers", "an empty object whose key ends in a slash is listed", [false, true, true]),
    // MinIO takes both and gives both, but its listings have no `fd/x` while there is a `fd`.
    ("file-and-folder", "`fd` beside `fd/x`, both listed", [false, true, false]),
    ("dot-keys", "keys with empty, `.` and `..` segments stay as they are", [false, true, false]),
    ("name-limit", "a key above 1,024 bytes is refused as such", [true, false, true]),
    ("checksums", "a checksum that came with an object is offered to its readers", [true, false, true]),
    ("rights", "a wrong secret key is refused", [true, false, true]),
];

pub fn has(kind: Kind, ability: &str) -> bool {
    let row = TABLE.iter().find(|(name, ..)| *name == ability);
    let row = row.unwrap_or_else(|| panic!("the table has no ability {ability:?}"));
    // The one in memory is made to have what a test needs, and looks at no keys of access.
    row.2.get(kind as usize).copied().unwrap_or(ability != "rights")
}
