//! A prune without courtesy: by the words of docs/format.md and the steps of DESIGN's "Prune", it sweeps what nothing
//! reaches however young it is, and forgets all history but the last. It shares no code with what prunes, commits or
//! decodes.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use super::{outsider::Outsider, wait};

/// So many snapshots it keeps.
const KEPT: usize = 2;

pub struct Pruner {
    outsider: Outsider,
    /// The workspace's prefix, with the slash.
    prefix: String,
    drawn: u64,
    /// Headers of trees, by key: no name of theirs is used twice. Whoever reads all of them anew for each sweep never
    /// gets to one beside writers that are fast.
    trees: BTreeMap<String, Value>,
}

/// What came of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swept {
    /// So many objects are gone.
    Done(usize),
    /// Head moved meanwhile, or what it names is gone by now.
    Lost,
    /// There is nothing live.
    Nothing,
}

impl Pruner {
    pub fn of(outsider: &Outsider, workspace: &str) -> Self {
        Self {
            outsider: outsider.clone(),
            prefix: format!("{workspace}/"),
            drawn: u64::from(std::process::id()) << 16,
            trees: BTreeMap::new(),
        }
    }

    /// One prune.
    pub fn sweep(&mut self) -> Swept {
        let own = format!("{}.stopover/", self.prefix);
        let Some((etag, mut head)) = self.head() else { return Swept::Nothing };
        let listed = self.outsider.keys(&own);
        forget(&mut head);
        let Some(reached) = self.reached(&head) else { return Swept::Lost };
        let surplus: Vec<String> =
            listed.into_iter().filter(|listed| !reached.contains(&listed[own.len()..])).collect();
        let count: u64 = head["gc"].as_str().unwrap().split_once('-').unwrap().0.parse().unwrap();
        head["gc"] = format!("{}-{:012x}", count + 1, self.drawn + 1).into();
        if !self.moves_to(&etag, head) {
            return Swept::Lost;
        }
        for key in &surplus {
            self.outsider.delete(key);
            self.trees.remove(&key[own.len()..]);
        }
        Swept::Done(surplus.len())
    }

    /// Forgets all history but the last, and deletes nothing: the next prune has something to sweep.
    pub fn forgets(&mut self) -> Swept {
        let Some((etag, mut head)) = self.head() else { return Swept::Nothing };
        if forget(&mut head) == 0 {
            return Swept::Nothing;
        }
        if self.moves_to(&etag, head) { Swept::Done(0) } else { Swept::Lost }
    }

    /// The head of a live workspace, and its version.
    fn head(&self) -> Option<(String, Value)> {
        let seen = self.outsider.get(&self.head_key())?;
        let head: Value = serde_json::from_slice(&seen.bytes).unwrap();
        (head["state"] == "live").then_some((seen.etag, head))
    }

    fn head_key(&self) -> String {
        format!("{}.stopover/head.json", self.prefix)
    }

    /// Writes this head over that version; false: it is not the version any more.
    fn moves_to(&mut self, etag: &str, mut head: Value) -> bool {
        self.drawn += 1;
        head["write_id"] = format!("{:012x}", self.drawn).into();
        head["writer"] = "pruner".into();
        let put = self.outsider.client.put_object().bucket(&self.outsider.bucket).key(self.head_key()).if_match(etag);
        let body = ByteStream::from(serde_json::to_vec_pretty(&head).unwrap());
        wait(put.content_type("application/json").body(body).send()).is_ok()
    }

    /// What head reaches, below `.stopover/`; `None` where something of it is gone, because head has moved.
    fn reached(&mut self, head: &Value) -> Option<BTreeSet<String>> {
        let id = |value: &Value| value.as_str().map(str::to_owned);
        let mut reached = BTreeSet::from(["head.json".to_owned()]);
        let must: BTreeSet<String> = head["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["snapshot"])
            .chain([&head["snapshot"]])
            .filter_map(id)
            .collect();
        let lineage: Vec<String> = head["lineage"].as_array().unwrap().iter().filter_map(id).collect();
        let mirror = id(&head["mirror"]);
        let header = mirror.as_ref().and_then(|mirror| self.header(&format!("mirrors/{mirror}")));
        let built_from = header.as_ref().and_then(|header| id(&header["built_from"]));
        let recent = match built_from.and_then(|from| lineage.iter().position(|id| *id == from)) {
            Some(at) => &lineage[at + 1..],
            None => &lineage[..],
        };
        let may: BTreeSet<String> = recent.iter().cloned().chain(mirror).filter(|id| !must.contains(id)).collect();
        for (snapshot, is_needed) in must.iter().map(|id| (id, true)).chain(may.iter().map(|id| (id, false))) {
            self.snapshot(snapshot, is_needed, &mut reached)?;
        }
        Some(reached)
    }

    fn snapshot(&mut self, snapshot: &str, is_needed: bool, reached: &mut BTreeSet<String>) -> Option<()> {
        for (folder, is_needed) in [("trees", is_needed), ("mirrors", false)] {
            let mut next = Some(snapshot.to_owned());
            while let Some(id) = next {
                let key = format!("{folder}/{id}");
                let header = match folder {
                    "trees" => self.tree(&key),
                    // A mirror may be written twice.
                    _ => self.header(&key),
                };
                let Some(header) = header else {
                    if is_needed {
                        return None;
                    }
                    break;
                };
                reached.insert(key);
                let packs = header["packs"].as_array().into_iter().flatten();
                reached.extend(packs.map(|pack| format!("packs/{}", pack.as_str().unwrap())));
                next = header["base"].as_str().map(str::to_owned);
            }
        }
        Some(())
    }

    fn tree(&mut self, key: &str) -> Option<Value> {
        if !self.trees.contains_key(key) {
            let header = self.header(key)?;
            self.trees.insert(key.to_owned(), header);
        }
        self.trees.get(key).cloned()
    }

    fn header(&self, key: &str) -> Option<Value> {
        let object = self.outsider.get(&format!("{}.stopover/{key}", self.prefix))?;
        let text = zstd::decode_all(&object.bytes[..]).unwrap();
        let line = text.split(|byte| *byte == b'\n').next().unwrap();
        Some(serde_json::from_slice(line).unwrap())
    }
}

/// Keeps so many snapshots, and says how many others there were.
fn forget(head: &mut Value) -> usize {
    let history = head["history"].as_array_mut().unwrap();
    let surplus = history.len().saturating_sub(KEPT);
    history.drain(..surplus);
    surplus
}
