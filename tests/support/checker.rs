//! Holds a bucket against the invariants, from outside: it reads objects as anybody could, decodes them by the words of
//! docs/format.md alone, and shares no code with what writes them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use blake3::hazmat::HasherExt;
use serde_json::Value;

use super::{
    front::{Class, Done},
    outsider::Outsider,
};

/// What a path is, as far as it matters to who uses it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Thing {
    Dir { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// Paths and what they are.
pub type Things = BTreeMap<String, Thing>;

/// A bucket that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// `live`, `plain`, `deleted`; none without a head.
    pub state: Option<String>,
    pub seq: u64,
    pub snapshot: Option<String>,
    pub mirror: Option<String>,
    pub lineage: Vec<String>,
    /// Head's snapshot, if it is a live one.
    pub tree: Things,
    /// The live tree: path and content.
    pub live: BTreeMap<String, Vec<u8>>,
    /// The contents of what history keeps, by their hashes.
    pub kept: BTreeSet<[u8; 32]>,
    /// Keys below `.stopover/`, without that.
    pub own: BTreeSet<String>,
    /// Those of them that head leads to.
    pub reachable: BTreeSet<String>,
}

impl Checked {
    pub fn seq_of(id: &str) -> u64 {
        id.split('-').next().and_then(|seq| seq.parse().ok()).unwrap_or(0)
    }

    /// The tree as objects show it: its files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.tree)
    }

    /// What lies in the bucket for nobody.
    pub fn garbage(&self) -> BTreeSet<&str> {
        self.own.difference(&self.reachable).filter(|key| !key.starts_with("probe-")).map(String::as_str).collect()
    }
}

pub fn files(things: &Things) -> BTreeMap<String, Vec<u8>> {
    let file = |(path, thing): (&String, &Thing)| match thing {
        Thing::File { bytes, .. } => Some((path.clone(), bytes.clone())),
        _ => None,
    };
    things.iter().filter_map(file).collect()
}

/// What lies in a directory, but for stopover's own.
pub fn on_disk(directory: &Path) -> Things {
    let mut things = Things::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = spelt(path.strip_prefix(directory).unwrap().as_os_str().as_bytes());
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o777;
            let thing = match meta.file_type() {
                _ if name == ".stopover" => continue,
                kind if kind.is_dir() => {
                    open.push(path);
                    Thing::Dir { mode }
                }
                kind if kind.is_symlink() => {
                    Thing::Link { target: spelt(fs::read_link(&path).unwrap().as_os_str().as_bytes()) }
                }
                _ => Thing::File { mode, bytes: fs::read(&path).unwrap() },
            };
            things.insert(name, thing);
        }
    }
    things
}

/// Bytes of a name as text: what is no UTF-8 as `\xHH`, and a backslash before `xHH` as `\x5c`.
pub fn spelt(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((before, after)) = rest.split_once('\\') {
            text.push_str(before);
            text.push_str(if is_escape(after) { "\\x5c" } else { "\\" });
            rest = after;
        }
        text.push_str(rest);
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes of a spelling.
pub fn unspelt(text: &str) -> Vec<u8> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        if is_escape(part) {
            bytes.push(u8::from_str_radix(&part[1..3], 16).unwrap());
            bytes.extend(&part.as_bytes()[3..]);
        } else {
            bytes.push(b'\\');
            bytes.extend(part.as_bytes());
        }
    }
    bytes
}

/// Whether a backslash before this is, or looks like, the begin of an escape.
fn is_escape(after: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    after.as_bytes().get(..3).is_some_and(|three| three[0] == b'x' && three[1..].iter().all(is_digit))
}

/// What is wrong, in words.
type Wrong = String;

macro_rules! holds {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

/// Somebody who holds one workspace against the invariants, time and again.
pub struct Checker<'a> {
    outsider: &'a Outsider,
    /// `PREFIX/USER/NAME/`.
    prefix: String,
    /// Of how many live objects the content is read.
    most: usize,
}

/// One reading of the bucket.
struct Reading<'a> {
    checker: &'a Checker<'a>,
    objects: HashMap<String, Option<(Vec<u8>, String)>>,
    reachable: BTreeSet<String>,
}

impl<'a> Checker<'a> {
    /// Of the workspace whose keys begin with `prefix`.
    pub fn new(outsider: &'a Outsider, prefix: String) -> Self {
        Self { outsider, prefix, most: usize::MAX }
    }

    /// Of the live objects about so many are read, evenly; `Checked::live` has no others then.
    pub fn reads_at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// I1 and I6: all that head leads to is there and whole, and no mirror tells of a content that the object with this
    /// version does not have.
    pub fn bucket(&self) -> Result<Checked, Wrong> {
        let mut reading = Reading { checker: self, objects: HashMap::new(), reachable: BTreeSet::new() };
        let keys = self.outsider.keys(&self.prefix).into_iter();
        let keys: BTreeSet<String> = keys.map(|key| key[self.prefix.len()..].to_owned()).collect();
        let mut live = BTreeMap::new();
        let objects = || keys.iter().filter(|key| !key.starts_with(".stopover/"));
        for key in objects().step_by(objects().count().div_ceil(self.most).max(1)) {
            live.insert(key.clone(), reading.get(key)?.0);
        }
        let own: BTreeSet<String> =
            keys.iter().filter_map(|key| key.strip_prefix(".stopover/").map(str::to_owned)).collect();
        for id in own.iter().filter_map(|key| key.strip_prefix("mirrors/")) {
            // One that arrived late, when what it builds on had been swept, is garbage. Those that head leads to are read
            // again below.
            match reading.mirror(id, &live) {
                Err(wrong) if wrong.starts_with("I1: .stopover/mirrors/") => {}
                read => read?,
            }
        }
        let none = Checked {
            state: None,
            seq: 0,
            snapshot: None,
            mirror: None,
            lineage: Vec::new(),
            tree: Things::new(),
            live,
            kept: BTreeSet::new(),
            own,
            reachable: BTreeSet::new(),
        };
        if !none.own.contains("head.json") {
            return Ok(none);
        }
        reading.reachable.clear();
        let (bytes, _) = reading.get(".stopover/head.json")?;
        let head: Value = serde_json::from_slice(&bytes).map_err(|error| format!("head.json: {error}"))?;
        holds!(head["format"] == 1, "head.json is of format {}", head["format"]);
        let lineage: Vec<String> = texts(&head["lineage"]);
        let snapshot = head["snapshot"].as_str().map(str::to_owned);
        let mirror = head["mirror"].as_str().map(str::to_owned);
        holds!(
            snapshot.is_none() || snapshot.as_ref() == lineage.last(),
            "head's lineage does not end in its snapshot"
        );
        let is_live = head["state"] == "live";
        let mut tree = Things::new();
        if let Some(id) = snapshot.as_ref() {
            tree = reading.tree(id, is_live)?;
        }
        let mut kept = BTreeSet::new();
        for entry in head["history"].as_array().into_iter().flatten() {
            let id = text(&entry["snapshot"])?;
            let past = files(&reading.tree(&id, true)?);
            kept.extend(past.values().map(|bytes| *blake3::hash(bytes).as_bytes()));
            let count = past.len() as u64;
            holds!(entry["files"] == count, "history counts {} files in {id}, which has {count}", entry["files"]);
        }
        if let Some(id) = mirror.as_ref().filter(|_| is_live) {
            reading.mirror(id, &none.live)?;
            if lineage.contains(id) {
                reading.tree(id, true)?;
            }
        }
        if let Some(id) = snapshot.as_ref().filter(|id| none.own.contains(&format!("mirrors/{id}"))) {
            reading.mirror(id, &none.live)?;
        }
        Ok(Checked {
            state: Some(text(&head["state"])?),
            seq: head["seq"].as_u64().ok_or("head has no seq")?,
            snapshot,
            mirror,
            lineage,
            tree: if is_live { tree } else { Things::new() },
            kept,
            reachable: reading.reachable,
            ..none
        })
    }

    /// I5, I6 and I7, from what the server answered: names are used once, live objects are written and deleted on
    /// condition, and heads follow one another, the first of them the one that was there before.
    pub fn requests(&self, first: Option<&Value>, done: &[Done]) -> Result<(), Wrong> {
        self.requests_on(|_| true, first, done)
    }

    /// The same, on a server that has these abilities.
    pub fn requests_on(&self, has: impl Fn(&str) -> bool, first: Option<&Value>, done: &[Done]) -> Result<(), Wrong> {
        // Where the server looks at no condition there is nothing to ask for.
        let needs_condition = |op: &str| match op {
            "DeleteObject" => has("delete-condition"),
            "CompleteMultipartUpload" => has("conditional-complete"),
            _ => has("conditional-put"),
        };
        let (mut written, mut deleted) = (HashMap::new(), BTreeSet::new());
        let mut last: Option<Value> = first.cloned();
        for one in done.iter().filter(|one| one.succeeded()) {
            let key = one.request.key.as_str();
            let writes = ["PutObject", "CompleteMultipartUpload"].contains(&one.request.op);
            let is_probe = key.contains(".stopover/probe-");
            match one.request.class {
                Class::None => {}
                Class::Live => {
                    let changes = writes || one.request.op == "DeleteObject";
                    let is_good = !changes || one.request.conditional || !needs_condition(one.request.op);
                    holds!(is_good, "I6: {} of {key} without a condition", one.request.op);
                }
                _ if is_probe => {}
                class if writes => {
                    holds!(!deleted.contains(key), "I5: {key} is written after it was deleted");
                    let before = written.insert(key.to_owned(), one.hash);
                    let may_differ = matches!(class, Class::Head | Class::Mirror);
                    let same = before.is_none_or(|before| before == one.hash);
                    holds!(may_differ || same, "I5: {key} is written with two bodies");
                }
                _ if one.request.op == "DeleteObject" => {
                    deleted.insert(key.to_owned());
                    holds!(one.request.class != Class::Head, "head.json is deleted");
                }
                _ => {}
            }
            if let Some(head) = one.head.as_ref().filter(|_| writes) {
                let head: Value = serde_json::from_slice(head).map_err(|error| format!("a head: {error}"))?;
                let is_good = one.request.conditional || !needs_condition(one.request.op);
                holds!(is_good, "head.json is written without a condition");
                if let Some(last) = last.replace(head.clone()) {
                    follows(&last, &head)?;
                }
            }
        }
        Ok(())
    }

    /// I9: it wrote nothing.
    pub fn read_only(&self, done: &[Done]) -> Result<(), Wrong> {
        let reads = ["GetObject", "HeadObject", "ListObjectsV2"];
        match done.iter().find(|one| !reads.contains(&one.request.op)) {
            Some(one) => Err(format!("I9: a pull sends {} for {}", one.request.op, one.request.key)),
            None => Ok(()),
        }
    }

    /// I8: what is in the directory is in the tree, but for what the receipt names; and what it names is not.
    pub fn honest(&self, receipt: &Value, directory: &Things, tree: &Things) -> Result<(), Wrong> {
        let named: BTreeSet<String> = receipt["not_stored"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["path"].as_str().map(str::to_owned))
            .collect();
        for (path, bytes) in files(directory) {
            let is_there = matches!(tree.get(&path), Some(Thing::File { bytes: stored, .. }) if *stored == bytes);
            let is_named = named.contains(&path);
            holds!(is_there != is_named, "I8: {path} is in the tree: {is_there}, named as not stored: {is_named}");
        }
        holds!(receipt["partial"] == !named.is_empty(), "I8: partial is {}, named are {named:?}", receipt["partial"]);
        Ok(())
    }
}

/// I7: the head after another.
fn follows(last: &Value, head: &Value) -> Result<(), Wrong> {
    let seq = |head: &Value| head["seq"].as_u64().unwrap_or(0);
    let gc = |head: &Value| Checked::seq_of(head["gc"].as_str().unwrap_or_default());
    let of = |head: &Value, name: &str| Checked::seq_of(head[name].as_str().unwrap_or_default());
    let commits = head["snapshot"].is_string() && head["snapshot"] != last["snapshot"];
    let step = u64::from(commits || head["state"] == "deleted" && last["state"] != "deleted");
    let grows = seq(head) == seq(last) + step || head["state"] == "deleted" && seq(head) == seq(last);
    holds!(grows, "I7: seq goes from {} to {}", seq(last), seq(head));
    holds!(gc(head) >= gc(last), "I7: gc goes from {} to {}", last["gc"], head["gc"]);
    let same = head["birth"] == last["birth"] && head["state"] != "deleted";
    let older = of(head, "mirror") < of(last, "mirror");
    holds!(!same || !older, "I7: mirror goes from {} to {}", last["mirror"], head["mirror"]);
    if same && commits && last["snapshot"].is_string() {
        let lineage = texts(&head["lineage"]);
        let parent = lineage.len().checked_sub(2).map(|at| lineage[at].clone());
        holds!(parent == last["snapshot"].as_str().map(str::to_owned), "I2: {parent:?} is not the head before");
    }
    Ok(())
}

fn text(value: &Value) -> Result<String, Wrong> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn number(value: &Value) -> Result<usize, Wrong> {
    value.as_u64().map(|number| number as usize).ok_or_else(|| format!("{value} is no number"))
}

impl Reading<'_> {
    fn get(&mut self, key: &str) -> Result<(Vec<u8>, String), Wrong> {
        if let Some(own) = key.strip_prefix(".stopover/") {
            self.reachable.insert(own.to_owned());
        }
        let full = format!("{}{key}", self.checker.prefix);
        let found = self
            .objects
            .entry(key.to_owned())
            .or_insert_with(|| self.checker.outsider.get(&full).map(|seen| (seen.bytes, seen.etag)));
        found.clone().ok_or_else(|| format!("I1: {key} is not there"))
    }

    /// Header and further lines of a tree or a mirror.
    fn lines(&mut self, key: &str, id: &str) -> Result<(Value, Vec<Value>), Wrong> {
        let (bytes, _) = self.get(key)?;
        let bytes = zstd::decode_all(&bytes[..]).map_err(|error| format!("{key}: {error}"))?;
        holds!(bytes.last() == Some(&b'\n'), "{key} has no line end");
        let lines = bytes[..bytes.len() - 1].split(|byte| *byte == b'\n').map(serde_json::from_slice::<Value>);
        let mut lines = lines.collect::<Result<Vec<_>, _>>().map_err(|error| format!("{key}: {error}"))?.into_iter();
        let header = lines.next().ok_or("no header")?;
        let rows: Vec<Value> = lines.collect();
        holds!(header["format"] == 1 && header["id"] == id, "{key} has the header {header}");
        holds!(header["lines"] == rows.len(), "{key} has {} lines, and says {}", rows.len(), header["lines"]);
        let bytes = |row: &Value| text(&row["path"]).map(|path| unspelt(&path));
        let paths = rows.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
        holds!(
            rows.iter().all(|row| spelt(&unspelt(row["path"].as_str().unwrap())) == row["path"]),
            "{key}: a spelling"
        );
        holds!(paths.windows(2).all(|two| two[0] < two[1]), "the rows of {key} do not ascend");
        Ok((header, rows))
    }

    /// The rows of the object and of what it is over, each with the header of its own.
    fn rows(&mut self, folder: &str, id: &str) -> Result<BTreeMap<String, (Value, Value)>, Wrong> {
        let (header, rows) = self.lines(&format!(".stopover/{folder}/{id}"), id)?;
        let mut whole = BTreeMap::new();
        if let Some(base) = header["base"].as_str() {
            let (under, rows) = self.lines(&format!(".stopover/{folder}/{base}"), base)?;
            holds!(under["base"].is_null(), "{folder}/{base}, a base, has a base");
            whole.extend(rows.into_iter().map(|row| (row["path"].as_str().unwrap().to_owned(), (under.clone(), row))));
        }
        for row in rows {
            let path = text(&row["path"])?;
            whole.remove(&path);
            if row["kind"] != "removed" || !row["hides"].is_null() {
                whole.insert(path, (header.clone(), row));
            }
        }
        Ok(whole)
    }

    /// I1: a snapshot, read to its last byte. (Of a plain workspace only the rows are.)
    fn tree(&mut self, id: &str, has_packs: bool) -> Result<Things, Wrong> {
        let rows = self.rows("trees", id)?;
        let mut things = Things::new();
        for (path, (header, row)) in &rows {
            let mode =
                || u32::from_str_radix(row["mode"].as_str().unwrap_or("x"), 8).map_err(|error| error.to_string());
            let thing = match row["kind"].as_str() {
                Some("dir") => Thing::Dir { mode: mode()? },
                Some("symlink") => Thing::Link { target: text(&row["target"])? },
                Some("file") if !has_packs => continue,
                // An object that could not be deleted, and counts as gone.
                Some("removed") if !row["hides"].is_null() => continue,
                Some("file") => {
                    let bytes = self.content(header, row).map_err(|wrong| format!("I1: {path} of {id}: {wrong}"))?;
                    Thing::File { mode: mode()?, bytes }
                }
                _ => return Err(format!("{path} of {id} is of kind {}", row["kind"])),
            };
            if let Some((above, _)) = path.rsplit_once('/').filter(|_| has_packs) {
                let above = rows.get(above).map(|(_, row)| &row["kind"]);
                holds!(above.is_some_and(|kind| kind == "dir"), "I1: {path} of {id} lies in no directory");
            }
            things.insert(path.clone(), thing);
        }
        Ok(things)
    }

    fn content(&mut self, header: &Value, row: &Value) -> Result<Vec<u8>, Wrong> {
        const MIB: usize = 1 << 20;
        let size = number(&row["size"])?;
        let mut bytes = Vec::with_capacity(size);
        if size > MIB {
            let pieces = row["pieces"].as_array().ok_or("it has no pieces")?;
            holds!(pieces.len() == size.div_ceil(MIB), "it has {} pieces", pieces.len());
            for (at, piece) in pieces.iter().enumerate() {
                let length = MIB.min(size - at * MIB);
                let content = self.piece(header, piece, length)?;
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset((at * MIB) as u64).update(&content);
                let hash = blake3::Hash::from_bytes(hasher.finalize_non_root()).to_hex();
                holds!(piece["hash"] == hash.as_str(), "piece {at} has another hash");
                bytes.extend(content);
            }
        } else if size > 0 {
            bytes = self.piece(header, row, size)?;
        }
        let hash = blake3::hash(&bytes).to_hex();
        holds!(row["hash"] == hash.as_str(), "its content has another hash");
        Ok(bytes)
    }

    fn piece(&mut self, header: &Value, place: &Value, length: usize) -> Result<Vec<u8>, Wrong> {
        if place["zeros"] == true {
            return Ok(vec![0; length]);
        }
        let frame = &header["frames"][number(&place["frame"])?];
        let [pack, begin, stored, inflated] = [0, 1, 2, 3].map(|at| number(&frame[at]));
        let (pack, begin, stored, inflated) = (pack?, begin?, stored?, inflated?);
        let pack = text(&header["packs"][pack])?;
        let (bytes, _) = self.get(&format!(".stopover/packs/{pack}"))?;
        let frame = bytes.get(begin..begin + stored).ok_or("its frame lies beyond the pack")?;
        let magic = [0x5f, 0x2a, 0x4d, 0x18, 12, 0, 0, 0, b's', b'f', 1];
        holds!(frame.len() > 20 && frame[..11] == magic, "its frame begins otherwise");
        let length_at = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
        holds!(length_at(12) == inflated && length_at(16) == stored - 20, "its frame has other lengths");
        let content = match frame[11] {
            0 => frame[20..].to_vec(),
            1 => zstd::decode_all(&frame[20..]).map_err(|error| error.to_string())?,
            coding => return Err(format!("its frame is of coding {coding}")),
        };
        holds!(content.len() == inflated, "its frame inflates to {}", content.len());
        let at = number(&place["at"])?;
        content.get(at..at + length).map(<[u8]>::to_vec).ok_or_else(|| "its piece lies beyond the frame".to_owned())
    }

    /// I6: what a mirror says of objects that are still there is true.
    fn mirror(&mut self, id: &str, live: &BTreeMap<String, Vec<u8>>) -> Result<(), Wrong> {
        for (path, (_, row)) in self.rows("mirrors", id)? {
            if row["kind"] != "object" || !live.contains_key(&path) {
                continue;
            }
            let (bytes, etag) = self.get(&path)?;
            let same = row["size"] == bytes.len() && row["hash"] == blake3::hash(&bytes).to_hex().as_str();
            holds!(row["etag"] != etag.as_str() || same, "I6: mirror {id} says another content of {path}");
        }
        Ok(())
    }
}
