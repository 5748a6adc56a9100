//! Exit statuses: the command's own, and the program's.
#![forbid(unsafe_code)]

use crate::sys::process::Change;

/// The program itself failed; COMMAND was not started.
pub const FAILED: u8 = 125;
/// `--check` found something of `-nic` that does not work.
pub const NOT_ALL: u8 = 1;
/// COMMAND was found but could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// COMMAND was not found.
pub const NOT_FOUND: u8 = 127;

/// How a process ended, as an exit status where dying of a signal is no way out: 128 + signal, as a
/// shell has it.
#[must_use]
pub fn of(ending: Change) -> u8 {
    match ending.killed_by() {
        Some(signal) => 128 + signal.byte(),
        None => ending.exit_status().unwrap_or(FAILED),
    }
}
