//! What can happen to a request here, and where.

use std::fmt;

use crate::support::front::{Class, Fault, Request, Which, any};

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happens {
    Denied,
    DropBefore,
    DropReply,
    /// It reaches the server after the command has ended.
    Late,
    /// It reaches the server after the next command has ended.
    VeryLate,
    Conflict,
    PreconditionFailed,
    Missing,
    Fails,
    /// The server has done it, and says that it failed.
    FailsAfter,
    /// Three in a row.
    Busy,
    Short,
    /// One bit of the answer: near its begin, in the middle, or near its end.
    Flipped(u8),
    /// The client falls asleep for a while, and the connection with it; the server does what was asked, or not.
    Asleep,
    AsleepAfter,
}

/// Which requests it happens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// One of a kind.
    Nth { op: &'static str, class: Class, nth: usize },
    /// All of a kind.
    Each { op: &'static str, class: Class },
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth { op, class, nth } => write!(f, "{op} {class:?} {nth}"),
            Self::Each { op, class } => write!(f, "each {op} {class:?}"),
        }
    }
}

impl Where {
    pub fn class(self) -> Class {
        match self {
            Self::Nth { class, .. } | Self::Each { class, .. } => class,
        }
    }

    pub fn writes(self) -> bool {
        let (Self::Nth { op, .. } | Self::Each { op, .. }) = self;
        !READS.contains(&op)
    }

    pub fn which(self, happens: Happens) -> Which {
        match self {
            Self::Nth { op, class, nth } => {
                let times = if happens == Happens::Busy { 3 } else { 1 };
                any().op(op).class(class).after(nth).times(times)
            }
            Self::Each { op, class } => any().op(op).class(class),
        }
    }
}

const READS: [&str; 3] = ["GetObject", "HeadObject", "ListObjectsV2"];

pub fn writes(request: &Request) -> bool {
    !READS.contains(&request.op)
}

impl Happens {
    /// What can happen to this request once.
    pub fn to(request: &Request) -> Vec<Self> {
        let mut all = vec![Self::Denied, Self::DropBefore, Self::Fails, Self::Busy, Self::Asleep];
        if writes(request) {
            all.extend([Self::DropReply, Self::Late, Self::VeryLate, Self::FailsAfter, Self::AsleepAfter]);
            // A server that refuses conditions that hold is another server to whoever measures it.
            if request.class != Class::Own {
                all.extend([Self::Conflict, Self::PreconditionFailed, Self::Missing]);
            }
            return all;
        }
        match request.op {
            "GetObject" => {
                all.extend([Self::Missing, Self::Short, Self::Flipped(0), Self::Flipped(1), Self::Flipped(2)])
            }
            "HeadObject" => all.extend([Self::Missing]),
            _ => all.extend([Self::Short]),
        }
        all
    }

    /// What can happen to all requests of this kind.
    pub fn for_good(request: &Request) -> Vec<Self> {
        let mut all = vec![Self::Denied, Self::DropBefore, Self::Fails];
        if writes(request) {
            all.extend([Self::DropReply, Self::Conflict, Self::PreconditionFailed, Self::FailsAfter]);
        }
        // What cannot be deleted because it is not there is deleted.
        if writes(request) && (request.op != "DeleteObject" || request.class == Class::Live) {
            all.push(Self::Missing);
        }
        if request.op == "GetObject" {
            all.extend([Self::Short, Self::Flipped(1)]);
        }
        all
    }

    /// Whether each act has its own way to bear this; else it is the store's, the same for all.
    pub fn matters_to(self, request: &Request) -> bool {
        let is_part = !["PutObject", "DeleteObject", "CompleteMultipartUpload"].contains(&request.op);
        match request.class {
            _ if !writes(request) => matches!(self, Self::Denied | Self::Missing),
            Class::Head => !matches!(self, Self::DropBefore | Self::Fails | Self::Busy | Self::Asleep | Self::Late),
            Class::Live if is_part => matches!(self, Self::Denied | Self::Conflict | Self::Missing),
            Class::Live => !matches!(
                self,
                Self::DropBefore | Self::Fails | Self::Busy | Self::Asleep | Self::AsleepAfter | Self::VeryLate
            ),
            Class::Own => self == Self::Denied,
            _ => matches!(self, Self::Denied | Self::VeryLate),
        }
    }

    /// Its place among all.
    pub fn number(self) -> u8 {
        match self {
            Self::Denied => 0,
            Self::DropBefore => 1,
            Self::DropReply => 2,
            Self::Late => 3,
            Self::VeryLate => 4,
            Self::Conflict => 5,
            Self::PreconditionFailed => 6,
            Self::Missing => 7,
            Self::Fails => 8,
            Self::FailsAfter => 9,
            Self::Busy => 10,
            Self::Short => 11,
            Self::Asleep => 12,
            Self::AsleepAfter => 13,
            Self::Flipped(at) => 14 + at,
        }
    }

    /// As a fault of the front; the late ones and the sleeping ones are the case's.
    pub fn fault(self) -> Option<Fault> {
        Some(match self {
            Self::Denied => Fault::DENIED,
            Self::DropBefore => Fault::DropBefore,
            Self::DropReply => Fault::DropReply,
            Self::Late | Self::VeryLate => return None,
            Self::Conflict => Fault::Refuse { status: 409, code: "ConditionalRequestConflict" },
            Self::PreconditionFailed => Fault::Refuse { status: 412, code: "PreconditionFailed" },
            Self::Missing => Fault::Refuse { status: 404, code: "NoSuchKey" },
            Self::Fails => Fault::Refuse { status: 500, code: "InternalError" },
            Self::FailsAfter => Fault::RefuseAfter { status: 500, code: "InternalError" },
            Self::Busy => Fault::SLOW_DOWN,
            Self::Short => Fault::CutTo(50),
            Self::Flipped(0) => Fault::FlipAt(5),
            Self::Flipped(1) => Fault::FlipAt(50),
            Self::Flipped(_) => Fault::FlipAt(95),
            Self::Asleep => Fault::Signal { number: 19, applied: false },
            Self::AsleepAfter => Fault::Signal { number: 19, applied: true },
        })
    }
}
