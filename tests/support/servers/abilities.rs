//! Who has what. `tests/servers.rs` measures every cell, and writes docs/servers.md of it.

use super::Kind;

/// Something that a server does, or does not.
pub struct Ability {
    pub name: &'static str,
    pub means: &'static str,
    /// s3s-fs, moto, MinIO, rclone, versitygw: in the order of [`Kind::ALL`].
    pub on: [bool; 5],
    /// What a server without it is like to work with; `None` where nobody notices.
    pub without: Option<&'static str>,
}

/// The versions that were measured, in the order of [`Kind::ALL`].
pub const VERSIONS: [&str; 5] = ["0.14.1", "5.2.5", "v0.0.0-20260212201848", "1.75.2", "1.8.0"];

const fn ability(name: &'static str, on: [bool; 5], means: &'static str, without: Option<&'static str>) -> Ability {
    Ability { name, means, on, without }
}

const ONE_WRITER: &str = "One container at a time may have the workspace: head is read, compared, written and read \
    back, and of two commits in the same instant one can be lost from the history. `status`, `snapshots` and `prune` \
    name what was lost so (a *stray*), `restore` brings it back, and for 30 days no prune takes it. `prune` wants \
    `--sole-writer`.";

const NAMES: &str = "Such a file is in the snapshot and comes back with it, but has no object of its own in the live \
    tree (or others do not see it there).";

pub const TABLE: [Ability; 26] = [
    ability(
        "conditional-put",
        [true, true, true, false, true],
        "PUT honours If-None-Match and If-Match",
        Some(ONE_WRITER),
    ),
    ability(
        "put-on-missing",
        [true, true, true, false, true],
        "PUT with If-Match where there is no object writes nothing",
        Some("A HEAD goes before each such PUT."),
    ),
    // moto looks and then writes, and on a busy machine two of 16 see nothing there.
    ability(
        "atomic-create",
        [false, false, true, false, true],
        "of 16 conditional PUTs at once exactly one makes the object",
        Some(
            "Two commits in the same instant can both believe that they won. Good for tests and for one container at a \
             time.",
        ),
    ),
    ability(
        "atomic-replace",
        [false, false, true, false, true],
        "of 16 conditional PUTs at once exactly one replaces the object",
        Some("As above."),
    ),
    ability(
        "complete-create",
        [true, true, true, false, true],
        "CompleteMultipartUpload honours If-None-Match",
        Some(
            "For files above 8 MiB the object is looked at before the upload is completed; what others write in \
              that instant is overwritten in the live tree.",
        ),
    ),
    ability(
        "complete-replace",
        [true, false, true, false, true],
        "CompleteMultipartUpload honours If-Match",
        Some("As above."),
    ),
    ability(
        "complete-etag",
        [true, true, true, false, true],
        "CompleteMultipartUpload answers with the ETag that the object has",
        Some("The object is looked at once more."),
    ),
    // s3s-fs and moto copy from whatever version is there; rclone takes it for a part without bytes.
    ability(
        "copy-parts",
        [false, false, true, false, true],
        "UploadPartCopy copies a range, and only from the version that it is told",
        Some(
            "A large file that has changed in one place goes up whole to its own object; the packs, which are durable \
             first, have only what changed everywhere.",
        ),
    ),
    ability(
        "delete-condition",
        [false, true, false, false, true],
        "DELETE honours If-Match",
        Some("The object is looked at just before; what another program writes in that instant can be lost."),
    ),
    ability(
        "get-if-match",
        [false, true, true, false, true],
        "GET with If-Match of another version is refused",
        Some("The ETag of the answer is compared instead: nothing is lost but the bytes that came."),
    ),
    ability(
        "not-modified",
        [false, true, true, true, true],
        "GET with If-None-Match of the same version is 304",
        Some("The ETag of the answer is compared instead."),
    ),
    ability("ranges", [true; 5], "GET takes ranges, and refuses one past the end", None),
    ability("overwrite", [true; 5], "a PUT without condition replaces, and the next GET has it", None),
    ability(
        "plain-etag",
        [true; 5],
        "the ETag of a plain PUT is the MD5",
        Some("After a lost answer the object is read instead of compared."),
    ),
    ability(
        "ordered",
        [true; 5],
        "a listing is in the order of the keys' bytes",
        Some("No order is relied on; the objects below `.stopover/` are listed along with the live tree."),
    ),
    ability("paging", [true; 5], "a long listing comes in pages, each key once", None),
    ability(
        "start-after",
        [true; 5],
        "a listing starts after what is no key",
        Some("All is listed, with what is below `.stopover/`."),
    ),
    ability(
        "list-etags",
        [false, true, true, true, true],
        "listings have ETags",
        Some("Each object is asked for its ETag: a request per file where an outside edit is looked for."),
    ),
    ability(
        "url-encoding",
        [false, true, true, true, false],
        "listings that say `url` are encoded",
        Some("A listing with a key that has a control character in it cannot be read."),
    ),
    ability(
        "odd-keys",
        [false, false, true, true, false],
        "keys with control characters can be put, listed and read",
        Some(NAMES),
    ),
    ability("long-keys", [false, true, true, true, true], "a key of 900 bytes with parts of 255", Some(NAMES)),
    ability(
        "folder-markers",
        [false, true, true, false, true],
        "an empty object whose key ends in a slash is listed",
        Some("Directories that a console makes are not seen; those of snapshots are."),
    ),
    // MinIO takes both and gives both, but its listings have no `fd/x` while there is a `fd`.
    ability("file-and-folder", [false, true, false, false, false], "`fd` beside `fd/x`, both listed", Some(NAMES)),
    ability(
        "dot-keys",
        [false, true, false, false, false],
        "keys with empty, `.` and `..` segments stay as they are",
        Some("Nobody can hide anything under such names."),
    ),
    ability("name-limit", [true, false, true, true, false], "a key above 1,024 bytes is refused as such", None),
    ability(
        "checksums",
        [true, false, true, true, true],
        "a checksum that came with an object is offered to its readers",
        Some("What is imported from a plain live tree is checked by its length alone."),
    ),
];

/// Not about a server's S3: whether the tests can learn anything of refusals there.
pub const RIGHTS: (&str, [bool; 5]) = ("rights", [true, false, true, true, true]);

pub fn has(kind: Kind, ability: &str) -> bool {
    let on = match ability {
        "rights" => RIGHTS.1,
        // What the tests of plain and live workspaces mean by it.
        "conditional-complete" => return has(kind, "complete-create") && has(kind, "complete-replace"),
        _ => {
            let row = TABLE.iter().find(|row| row.name == ability);
            row.unwrap_or_else(|| panic!("the table has no ability {ability:?}")).on
        }
    };
    // The one in memory is made to have what a test needs, and looks at no keys of access.
    on.get(kind as usize).copied().unwrap_or(ability != "rights")
}
