//! What a restart of the machine does to a directory that was kept: what was written shortly before may not have
//! reached the disk, and a file that is empty now must not be taken for an edit.

use super::{Ready, State, StateError};

impl State {
    /// Looks whether the machine was restarted since the restore; `boot` is this boot's id. A restore that was not
    /// surely on the disk by then does not count. What is believed of files without reading them counts no more in
    /// either case.
    ///
    /// # Errors
    /// When the notes cannot be read or removed.
    pub fn after_restart(&self, boot: Option<&str>) -> Result<Restart, StateError> {
        let (Some(ready), Some(boot)) = (self.ready()?, boot) else { return Ok(Restart::No) };
        if ready.boot.as_deref().is_none_or(|noted| noted == boot) {
            return Ok(Restart::No);
        }
        self.forget("index")?;
        if !ready.flushed {
            self.forget("ready")?;
            return Ok(Restart::MayHaveLost);
        }
        self.set_ready(&Ready { boot: Some(boot.to_owned()), ..ready })?;
        Ok(Restart::Survived)
    }
}

/// What a restart did to the directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// There was none.
    No,
    /// What was restored had reached the disk.
    Survived,
    /// Some of what was restored may not be there: the directory is not `ready` any more.
    MayHaveLost,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(flushed: bool) -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::create(&dir.path().join(".stopover")).unwrap();
        state.set_ready(&Ready { pulled: None, boot: Some("before".into()), flushed }).unwrap();
        state.write("index", b"rows").unwrap();
        (dir, state)
    }

    #[test]
    fn without_a_restart_nothing_changes() {
        for (flushed, boot) in [(false, Some("before")), (true, Some("before")), (false, None)] {
            let (_dir, state) = ready(flushed);
            assert_eq!(state.after_restart(boot).unwrap(), Restart::No);
            assert!(state.ready().unwrap().is_some() && state.read("index").unwrap().is_some());
        }
    }

    #[test]
    fn a_restore_that_was_not_on_the_disk_does_not_count_after_a_restart() {
        let (_dir, state) = ready(false);
        assert_eq!(state.after_restart(Some("now")).unwrap(), Restart::MayHaveLost);
        assert_eq!((state.ready().unwrap(), state.read("index").unwrap()), (None, None));
    }

    #[test]
    fn one_that_was_counts_and_every_file_is_read_again() {
        let (_dir, state) = ready(true);
        assert_eq!(state.after_restart(Some("now")).unwrap(), Restart::Survived);
        let ready = state.ready().unwrap().unwrap();
        assert_eq!((ready.boot.as_deref(), ready.flushed), (Some("now"), true));
        assert_eq!(state.read("index").unwrap(), None);
    }
}
