//! Exit statuses: the command's own, and the program's.
#![forbid(unsafe_code)]

use crate::sys::signal::Signal;

/// The program itself failed; COMMAND was not started.
pub const FAILED: u8 = 125;
/// COMMAND was found but could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// COMMAND was not found.
pub const NOT_FOUND: u8 = 127;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It exited with this status.
    Exited(u8),
    /// It was killed by this signal.
    Killed(Signal),
}

impl Ending {
    /// As an exit status where dying of a signal is no way out: 128 + signal, as a shell has it.
    #[must_use]
    pub fn as_exit_status(self) -> u8 {
        match self {
            Ending::Exited(status) => status,
            Ending::Killed(signal) => 128 + signal.byte(),
        }
    }
}
