//! stopover, the first process of an ephemeral container: it restores the workspace from S3, installs its
//! dependencies, runs the app with correct signal forwarding, and stores what changed.
//!
//! The rooms, from the roof down; each knows only rooms below it (`tests/house.rs` holds them to it):
//!
//! - [`cli`], one file per subcommand: arguments, library call, output, exit code
//! - [`supervise`], PID 1; no tokio, no S3
//! - [`sync`], pull, commit and what belongs to them
//! - [`install`], which package managers to run, and the start command
//! - [`plan`], [`snapshot`], [`rows`], pure decisions, formats and words
//! - [`worktree`], [`state`], the directory on the disk, and stopover's own notes in it
//! - [`store`], S3
//! - [`config`], [`report`], what users set, and what they read
//! - [`sys`], the only unsafe code

pub mod cli;
pub mod config;
pub mod install;
pub mod plan;
pub mod report;
pub mod rows;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod supervise;
pub mod sync;
pub mod sys;
pub mod worktree;
