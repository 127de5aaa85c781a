//! The summary of a run: PID 1's own fields, and the receipts of its children as they came.
//!
//! Built without serde: this is PID 1's, which parses nothing that came from elsewhere.

use std::fmt::Write as _;

use super::{line::push_json_string, opaque::Opaque, rounded};

/// Kubernetes cuts a termination message here, and half a JSON object is none.
pub const TERMINATION_LOG_BYTES: usize = 4096;

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The app exited.
    Exited,
    /// The app died by a signal.
    Signalled,
    /// The app overstayed its budget and was killed.
    KilledAtDeadline,
    /// The app could not be started.
    NotStarted,
    /// A signal came before the app began.
    Cancelled,
    /// The restore failed.
    RestoreFailed,
    /// The install failed.
    InstallFailed,
    /// Usage or configuration.
    Usage,
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::KilledAtDeadline => "killed-at-deadline",
            Self::NotStarted => "not-started",
            Self::Cancelled => "cancelled",
            Self::RestoreFailed => "restore-failed",
            Self::InstallFailed => "install-failed",
            Self::Usage => "usage",
        }
    }
}

/// How the app ended. One of `exit_code` and `signal` is set, none where it never ran.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AppEnd {
    /// Its command line.
    pub command: String,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal it died by.
    pub signal: Option<i32>,
    /// How long it ran.
    pub seconds: f64,
}

/// The summary of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The workspace's URL; none for a plain init.
    pub workspace: Option<String>,
    /// The directory.
    pub directory: String,
    /// stopover's exit code.
    pub exit_code: u8,
    /// Why it ended.
    pub reason: Reason,
    /// What the pull said.
    pub restore: Option<Opaque>,
    /// What the install said: a list.
    pub install: Option<Opaque>,
    /// The app; none where it was never tried.
    pub app: Option<AppEnd>,
    /// What the last commit said.
    pub commit: Option<Opaque>,
}

impl Summary {
    /// One JSON object, without a newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.written(0, usize::MAX)
    }

    /// The same within `limit` bytes: lists are shortened, each object that lost elements counts them in `omitted`.
    /// Never half an object: where even empty lists do not fit, long texts are cut, and receipts are left out last.
    #[must_use]
    pub fn to_json_within(&self, limit: usize) -> String {
        let mut shorter = self.clone();
        let mut installs = 0;
        loop {
            let text = shorter.written(installs, usize::MAX);
            if text.len() <= limit {
                return text;
            }
            let parts = [&mut shorter.restore, &mut shorter.install, &mut shorter.commit];
            let Some((at, part)) = parts
                .into_iter()
                .enumerate()
                .filter_map(|(at, part)| part.as_mut().map(|part| (at, part)))
                .max_by_key(|(_, part)| part.longest_list())
                .filter(|(_, part)| part.longest_list() > 0)
            else {
                break;
            };
            let left_out = part.halve_longest();
            if at == 1 {
                installs += left_out;
            }
        }
        // No list is left. Texts: the app's command line, then what errors the receipts hold.
        let text = shorter.written(installs, 200);
        if text.len() <= limit {
            return text;
        }
        Self { restore: None, commit: None, ..shorter }.written(installs, 200)
    }

    fn written(&self, omitted_installs: u64, longest_text: usize) -> String {
        let mut out = String::with_capacity(512);
        let text = |out: &mut String, text: &str| push_json_string(out, cut(text, longest_text));
        out.push_str("{\"workspace\":");
        match &self.workspace {
            Some(url) => text(&mut out, url),
            None => out.push_str("null"),
        }
        out.push_str(",\"directory\":");
        text(&mut out, &self.directory);
        let _ = write!(out, ",\"exit_code\":{},\"reason\":\"{}\"", self.exit_code, self.reason.word());
        let opaque =
            |part: &Option<Opaque>, none: &str| part.as_ref().map_or(none.to_owned(), |part| part.text().to_owned());
        let _ = write!(out, ",\"restore\":{}", opaque(&self.restore, "null"));
        let _ = write!(out, ",\"install\":{}", opaque(&self.install, "[]"));
        match &self.app {
            Some(app) => {
                let number = |number: Option<i32>| number.map_or("null".to_owned(), |number| number.to_string());
                out.push_str(",\"app\":{\"command\":");
                text(&mut out, &app.command);
                let _ = write!(out, ",\"exit_code\":{},\"signal\":{}", number(app.exit_code), number(app.signal));
                let seconds = if app.seconds.is_finite() { rounded(app.seconds) } else { 0.0 };
                let _ = write!(out, ",\"seconds\":{seconds:.3}}}");
            }
            None => out.push_str(",\"app\":null"),
        }
        let _ = write!(out, ",\"commit\":{}", opaque(&self.commit, "null"));
        if omitted_installs > 0 {
            let _ = write!(out, ",\"omitted\":{omitted_installs}");
        }
        out.push('}');
        out
    }
}

/// At most `longest` bytes of `text`, at a character's end.
fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn opaque(value: &Value) -> Option<Opaque> {
        let text = value.to_string();
        Opaque::object(text.as_bytes()).or_else(|| Opaque::list(text.as_bytes()))
    }

    fn summary() -> Summary {
        Summary {
            workspace: Some("s3://b/p/u/w".to_owned()),
            directory: "/workspace".to_owned(),
            exit_code: 0,
            reason: Reason::Exited,
            restore: opaque(&json!({"snapshot": null, "files": 3, "refused": []})),
            install: opaque(&json!([{"tool": "npm", "command": "npm ci", "exit_code": 0, "seconds": 1.5}])),
            app: Some(AppEnd { command: "node app.js".to_owned(), exit_code: Some(0), signal: None, seconds: 12.25 }),
            commit: opaque(&json!({"durable": true, "not_stored": []})),
        }
    }

    #[test]
    fn it_has_every_key_of_the_contract() {
        assert_eq!(
            summary().to_json(),
            "{\"workspace\":\"s3://b/p/u/w\",\"directory\":\"/workspace\",\"exit_code\":0,\"reason\":\"exited\",\
             \"restore\":{\"snapshot\":null,\"files\":3,\"refused\":[]},\
             \"install\":[{\"tool\":\"npm\",\"command\":\"npm ci\",\"exit_code\":0,\"seconds\":1.5}],\
             \"app\":{\"command\":\"node app.js\",\"exit_code\":0,\"signal\":null,\"seconds\":12.250},\
             \"commit\":{\"durable\":true,\"not_stored\":[]}}"
        );
        let nothing = Summary {
            workspace: None,
            reason: Reason::Usage,
            exit_code: 2,
            restore: None,
            install: None,
            app: None,
            commit: None,
            ..summary()
        };
        assert_eq!(
            nothing.to_json(),
            "{\"workspace\":null,\"directory\":\"/workspace\",\"exit_code\":2,\"reason\":\"usage\",\"restore\":null,\
             \"install\":[],\"app\":null,\"commit\":null}"
        );
    }

    #[test]
    fn lists_are_shortened_until_it_fits_and_counted() {
        let long: Vec<_> =
            (0..900).map(|at| json!({"path": format!("src/file-{at}.rs"), "reason": "deadline"})).collect();
        let whole = Summary { commit: opaque(&json!({"not_stored": long, "omitted": 11, "error": null})), ..summary() };
        let text = whole.to_json_within(TERMINATION_LOG_BYTES);
        assert!(text.len() <= TERMINATION_LOG_BYTES && text.len() > 1500, "{}", text.len());
        let value: Value = serde_json::from_str(&text).unwrap();
        let kept = value["commit"]["not_stored"].as_array().unwrap().len() as u64;
        assert_eq!(kept + value["commit"]["omitted"].as_u64().unwrap(), 900 + 11);
        assert_eq!(value["app"]["command"], "node app.js");
        assert_eq!(whole.to_json_within(usize::MAX), whole.to_json());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn whatever_happened_it_is_one_object_that_fits(
            paths in proptest::collection::vec("\\PC{0,300}", 0..60),
            command in "\\PC{0,3000}",
            directory in "\\PC{0,3000}",
            error in "\\PC{0,9000}",
        ) {
            let list: Vec<_> = paths.iter().map(|path| json!({"path": path, "reason": "denied"})).collect();
            let whole = Summary {
                directory,
                restore: opaque(&json!({"files": 1, "refused": list})),
                commit: opaque(&json!({"not_stored": list, "not_deleted": list, "error": error})),
                app: Some(AppEnd { command, signal: Some(9), ..AppEnd::default() }),
                ..summary()
            };
            let text = whole.to_json_within(TERMINATION_LOG_BYTES);
            prop_assert!(text.len() <= TERMINATION_LOG_BYTES, "{}", text.len());
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["app"]["signal"].as_i64(), Some(9));
            prop_assert!(serde_json::from_str::<Value>(&whole.to_json()).is_ok());
        }
    }
}
