//! What only a child of PID 1 does: close its memory before it reads the keys, and answer through pipes.

use std::{fs::File, io::Write};

use super::{context::Context, failure::Failure, log};
use crate::{config::Handover, report::Exit, sys};

/// The first act of a child: lower itself before the OOM killer, become unreadable for others, take the keys.
pub(super) fn prepare(context: &mut Context, words: &str) -> Result<(), Failure> {
    log::as_container();
    let handover = Handover::from_words(words).map_err(|error| Failure::new(Exit::Usage, error))?;
    let secrets = sys::child::prepare(handover.credentials)
        .map_err(|error| Failure::failed(format!("the keys could not be taken from PID 1: {error}")))?;
    context.set_handover(handover, secrets);
    Ok(())
}

/// A descriptor that PID 1 named, as a file; none where it named none.
pub(super) fn pipe(fd: Option<i32>) -> Result<Option<File>, Failure> {
    fd.map(|fd| {
        sys::child::inherited(fd)
            .map(File::from)
            .map_err(|error| Failure::new(Exit::Usage, format!("--handover names descriptor {fd}: {error}")))
    })
    .transpose()
}

/// Writes a receipt; a PID 1 that is gone needs none.
pub(super) fn write_receipt(pipe: Option<&mut File>, bytes: &[u8]) {
    if let Some(pipe) = pipe {
        let _ = pipe.write_all(bytes).and_then(|()| pipe.flush());
    }
}
