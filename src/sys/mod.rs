//! The only unsafe code: entry, signals, spawn, wait, terminal, prctl. Each block says why it is sound.
//!
//! Knows no other room of this crate.

#![allow(unsafe_code, reason = "this room exists to hold it")]

pub mod entry;
pub mod fs;
mod raw;
