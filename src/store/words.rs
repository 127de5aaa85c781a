//! The words of the store: what is asked, and what a server can answer that is no error.

use std::{io, ops::Range, time::SystemTime};

use bytes::Bytes;

use super::StoreError;
use crate::rows::ETag;

/// What is known of an object without its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Its version token.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, by the server's clock.
    pub last_modified: Option<SystemTime>,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// The server's clock at this answer.
    pub date: Option<SystemTime>,
}

/// An object with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The bytes, all of them: a short answer is an error.
    pub bytes: Bytes,
    /// What else is known.
    pub meta: Meta,
}

/// The condition of a [`super::Store::get`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GetIf<'a> {
    /// None.
    Always,
    /// Only this version: else [`Got::Moved`].
    Match(&'a ETag),
    /// Only another version: else [`Got::NotModified`].
    NoneMatch(&'a ETag),
}

/// What a [`super::Store::get`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// The object.
    Found(Object),
    /// It is still the version of [`GetIf::NoneMatch`].
    NotModified,
    /// There is none; the server said so by name, a refusal (403) is an error.
    Absent,
    /// It is not the version of [`GetIf::Match`].
    Moved,
}

/// What a [`super::Store::fetch`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// All bytes were handed to the sink, and their number and offered checksums are right.
    Done(Meta),
    /// There is no such object.
    Absent,
    /// It is, or became, another version.
    Moved,
}

/// Which part of an object to read.
pub type Span = Range<u64>;

/// The condition of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutIf<'a> {
    /// Only where no object is.
    Absent,
    /// Only over this version.
    Match(&'a ETag),
    /// None: for names that nobody else uses.
    Any,
}

/// What a put did.
#[derive(Clone, Debug)]
pub enum Put {
    /// The object is written and has this version.
    Done(ETag),
    /// The condition did not hold (412), or a conflicting write was under way (409). Nothing was written.
    Refused,
    /// [`PutIf::Match`] on a key that has no object (404). Nothing was written.
    Missing,
    /// The answer was lost, or says nothing about what happened: it may be written or not. Read it back.
    Uncertain(StoreError),
}

/// What a delete did.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is gone.
    Done,
    /// It is another version: left alone.
    Refused,
    /// There was none.
    Absent,
    /// These credentials may not delete.
    Denied(StoreError),
}

/// A key found by a listing, relative to the store's prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The key below the prefix, decoded.
    pub key: String,
    /// Its version token.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, by the server's clock.
    pub last_modified: Option<SystemTime>,
}

/// Where the bytes of a put come from: read once, from front to back.
///
/// A put that must be sure of its content hashes in [`Source::take`] and says so in [`Source::seal`]: only after that
/// do the bytes become visible.
pub trait Source: Send + 'static {
    /// The next `length` bytes; fewer is an error. Called on a thread that may block.
    ///
    /// # Errors
    /// What reading failed with.
    fn take(&mut self, length: usize) -> io::Result<Bytes>;

    /// Called once, when all bytes were taken and before the object becomes visible.
    ///
    /// # Errors
    /// The bytes were not those that were meant: nothing is written.
    fn seal(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the bytes of a put come from that needs only some of them: read in any order.
pub trait Ranged: Send + 'static {
    /// The bytes of `span`, which are those that were meant. Called on a thread that may block.
    ///
    /// # Errors
    /// What reading failed with, or they are others.
    fn read(&mut self, span: Span) -> io::Result<Bytes>;

    /// Called before what nothing is read for, and before the object becomes visible.
    ///
    /// # Errors
    /// The put is not wanted any more: nothing is written.
    fn go_on(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the bytes of a [`super::Store::fetch`] go: parts come in any order, from several threads, each at its offset.
pub trait Sink: Send + Sync + 'static {
    /// Takes `part`. Called on a thread that may block; a part can come again after a broken answer.
    ///
    /// # Errors
    /// What writing failed with; the fetch ends with it.
    fn write_at(&self, offset: u64, part: &[u8]) -> io::Result<()>;
}

/// What was sent and received so far, every attempt counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Requests, retries included.
    pub requests: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Bytes of answers' bodies.
    pub bytes_received: u64,
}
