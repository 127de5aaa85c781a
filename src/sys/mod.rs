//! The only unsafe code: entry, signals, spawn, wait, terminal, prctl. Each block says why it is sound.
//!
//! Knows no other room of this crate.
