//! What a browser is told about a file: by its name, and for text whether it is UTF-8.

/// Enough of a file to see whether it is UTF-8.
pub const SAMPLE: usize = 8 * 1024;

/// Where the common table is wrong for source code: `.ts` is no video.
const OVERRIDES: [(&str, &str); 7] = [
    ("ts", "application/typescript"),
    ("tsx", "application/typescript"),
    ("mts", "application/typescript"),
    ("cts", "application/typescript"),
    ("vue", "text/x-vue"),
    ("ipynb", "application/x-ipynb+json"),
    ("lock", "text/plain"),
];

/// `EXTENSION TYPE`, a line for each, sorted; see `build.rs`.
const COMMON: &str = include_str!(concat!(env!("OUT_DIR"), "/content-types.txt"));
const UNKNOWN: &str = "application/octet-stream";

/// The `Content-Type` of a file by its path, and by its first 8 KiB ([`SAMPLE`]) or all of it if it is shorter.
#[must_use]
pub fn content_type(path: &str, first: &[u8]) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    let known = OVERRIDES.iter().find(|(known, _)| *known == extension).map(|(_, mime)| *mime);
    let mime = known.or_else(|| common(&extension)).unwrap_or(UNKNOWN);
    if is_text(mime) && is_utf8(first) { format!("{mime}; charset=utf-8") } else { mime.to_owned() }
}

/// What the common table says: half of the lines fall away at every step.
fn common(extension: &str) -> Option<&'static str> {
    let mut rest = COMMON;
    while !rest.is_empty() {
        let middle = rest.len() / 2;
        let start = rest.as_bytes()[..middle].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = rest[start..].find('\n').map_or(rest.len(), |length| start + length);
        let (found, mime) = rest[start..end].split_once(' ')?;
        rest = match extension.cmp(found) {
            std::cmp::Ordering::Equal => return Some(mime),
            std::cmp::Ordering::Less => &rest[..start],
            std::cmp::Ordering::Greater => rest.get(end + 1..).unwrap_or_default(),
        };
    }
    None
}

/// Types whose bytes are characters.
fn is_text(mime: &str) -> bool {
    let (family, kind) = mime.split_once('/').unwrap_or((mime, ""));
    let kind = kind.strip_prefix("x-").unwrap_or(kind);
    let bare = kind.rsplit_once('+').map_or(kind, |(_, suffix)| suffix);
    family == "text" || matches!(bare, "json" | "javascript" | "typescript" | "xml" | "yaml" | "toml")
}

/// UTF-8, but for a character that the end of the sample cuts.
fn is_utf8(first: &[u8]) -> bool {
    let sample = &first[..first.len().min(SAMPLE)];
    match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => sample.len() == SAMPLE && error.error_len().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_code_is_no_video() {
        for (path, mime) in [
            ("src/main.ts", "application/typescript; charset=utf-8"),
            ("App.VUE", "text/x-vue; charset=utf-8"),
            ("Cargo.lock", "text/plain; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a/b.html", "text/html; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("logo.svg", "image/svg+xml; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.tar.gz", "application/gzip"),
            ("noextension", "application/octet-stream"),
            (".env", "application/octet-stream"),
            ("dir.ts/file", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path, b"text"), mime, "{path}");
        }
    }

    #[test]
    fn every_line_of_the_common_table_is_found() {
        let lines: Vec<(&str, &str)> = COMMON.lines().map(|line| line.split_once(' ').unwrap()).collect();
        assert!(lines.len() > 1000, "{}", lines.len());
        for (extension, mime) in lines {
            assert_eq!(common(extension), Some(mime), "{extension}");
        }
        for absent in ["", "0", "aa-", "no-such", "zzzzz", "\u{fc}"] {
            assert_eq!(common(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_charset_is_said_only_where_it_is_true() {
        assert_eq!(content_type("a.txt", b"\xff\xfe"), "text/plain");
        assert_eq!(content_type("a.txt", b""), "text/plain; charset=utf-8");
        assert_eq!(content_type("a.txt", "caf\u{e9}".as_bytes()), "text/plain; charset=utf-8");
        let mut cut = vec![b'a'; SAMPLE - 1];
        cut.extend_from_slice("\u{e9}".as_bytes());
        assert_eq!(content_type("a.txt", &cut), "text/plain; charset=utf-8");
        assert_eq!(content_type("a.txt", &cut[SAMPLE - 2..SAMPLE]), "text/plain");
    }
}
