//! `stopover doctor`: what this server and these rights allow, and what follows.

use std::{fs, os::unix::fs::MetadataExt};

use bytes::Bytes;
use clap::Args;
use nix::unistd::{AccessFlags, access};

use super::{
    context::Context,
    failure::Failure,
    output,
    runtime::{Cancel, block_on},
};
use crate::{
    config::{Call, Config, Need},
    report::{Check, Diagnosis, Exit, counted},
    snapshot::{Head, HeadState},
    store::{Abilities, Deleted, GetIf, Got, Put, PutIf, Store, StoreError},
};

/// More than this and signatures are refused by most servers.
const SKEW_LIMIT: i64 = 5 * 60;

/// Say what the server and the rights allow, and what follows
///
/// Writes and removes a few small objects below `.stopover/` of the workspace, unless --dry-run.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stopover doctor --workspace s3://BUCKET/PREFIX/USER/NAME")]
pub(super) struct Doctor {
    /// Read only: do not measure what the server honours when it is written to
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let config = context.config(&Need::Workspace, Call { dry_run: self.dry_run, ..Call::default() })?;
        let mut found = Findings::default();
        look_at_disk(&config, &mut found);
        let server = block_on(Cancel::BySignals, async { Ok(look_at_server(&config, &mut found).await) })?;
        output::either(self.json, &Diagnosis { server, checks: found.checks })?;
        Ok(if found.broken { Exit::Failed } else { Exit::Success }.code())
    }
}

/// What was looked at so far.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    /// Whether something is wrong without which nothing works.
    broken: bool,
}

impl Findings {
    fn good(&mut self, name: &str, seen: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), ok: true, seen: seen.into(), follows: None });
    }

    /// Not as it should be; what follows from it.
    fn weak(&mut self, name: &str, seen: impl Into<String>, follows: &str) {
        let follows = Some(follows.to_owned());
        self.checks.push(Check { name: name.to_owned(), ok: false, seen: seen.into(), follows });
    }

    /// So wrong that restores or commits fail.
    fn broken(&mut self, name: &str, seen: impl Into<String>, follows: &str) {
        self.weak(name, seen, follows);
        self.broken = true;
    }
}

fn look_at_disk(config: &Config, found: &mut Findings) {
    let dir = config.dir.display().to_string();
    let device = match fs::metadata(&config.dir) {
        Ok(data) if !data.is_dir() => {
            return found.broken("directory", format!("{dir} is no directory"), "nothing can be restored into it");
        }
        Ok(data) => data.dev(),
        Err(error) => {
            let above = config.dir.ancestors().skip(1).find(|above| above.exists());
            let may = above.is_some_and(|above| access(above, AccessFlags::W_OK | AccessFlags::X_OK).is_ok());
            return if may {
                found.good("directory", format!("{dir} does not exist yet; it can be made"));
            } else {
                found.broken(
                    "directory",
                    format!("{dir}: {error}"),
                    "it cannot be made either: nothing can be restored",
                );
            };
        }
    };
    if access(&config.dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok() {
        found.good("directory", format!("{dir} can be written"));
    } else {
        found.broken("directory", format!("{dir} cannot be written by this user"), "nothing can be restored into it");
    }
    let state = config.state.ancestors().find_map(|path| fs::metadata(path).ok());
    match state {
        Some(data) if data.dev() == device => {
            found.good("state", format!("{} is on the same filesystem", config.state.display()));
        }
        _ => found.broken(
            "state",
            format!("{} is on another filesystem than {dir}", config.state.display()),
            "files cannot be renamed from there: set STOPOVER_STATE to a place on the directory's filesystem",
        ),
    }
}

/// Asks the server; returns its name.
async fn look_at_server(config: &Config, found: &mut Findings) -> Option<String> {
    let workspace = config.workspace.as_ref()?;
    let store = match Store::connect(&config.access, &workspace.store.bucket, &workspace.prefix()).await {
        Ok(store) => store,
        Err(error) => {
            found.broken("connection", error.to_string(), "no restore and no commit is possible");
            return config.access.endpoint.url.clone();
        }
    };
    let server = Some(store.endpoint());
    if !look_at_head(&store, found).await {
        return server;
    }
    look_at_list(&store, found).await;
    if !config.call.dry_run && look_at_rights(&store, found).await {
        match store.probe().await {
            Ok(abilities) => look_at_abilities(&abilities, found),
            Err(error) => {
                found.broken("conditions", error.to_string(), "what this server honours could not be measured");
            }
        }
    }
    look_at_answers(&store, found);
    server
}

/// Reads the head: whether anything works at all.
async fn look_at_head(store: &Store, found: &mut Findings) -> bool {
    match store.get(".stopover/head.json", GetIf::Always).await {
        Ok(Got::Found(object)) => match Head::decode(&object.bytes) {
            Ok(head) => {
                let state = match head.state {
                    HeadState::Plain => "plain",
                    HeadState::Live => "live",
                    HeadState::Deleted => "deleted",
                };
                found.good("workspace", format!("{} has a head of state {state}, commit {}", store.url(), head.seq));
            }
            Err(error) => {
                found.broken("workspace", format!("its head cannot be read: {error}"), "it cannot be restored");
            }
        },
        Ok(_) => found.good("workspace", format!("{} has no head: what lies there is imported", store.url())),
        Err(error) => {
            found.broken("connection", error.to_string(), "no restore and no commit is possible");
            return false;
        }
    }
    true
}

async fn look_at_list(store: &Store, found: &mut Findings) {
    match store.list_live().next_page().await {
        Ok(page) => {
            let seen = match page.map_or(0, |page| page.len()) {
                0 => "allowed; no objects yet".to_owned(),
                count if count >= 1000 => "allowed; 1,000 objects or more".to_owned(),
                count => format!("allowed; {}", counted(count as u64, "object", "objects")),
            };
            found.good("s3:ListBucket", seen);
        }
        Err(error) => found.weak(
            "s3:ListBucket",
            error.to_string(),
            "a workspace without snapshots cannot be restored, and what others put into one with snapshots is not seen",
        ),
    }
}

/// Writes and removes one object. Returns whether it can be gone on with.
async fn look_at_rights(store: &Store, found: &mut Findings) -> bool {
    let mut random = [0; 8];
    if let Err(error) = getrandom::fill(&mut random) {
        found.broken("s3:PutObject", format!("no random numbers: {error}"), "no commit is possible");
        return false;
    }
    let key = format!(".stopover/probe-{:016x}-rights", u64::from_le_bytes(random));
    let written: Result<(), StoreError> =
        match store.put(&key, Bytes::from_static(b"stopover doctor"), PutIf::Any, None).await {
            Ok(Put::Done(_)) => Ok(()),
            Ok(Put::Uncertain(error)) | Err(error) => Err(error),
            Ok(Put::Refused | Put::Missing) => {
                found.broken("s3:PutObject", "refused though it had no condition", "no commit is possible");
                return false;
            }
        };
    if let Err(error) = written {
        found.broken(
            "s3:PutObject",
            error.to_string(),
            "no commit is possible: set STOPOVER_MODE=read-only if that is meant",
        );
        return false;
    }
    found.good("s3:PutObject", "allowed");
    match store.get(&key, GetIf::Always).await {
        Ok(Got::Found(_)) => found.good("s3:GetObject", "what was just written can be read"),
        Ok(_) => found.broken("s3:GetObject", "what was just written is not there", "restores are impossible here"),
        Err(error) => found.broken("s3:GetObject", error.to_string(), "what is committed cannot be restored"),
    }
    match store.delete(&key, None).await {
        Ok(Deleted::Done | Deleted::Absent) => found.good("s3:DeleteObject", "allowed"),
        Ok(Deleted::Refused) => found.weak("s3:DeleteObject", "refused", "deleted files stay in the live tree"),
        Ok(Deleted::Denied(error)) | Err(error) => {
            found.weak(
                "s3:DeleteObject",
                error.to_string(),
                "commits are durable, deleted files stay in the live tree and are named (not_deleted), in a plain \
                 workspace its tree says that they are gone; prune and delete free nothing; what doctor writes below \
                 .stopover/ stays, too, so the conditions are not measured",
            );
            return false;
        }
    }
    true
}

fn look_at_abilities(abilities: &Abilities, found: &mut Findings) {
    let mut ability = |has: bool, name: &str, follows: &str| {
        if has { found.good(name, "honoured") } else { found.weak(name, "not honoured", follows) }
    };
    let one_writer = "only one writer at a time is safe: two containers of one workspace can lose each other's commits";
    ability(abilities.create, "PUT If-None-Match", one_writer);
    ability(abilities.replace, "PUT If-Match", one_writer);
    ability(abilities.replace_needs_object, "PUT If-Match needs an object", "each such PUT is preceded by a HEAD");
    let large = "for large files the condition is checked by a HEAD before the upload is completed";
    ability(abilities.complete_create, "CompleteMultipartUpload If-None-Match", large);
    ability(abilities.complete_replace, "CompleteMultipartUpload If-Match", large);
    ability(
        abilities.complete_etag,
        "CompleteMultipartUpload tells the ETag",
        "for large files the object is looked at once more after the upload",
    );
    ability(
        abilities.delete,
        "DELETE If-Match",
        "HEAD, compare, DELETE at once: what another program writes in that instant can be lost",
    );
    ability(abilities.start_after, "ListObjectsV2 StartAfter", "all is listed, what is below .stopover/ too");
    ability(abilities.ordered, "listing in order", "nothing: no order is relied on");
    ability(abilities.url_encoding, "listing url-encoded", "keys with control characters cannot be listed");
}

fn look_at_answers(store: &Store, found: &mut Findings) {
    match store.clock_skew() {
        Some(skew) if skew.abs() > SKEW_LIMIT => found.weak(
            "clock",
            format!("{} s {} the server's", skew.abs(), if skew > 0 { "ahead of" } else { "behind" }),
            "signatures may be refused (RequestTimeTooSkewed): set the clock",
        ),
        Some(_) => found.good("clock", "agrees with the server's"),
        None => {}
    }
    if let Some(region) = store.moved_region() {
        found.weak(
            "region",
            format!("the bucket is in {region}"),
            "each start asks the wrong region first: set S3_REGION",
        );
    }
    match store.expiration() {
        Some(rule) => {
            found.weak(
                "lifecycle",
                rule,
                "a lifecycle rule will delete this workspace: exclude its prefix from the rule",
            );
        }
        None => found.good("lifecycle", "no answer named a rule that deletes objects here"),
    }
    match store.encryption() {
        Some(with) if with.contains("kms") => {
            let needs = "the role needs kms:GenerateDataKey to commit and kms:Decrypt to restore";
            found.good("encryption", format!("{with}; {needs}, wherever it runs"));
        }
        Some(with) => found.good("encryption", with),
        None => found.good("encryption", "no answer named one"),
    }
    match store.object_lock() {
        Some(lock) => found.weak(
            "object lock",
            lock,
            "each write carries a checksum; what is deleted or replaced stays in the bucket as a version until its time \
             is over, so prune and delete free no room before",
        ),
        None => found.good("object lock", "no answer named one"),
    }
    let (down, up) = store.widths();
    found.good("concurrency", format!("{down} down, {up} up"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_honour_has_a_consequence_but_breaks_nothing() {
        let mut found = Findings::default();
        look_at_abilities(&Abilities { delete: false, ..Abilities::AWS }, &mut found);
        let weak: Vec<_> = found.checks.iter().filter(|check| !check.ok).collect();
        assert_eq!(weak.len(), 1);
        assert_eq!(weak[0].name, "DELETE If-Match");
        assert!(weak[0].follows.is_some() && !found.broken);
    }
}
