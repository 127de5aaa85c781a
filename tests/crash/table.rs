//! What was seen as tables; that of the kills is the one in docs/durability.md, written by the test, and held against it.

use std::collections::BTreeSet;

use super::{
    meetings::{Met, Way},
    points::{Kind, Seen},
};
use crate::support::front::Class;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/durability.md");
const BEGIN: &str =
    "<!-- written by tests/crash_points.rs: STOPOVER_UPDATE_DOCS=1 cargo test --test crash_points -->\n";
const END: &str = "<!-- end -->\n";

/// A line: from one kind of request to another.
struct Line {
    from: String,
    to: String,
    says: [String; 3],
}

/// What was seen, in Markdown.
pub struct Table {
    text: String,
    /// Whether everything was tried.
    is_whole: bool,
}

impl Table {
    pub fn of<'a>(all: bool, seen: impl Iterator<Item = (&'a str, Vec<Seen>)>) -> Self {
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
        Self { text, is_whole }
    }

    /// What came of meetings, a column for each way.
    pub fn of_meetings<'a>(met: impl Iterator<Item = (&'a str, Vec<Met>)>) -> String {
        let mut text = String::from("| what | stopped at |");
        Way::ALL.iter().for_each(|way| text.push_str(&format!(" {} |", way.words())));
        text.push_str("\n| --- | --- | --- | --- | --- | --- |\n");
        for (name, met) in met {
            let mut kinds: Vec<(&str, Class)> = Vec::new();
            for one in met.iter().filter(|one| one.is_write()) {
                kinds.extend(Some((one.op, one.class)).filter(|kind| !kinds.contains(kind)));
            }
            for (at, kind) in kinds.iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                let mut line = format!("| {name} | {} |", words(kind.0, kind.1));
                for way in Way::ALL {
                    let here = met.iter().filter(|one| (one.op, one.class) == *kind && one.way == way);
                    let seen: BTreeSet<&str> = here.map(|one| one.pull).collect();
                    line.push_str(&format!(" {} |", seen.into_iter().collect::<Vec<_>>().join(" or ")));
                }
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }

    /// Holds it against the docs, or writes it there.
    pub fn is_in_the_docs(&self) {
        let table = self.text.trim();
        if !self.is_whole {
            return println!("{table}");
        }
        let docs = std::fs::read_to_string(DOCS).unwrap();
        let (before, rest) = docs.split_once(BEGIN).expect("docs/durability.md has a place for the table");
        let (committed, after) = rest.split_once(END).expect("the place ends");
        if std::env::var_os("STOPOVER_UPDATE_DOCS").is_some() {
            std::fs::write(DOCS, format!("{before}{BEGIN}\n{table}\n\n{END}{after}")).unwrap();
        } else {
            assert!(committed.trim() == table, "docs/durability.md says otherwise; what happens is:\n{table}");
        }
    }
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
        Class::None => "a listing",
    };
    let does = match op {
        "PutObject" => "PUT of",
        "DeleteObject" => "DELETE of",
        "CreateMultipartUpload" => "begin of an upload of",
        "UploadPart" => "a part of",
        "CompleteMultipartUpload" => "end of an upload of",
        op => op,
    };
    format!("{does} {what}")
}
