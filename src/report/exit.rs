//! Exit codes, in one place.

/// stopover's own exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// A command other than `run` failed.
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Done, but with refused or unreadable files, each named on stderr.
    Incomplete = 3,
    /// Refused by a guard.
    Guard = 4,
    /// `run`: the restore failed.
    RestoreFailed = 80,
    /// `run`: the install failed.
    InstallFailed = 81,
    /// `run`: the app ended well but something was not stored.
    NotStored = 82,
    /// `run`: the command is there but cannot be executed.
    NotExecutable = 126,
    /// `run`: the command is not there.
    NotFound = 127,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
