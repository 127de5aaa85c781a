//! Reading files for their hash, and noticing what moves meanwhile.

use std::{
    fs::File,
    io::{self, Read},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::{errno::Errno, sys::stat::fstat};

use super::{Directory, ScanOptions, Stat, WorktreeError, walk::Job};
use crate::{
    rows::{Cut, Hasher, PIECE_BYTES, PieceHasher, Pieces},
    worktree::mapped::Mapped,
};

/// Large enough for the hash to run at full speed, small enough to notice a cancel at once.
const BUFFER_BYTES: usize = 256 << 10;
/// How often a file that moves is read.
const TRIES: usize = 3;

/// What became of one file.
#[derive(Debug)]
pub(super) enum Outcome {
    Hashed { stat: Stat, cut: Cut },
    Changing,
    Unreadable(String),
    OtherMount,
    Gone,
}

/// All of them, in the order of the jobs, and who mapped what meanwhile.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) files: Vec<Outcome>,
    pub(super) mapped: Mapped,
}

/// Hashes the jobs' files on a few threads.
pub(super) fn hash_all(dir: &Directory, jobs: &[Job], options: &ScanOptions) -> Result<Outcomes, WorktreeError> {
    if jobs.is_empty() {
        return Ok(Outcomes::default());
    }
    // Before and after: what was mapped before the first byte was read, and what was moved to elsewhere in the list
    // while it was looked at.
    let look = || Mapped::look(&options.processes, &options.own_processes);
    let before = look();
    let outcomes: Vec<OnceLock<Outcome>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some((job, outcome)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(at).zip(outcomes.get(at))
        } {
            match hash_file(dir, job, &mut buffer, options) {
                Ok(done) => drop(outcome.set(done)),
                Err(_) => return,
            }
        }
    };
    let threads = options.threads.clamp(1, jobs.len());
    std::thread::scope(|scope| {
        // This thread is one of them, so that work is done where no other can be had.
        for _ in 1..threads {
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    options.check()?;
    let files = outcomes.into_iter().map(|outcome| outcome.into_inner().unwrap_or(Outcome::Changing)).collect();
    Ok(Outcomes { files, mapped: before.and(look()) })
}

fn hash_file(dir: &Directory, job: &Job, buffer: &mut [u8], options: &ScanOptions) -> Result<Outcome, WorktreeError> {
    for _ in 0..TRIES {
        options.check()?;
        let (mut file, before) = match dir.open_file(&job.path) {
            Ok(opened) => opened,
            Err(error) => return Ok(outcome_of(&error)),
        };
        let cut = match hash_open(&mut file, before.size, buffer, options)? {
            Ok(cut) => cut,
            Err(error) => return Ok(Outcome::Unreadable(error.to_string())),
        };
        let after = match fstat(&file) {
            Ok(stat) => Stat::from(stat),
            Err(error) => return Ok(Outcome::Unreadable(error.desc().to_owned())),
        };
        // Everything but the access time and the number of names.
        let moved = Stat { nlink: before.nlink, ..after } != before;
        if !moved && cut.size == before.size {
            return Ok(Outcome::Hashed { stat: after, cut });
        }
    }
    Ok(Outcome::Changing)
}

fn outcome_of(error: &WorktreeError) -> Outcome {
    match error {
        // Something else has the name now; the next scan sees it.
        WorktreeError::NotRegular { .. } | WorktreeError::Cancelled => Outcome::Changing,
        WorktreeError::Io { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => Outcome::Gone,
            Some(Errno::EXDEV) => Outcome::OtherMount,
            _ => Outcome::Unreadable(source.to_string()),
        },
    }
}

/// Whole, or where a file has more than one piece, whole and in pieces: of a large one only those that changed are
/// stored, and nobody should have to read it again to know which.
enum Either {
    Whole(Hasher, u64),
    Pieces(PieceHasher),
}

impl Either {
    fn new(size: u64) -> Self {
        if size > PIECE_BYTES { Self::Pieces(PieceHasher::new(size)) } else { Self::Whole(Hasher::new(), 0) }
    }

    fn update(&mut self, part: &[u8]) {
        match self {
            Self::Whole(hasher, size) => {
                hasher.update(part);
                *size += part.len() as u64;
            }
            Self::Pieces(hasher) => hasher.update(part),
        }
    }

    fn finish(self) -> Cut {
        match self {
            Self::Whole(hasher, size) => Cut { hash: hasher.finish(), size, pieces: Pieces::None },
            Self::Pieces(hasher) => hasher.finish(),
        }
    }
}

/// Reads to the end, but not much further than `size`: a file that grows without end is noticed by its stat.
fn hash_open(
    file: &mut File,
    size: u64,
    buffer: &mut [u8],
    options: &ScanOptions,
) -> Result<io::Result<Cut>, WorktreeError> {
    let mut hasher = Either::new(size);
    let mut bytes = 0_u64;
    while bytes <= size {
        options.check()?;
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(hasher.finish()))
}
