//! Finding and executing COMMAND, as execvp(3) does.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::creds::Dropped;
use crate::plan::Command;
use crate::sys::path::Path;
use crate::sys::words::{part, parts};
use crate::sys::{Errno, Result, fs, process};

/// Where commands are looked for when the environment has no PATH, as in execvp(3).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Executes the command; returns only the error. The witness shows that privileges are gone:
/// nothing is looked up with them, so that no answer tells of what only they could see.
#[must_use]
pub fn execute(command: Command, _: &Dropped) -> Errno {
    let name = command.argv.first().unwrap_or_default();
    if name.is_empty() {
        return Errno::ENOENT;
    }
    if part(name.to_bytes(), b'/', 0).len() < name.count_bytes() {
        return execute_file(name, command);
    }
    let path = variable(command, b"PATH=").unwrap_or(DEFAULT_PATH);
    let mut result = Errno::ENOENT;
    for directory in parts(path, b':') {
        let mut file = Path::new();
        if push(&mut file, directory, name).is_err() {
            continue;
        }
        match execute_file(file.as_cstr(), command) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // One that may not be executed is remembered, in case that no other is found.
            Errno::EACCES => result = Errno::EACCES,
            errno => return errno,
        }
    }
    result
}

/// DIRECTORY/NAME; an empty directory in PATH is the working directory.
fn push(file: &mut Path, directory: &[u8], name: &CStr) -> Result<()> {
    if !directory.is_empty() {
        file.push(directory)?;
        file.push(b"/")?;
    }
    file.push(name.to_bytes())
}

fn execute_file(file: &CStr, command: Command) -> Errno {
    match process::execute(file, command.argv, command.envp) {
        // The file is there: execve(2) means what it names in its first line, or its loader.
        Errno::ENOENT if fs::exists(file) => Errno::ELIBACC,
        errno => errno,
    }
}

fn variable(command: Command, prefix: &[u8]) -> Option<&'static [u8]> {
    command
        .envp
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(prefix))
}
