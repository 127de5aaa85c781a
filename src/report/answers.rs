//! What the small commands print: `list`, `explain`, `doctor`, `health`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{bytes, grouped};

/// One workspace of a store: a line of `list --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkspaceItem {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its snapshot.
    pub snapshot: Option<String>,
    /// When it was last committed.
    pub last_commit: Option<String>,
    /// Who committed it.
    pub writer: Option<String>,
}

/// The items as a table for people.
#[must_use]
pub fn workspace_table(items: &[WorkspaceItem]) -> String {
    let cells: Vec<[String; 5]> =
        std::iter::once(["NAME", "FILES", "SIZE", "LAST COMMIT", "WRITER"].map(str::to_owned))
            .chain(items.iter().map(|item| {
                let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                [
                    item.name.clone(),
                    grouped(item.files),
                    bytes(item.bytes),
                    or_dash(&item.last_commit),
                    or_dash(&item.writer),
                ]
            }))
            .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut table = String::new();
    for row in &cells {
        let [name, files, size, commit, writer] = row;
        let line = format!(
            "{name:<0$}  {files:>1$}  {size:>2$}  {commit:<3$}  {writer}",
            widths[0], widths[1], widths[2], widths[3]
        );
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Whether a path is stored, and by which rule not: a line of `explain --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The path.
    pub path: String,
    /// Whether it is stored.
    pub stored: bool,
    /// The rule that decided; null where none did.
    pub rule: Option<String>,
    /// The file the rule is in, or `built-in`.
    pub source: Option<String>,
    /// The line in it.
    pub line: Option<u64>,
}

impl fmt::Display for Explained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.stored { "stored" } else { "not stored" };
        write!(out, "{}: {verdict}", self.path)?;
        if let Some(rule) = &self.rule {
            write!(out, ", by {rule:?}")?;
        }
        match (&self.source, self.line) {
            (Some(source), Some(line)) => write!(out, " ({source}:{line})"),
            (Some(source), None) => write!(out, " ({source})"),
            _ => Ok(()),
        }
    }
}

/// One thing that `doctor` looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was tried.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
    /// What follows from it; null where nothing does.
    pub follows: Option<String>,
}

/// What `doctor --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The server's URL, or AWS and the region.
    pub server: Option<String>,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "server: {}", self.server.as_deref().unwrap_or("none"))?;
        for check in &self.checks {
            writeln!(out, "{} {}: {}", if check.ok { "yes" } else { "no " }, check.name, check.seen)?;
            if let Some(follows) = &check.follows {
                writeln!(out, "    {follows}")?;
            }
        }
        Ok(())
    }
}

/// Where a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The workspace comes.
    Restoring,
    /// Dependencies are installed.
    Installing,
    /// The app runs.
    Running,
    /// The app was told to stop.
    Stopping,
    /// The app has ended, its changes go.
    Committing,
    /// Its changes are stored.
    Committed,
    /// It failed: restore, install or commit.
    Failed,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Installing => "installing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Failed => "failed",
        }
    }

    /// Whether the app runs and takes requests: a stopping one is on its way out.
    #[must_use]
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Running)
    }
}

/// The phase of a run, as PID 1 notes it and `health --json` prints it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Where it is; null where no run ever noted it.
    pub state: Option<State>,
    /// Since when.
    pub since: Option<String>,
    /// The process that says so.
    pub pid: Option<i32>,
    /// The last snapshot.
    pub snapshot: Option<String>,
    /// When it was committed.
    pub last_commit: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_a_table_or_a_line_of_json_each() {
        let item = WorkspaceItem {
            name: "web".to_owned(),
            url: "s3://b/u/web".to_owned(),
            files: 12_345,
            bytes: 98_000_000,
            snapshot: None,
            last_commit: Some("2026-01-02T03:04:05.000Z".to_owned()),
            writer: None,
        };
        assert_eq!(
            serde_json::to_string(&item).unwrap(),
            "{\"name\":\"web\",\"url\":\"s3://b/u/web\",\"files\":12345,\"bytes\":98000000,\"snapshot\":null,\
             \"last_commit\":\"2026-01-02T03:04:05.000Z\",\"writer\":null}"
        );
        assert_eq!(
            workspace_table(&[item]),
            "NAME   FILES   SIZE  LAST COMMIT               WRITER\n\
             web   12,345  98 MB  2026-01-02T03:04:05.000Z  -\n"
        );
    }

    #[test]
    fn an_explanation_names_file_and_line() {
        let explained = Explained {
            path: "dist/app.js".to_owned(),
            stored: false,
            rule: Some("dist/".to_owned()),
            source: Some(".gitignore".to_owned()),
            line: Some(3),
        };
        assert_eq!(explained.to_string(), "dist/app.js: not stored, by \"dist/\" (.gitignore:3)");
        assert_eq!(
            serde_json::to_string(&explained).unwrap(),
            "{\"path\":\"dist/app.js\",\"stored\":false,\"rule\":\"dist/\",\"source\":\".gitignore\",\"line\":3}"
        );
    }

    #[test]
    fn a_diagnosis_says_what_follows() {
        let check = Check {
            name: "delete on condition".to_owned(),
            ok: false,
            seen: "ignored".to_owned(),
            follows: Some("HEAD, compare, DELETE".to_owned()),
        };
        let diagnosis = Diagnosis { server: Some("http://minio:9000".to_owned()), checks: vec![check] };
        assert_eq!(
            serde_json::to_string(&diagnosis).unwrap(),
            "{\"server\":\"http://minio:9000\",\"checks\":[{\"name\":\"delete on condition\",\"ok\":false,\
             \"seen\":\"ignored\",\"follows\":\"HEAD, compare, DELETE\"}]}"
        );
        assert_eq!(
            diagnosis.to_string(),
            "server: http://minio:9000\nno  delete on condition: ignored\n    HEAD, compare, DELETE\n"
        );
    }

    #[test]
    fn health_has_every_key_and_the_words_of_the_contract() {
        let none = Health { state: None, since: None, pid: None, snapshot: None, last_commit: None };
        assert_eq!(
            serde_json::to_string(&none).unwrap(),
            "{\"state\":null,\"since\":null,\"pid\":null,\"snapshot\":null,\"last_commit\":null}"
        );
        for state in [
            State::Restoring,
            State::Installing,
            State::Running,
            State::Stopping,
            State::Committing,
            State::Committed,
            State::Failed,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
            assert_eq!(state.is_healthy(), state == State::Running);
        }
    }
}
