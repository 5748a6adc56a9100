//! Callers that std's Command cannot be: with signals, limits, descriptors and argument vectors of
//! their own making. And the ways to call the program that differ inside.

use std::ffi::CString;
use std::io;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Caller, become_user, emulated, lent, program, scratch};

/// A way to call the program: each takes another path through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    pub caller: Caller,
    pub flags: &'static str,
}

const fn mode(caller: Caller, flags: &'static str) -> Mode {
    Mode { caller, flags }
}

/// All that differ.
const MODES: [Mode; 7] = [
    mode(Caller::Root, "-ni"),
    mode(Caller::Root, "-c"),
    mode(Caller::Root, "-p"),
    mode(Caller::Root, "-nicpm"),
    mode(Caller::User, "-ni"),
    mode(Caller::User, "-nic"),
    mode(Caller::User, "-nicpm"),
];

/// Those that differ and can be had.
pub fn modes() -> Vec<Mode> {
    let needs_namespaces = |mode: &Mode| mode.has_init() || mode.caller == Caller::User;
    MODES
        .into_iter()
        .filter(|mode| !emulated() || !needs_namespaces(mode))
        .collect()
}

impl Mode {
    /// Whether the command takes the program's place.
    pub fn in_place(self) -> bool {
        self.flags == "-ni"
    }

    /// Whether the command is in a control group of its own.
    pub fn has_group(self) -> bool {
        self.flags.contains('c') && (self.caller == Caller::Root || lent())
    }

    /// Whether the command is in a PID namespace: it stands in for a group that cannot be had.
    pub fn has_init(self) -> bool {
        self.flags.contains('p') || (self.flags.contains('c') && !self.has_group())
    }

    /// The program with its flags and `words`. The caller is root still: see [`Mode::enter`].
    pub fn program(self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .arg(self.flags)
            .arg("--")
            .args(words)
            .stdin(Stdio::null())
            .current_dir("/");
        command
    }

    /// Has `command` run as the caller from here on: what is to be done as root comes before.
    pub fn enter(self, command: &mut Command) {
        if self.caller == Caller::User {
            become_user(command);
        }
    }

    /// A new directory that the caller may write.
    pub fn scratch(self) -> PathBuf {
        scratch(match self.caller {
            Caller::Root => 0,
            Caller::User => crate::common::USER,
        })
    }
}

/// Has `prepare` run between fork and execve. It makes system calls only.
pub fn in_child(
    command: &mut Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the closures given make system calls only; the test program has other threads.
    unsafe { command.pre_exec(prepare) };
}

/// A system call's result.
pub fn check(result: impl Into<i64>) -> io::Result<()> {
    if result.into() < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn vector(strings: &[&[u8]]) -> Vec<CString> {
    strings
        .iter()
        .map(|string| CString::new(*string).unwrap())
        .collect()
}

/// Has `command` execute `path` with exactly these vectors. To be called last.
pub fn execute_as(command: &mut Command, path: &Path, argv: &[&[u8]], envp: &[&[u8]]) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let (argv, envp) = (vector(argv), vector(envp));
    in_child(command, move || {
        // Not longer than the tests need: nothing may be allocated here.
        let mut pointers = [std::ptr::null(); 256];
        let (first, second) = pointers.split_at_mut(128);
        for (place, string) in first.iter_mut().zip(&argv).take(127) {
            *place = string.as_ptr();
        }
        for (place, string) in second.iter_mut().zip(&envp).take(127) {
            *place = string.as_ptr();
        }
        // SAFETY: vectors of NUL-ended strings, ended by the NULLs that were there.
        check(unsafe { libc::execve(path.as_ptr(), first.as_ptr(), second.as_ptr()) })
    });
}

/// An executable file, written by another process: a descriptor for writing of this one could be
/// open still in a child that another thread has forked, and make its execution fail (ETXTBSY).
pub fn executable(name: &str, content: &[u8]) -> PathBuf {
    let path = scratch(0).join(name);
    let mut shell = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(content).unwrap();
    assert!(shell.wait().unwrap().success());
    path
}
