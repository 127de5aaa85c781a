//! The only unsafe code: entry, signals, spawn, wait, terminal, prctl. Each block says why it is sound.
//!
//! Knows no other room of this crate.

#![allow(unsafe_code, reason = "this room exists to hold it")]

pub mod child;
pub mod entry;
pub mod fs;
pub mod heap;
pub mod poll;
pub mod process;
mod raw;
pub mod signals;
pub mod spawn;
pub mod stderr;
pub mod tool;
pub mod tty;
pub mod wait;
