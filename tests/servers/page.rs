//! docs/servers.md is written by this test: from the table that `measure` holds against every server. With
//! `STOPOVER_TEST_WRITE=1` the file is made what it should be.

use std::{fmt::Write as _, fs, path::Path};

use super::support::servers::{Kind, abilities};

const BEFORE: &str = "\
# Servers

What S3 servers do differently, and what follows for a workspace on them. Written by `cargo test --test servers`, which
measures each cell on a running server, lives a small life of a workspace on each of them (import, first snapshot,
catch-up, two directories in conflict, edits by hand, prune, history, delete), and fails where this page is not what it
found. `STOPOVER_TEST_WRITE=1` writes it anew. `stopover doctor` measures your own server in the same way.

";

const AFTER: &str = "\
## Races

Whether conditions hold when many come at once cannot be seen in one run: a server that looks first and writes then has
one winner on a quiet machine and up to 16 of 16 on a busy one. \"No\" above says that it does not promise it; for \"yes\"
twenty rounds of 16 writers had one winner each.

## Not measured here

| server | PUT conditions | on Complete | DELETE If-Match |
| --- | --- | --- | --- |
| AWS S3 (since 2024-11; DELETE since 2025-09) | yes, and 409 now and then, which is tried again | yes | yes |
| AWS S3 directory buckets (Express) | measured at the first commit | measured | measured; listings are in no order |
| MinIO before 2025-10 | If-Match makes a missing key, or is passed over without read quorum | yes | passed over: deletes |
| Cloudflare R2 | yes | yes | not offered |
| Ceph RGW and what is built on it | by version; some refuse an ETag that matches | measured | measured |
| Garage 2.5 | passed over | passed over | passed over |
| Backblaze B2 (501), Google's S3 interoperability | no | no | no |

AWS is known and not measured; every other server is, as soon as a first commit is safe, and its answers are noted in the
state directory. Before that, and where the measuring fails, nothing is relied on: each write goes with its condition and
behind a look, head is read back, and one writer at a time is safe.
";

#[test]
fn the_page_about_servers_is_what_was_measured() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md");
    let page = page();
    if std::env::var_os("STOPOVER_TEST_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
    assert!(page == written, "docs/servers.md is not what was measured ({differs:?}): STOPOVER_TEST_WRITE=1 writes it");
}

fn page() -> String {
    let mut page = BEFORE.to_owned();
    let names: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let name = match kind {
                Kind::MinIo => "MinIO",
                Kind::Rclone => "`rclone serve s3`",
                Kind::S3sFs | Kind::Moto | Kind::VersityGw | Kind::Memory => kind.name(),
            };
            // The Go proxy's name for a commit: its date says enough.
            let version = abilities::VERSIONS[kind as usize];
            let date =
                version.strip_prefix("v0.0.0-").map(|time| format!("{}-{}-{}", &time[..4], &time[4..6], &time[6..8]));
            format!("{name} {}", date.as_deref().unwrap_or(version))
        })
        .collect();
    writeln!(page, "| | {} |", names.join(" | ")).unwrap();
    writeln!(page, "| --- |{}", " --- |".repeat(names.len())).unwrap();
    for row in &abilities::TABLE {
        let cells = row.on.map(|has| if has { "yes" } else { "**no**" });
        writeln!(page, "| {} | {} |", row.means, cells.join(" | ")).unwrap();
    }
    page.push_str("\n## Where it says no\n\n");
    for row in abilities::TABLE.iter().filter(|row| row.on.contains(&false)) {
        let follows = row.without.unwrap_or("Nothing follows for a workspace.");
        writeln!(page, "- *{}*: {follows}", row.means).unwrap();
    }
    page.push('\n');
    page.push_str(AFTER);
    page
}
