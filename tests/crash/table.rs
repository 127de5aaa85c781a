//! What was seen as tables: those in docs/durability.md, written by the tests, and held against them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::{
    meetings::{Met, Way},
    points::{Kind, Seen},
    pulls::{self, Pulled},
};
use crate::support::front::Class;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/durability.md");
const END: &str = "<!-- end -->\n";

/// Where a table has its place, and how it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// By the normal suite.
    Kills,
    /// By the tests that take long, `-- --ignored`.
    LargeKills,
    Pulls,
    Meetings,
}

impl Place {
    fn begin(self) -> String {
        let (what, how) = match self {
            Self::Kills => ("", ""),
            Self::LargeKills => ("large: ", " -- --ignored thousands"),
            Self::Pulls => ("pulls: ", " -- --ignored pull"),
            Self::Meetings => ("meetings: ", " -- --ignored meet"),
        };
        format!(
            "<!-- {what}written by tests/crash_points.rs: STOPOVER_UPDATE_DOCS=1 cargo test --test crash_points{how} -->\n"
        )
    }
}

/// A line: from one kind of request to another.
struct Line {
    from: String,
    to: String,
    says: [String; 3],
}

/// What was seen, in Markdown.
pub struct Table {
    place: Place,
    text: String,
    /// Whether everything was tried.
    is_whole: bool,
}

impl Table {
    pub fn of_kills<'a>(place: Place, all: bool, seen: impl Iterator<Item = (&'a str, Vec<Seen>)>) -> Self {
        let mut text = String::from(
            "| what | killed | a pull sees | `aws s3 sync` sees | left |\n| --- | --- | --- | --- | --- |\n",
        );
        let mut is_whole = all;
        for (name, points) in seen {
            if points.is_empty() {
                println!("skipped, and so the table is not looked at: {name}");
                is_whole = false;
            }
            for (at, line) in lines(&points).iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                let (from, to) = (&line.from, &line.to);
                let place = if from == to { from.clone() } else { format!("{from} … {to}") };
                let [pull, sync, left] = &line.says;
                text.push_str(&format!("| {name} | {place} | {pull} | {sync} | {left} |\n"));
            }
        }
        Self { place, text, is_whole }
    }

    /// What came of meetings, a column for each way.
    pub fn of_meetings<'a>(all: bool, met: impl Iterator<Item = (&'a str, Vec<Met>)>) -> Self {
        let head: Vec<&str> = ["what", "stopped at"].into_iter().chain(Way::ALL.map(Way::words)).collect();
        let mut rows = Vec::new();
        for (name, met) in met {
            let mut kinds: Vec<(&str, Class)> = Vec::new();
            for one in met.iter().filter(|one| one.is_write()) {
                kinds.extend(Some((one.op, one.class)).filter(|kind| !kinds.contains(kind)));
            }
            for kind in kinds {
                let mut row = vec![name.to_owned(), words(kind.0, kind.1)];
                for way in Way::ALL {
                    let here = met.iter().filter(|one| (one.op, one.class) == kind && one.way == way);
                    row.push(together(here.map(|one| one.pull)));
                }
                rows.push(row);
            }
        }
        Self { place: Place::Meetings, text: rendered(&head, &rows), is_whole: all }
    }

    /// What came of pulls that were killed: each kind of request, and what was seen then.
    pub fn of_pulls<'a>(all: bool, seen: impl Iterator<Item = (&'a str, Vec<Pulled>)>) -> Self {
        let head: Vec<&str> = ["what", "killed at"].into_iter().chain(pulls::COLUMNS).collect();
        let mut rows = Vec::new();
        for (name, seen) in seen {
            let mut kinds: Vec<(&str, Class)> = Vec::new();
            for one in &seen {
                kinds.extend(Some((one.op, one.class)).filter(|kind| !kinds.contains(kind)));
            }
            for kind in kinds {
                let mut row = vec![name.to_owned(), words(kind.0, kind.1)];
                for column in 0..pulls::COLUMNS.len() {
                    let here = seen.iter().filter(|one| (one.op, one.class) == kind);
                    row.push(together(here.map(|one| one.says[column])));
                }
                rows.push(row);
            }
        }
        // Some of the requests go side by side.
        rows.sort();
        Self { place: Place::Pulls, text: rendered(&head, &rows), is_whole: all }
    }

    /// Holds it against the docs, or writes it there.
    pub fn is_in_the_docs(&self) {
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.text.trim();
        if !self.is_whole {
            return println!("{table}");
        }
        let (before, committed, after) = self.in_the_docs();
        if std::env::var_os("STOPOVER_UPDATE_DOCS").is_some() {
            std::fs::write(DOCS, format!("{before}{}\n{table}\n\n{END}{after}", self.place.begin())).unwrap();
        } else {
            assert!(committed.trim() == table, "docs/durability.md says otherwise; what happens is:\n{table}");
        }
    }

    /// Where not all of it was tried: what was seen is said there, too.
    pub fn is_part_of_the_docs(&self) {
        if std::env::var_os("STOPOVER_UPDATE_DOCS").is_some() {
            return;
        }
        let (_, committed, _) = self.in_the_docs();
        let committed = cells(committed.trim());
        for row in cells(&self.text) {
            let is_said = |said: &&Vec<String>| {
                let same = said.len() == row.len() && said[..2] == row[..2];
                let is_in = |at: usize| row[at].split(" or ").all(|one| said[at].split(" or ").any(|two| one == two));
                same && (2..row.len()).all(|at| row[at].is_empty() || is_in(at))
            };
            assert!(
                committed.iter().any(|said| is_said(&said)),
                "docs/durability.md does not say: {}",
                row.join(" | ")
            );
        }
    }

    fn in_the_docs(&self) -> (String, String, String) {
        let docs = std::fs::read_to_string(DOCS).unwrap();
        let (before, rest) =
            docs.split_once(&self.place.begin()).expect("docs/durability.md has a place for the table");
        let (committed, after) = rest.split_once(END).expect("the place ends");
        (before.to_owned(), committed.to_owned(), after.to_owned())
    }
}

/// All that was said, once each.
fn together<'a>(said: impl Iterator<Item = &'a str>) -> String {
    said.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ")
}

/// A table; a name that repeats is written once.
fn rendered(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head) + &line(&vec!["---"; head.len()]);
    let mut last = "";
    for row in rows {
        let mut cells: Vec<&str> = row.iter().map(String::as_str).collect();
        if std::mem::replace(&mut last, cells[0]) == cells[0] {
            cells[0] = "";
        }
        text.push_str(&line(&cells));
    }
    text
}

/// The rows of a table, each with its name.
fn cells(table: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in table.lines().skip(2) {
        let mut cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        if let (true, Some(above)) = (cells[0].is_empty(), rows.last()) {
            cells[0].clone_from(&above[0]);
        }
        rows.push(cells);
    }
    rows
}

fn lines(points: &[Seen]) -> Vec<Line> {
    let mut kinds: Vec<(Kind, bool)> = Vec::new();
    for point in points {
        for applied in [false, true] {
            let kind = point.at.map(|kind| (kind, applied));
            kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for (kind, applied) in kinds {
        let here: Vec<&Seen> =
            points.iter().filter(|point| point.at == Some(kind) && point.applied == applied).collect();
        if here.is_empty() {
            continue;
        }
        let all = |say: &dyn Fn(&Seen) -> String| {
            let said: BTreeSet<String> = here.iter().map(|point| say(point)).collect();
            said.into_iter().collect::<Vec<_>>().join(" or ")
        };
        let left = |point: &Seen| match point.left.is_empty() {
            true => "nothing".to_owned(),
            false => point.left.iter().copied().collect::<Vec<_>>().join(", "),
        };
        let says = [all(&|point| point.pull.to_owned()), all(&|point| point.sync.to_owned()), all(&left)];
        let place = format!("{}, {}", words(kind.op, kind.class), if applied { "applied" } else { "not applied" });
        match lines.last_mut().filter(|line| line.says == says) {
            Some(line) => line.to = place,
            None => lines.push(Line { from: place.clone(), to: place, says }),
        }
    }
    lines
}

fn words(op: &str, class: Class) -> String {
    let what = match class {
        Class::Head => "head",
        Class::Tree => "the tree",
        Class::Pack => "a pack",
        Class::Mirror => "the mirror",
        Class::Own => "a probe",
        Class::Live => "an object",
        Class::None => return "a listing".to_owned(),
    };
    let does = match op {
        "GetObject" => "GET of",
        "HeadObject" => "HEAD of",
        "PutObject" => "PUT of",
        "DeleteObject" => "DELETE of",
        "CreateMultipartUpload" => "begin of an upload of",
        "UploadPart" => "a part of",
        "UploadPartCopy" => "a copied part of",
        "CompleteMultipartUpload" => "end of an upload of",
        "AbortMultipartUpload" => "abort of an upload of",
        op => op,
    };
    format!("{does} {what}")
}
