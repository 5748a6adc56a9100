//! Hostile callers of the installed program: users who kill, stop, freeze, trace and look into what
//! they can.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::common::installed::*;
use crate::common::*;

/// Every process that a place starts has this variable, however it changes its arguments.
const MARK: &str = "PHASEBOX_TEST";

/// A control group that callers cannot touch, with another below it that may be theirs.
pub struct Ground {
    /// Root's: boxes and guards are made here.
    pub top: TestGroup,
    /// Where the caller is.
    pub inner: PathBuf,
    /// The caller. Its group is that of the installed program.
    pub uid: u32,
    mark: String,
}

impl Ground {
    /// The caller is in root's group.
    pub fn new(uid: u32) -> Ground {
        let top = TestGroup::new("ground");
        let inner = top.0.clone();
        let mark = token("mark");
        Ground {
            top,
            inner,
            uid,
            mark,
        }
    }

    /// The caller is in a group that is delegated to it: every file of it is its own.
    pub fn delegated(uid: u32) -> Ground {
        let mut ground = Ground::new(uid);
        ground.inner = ground.top.0.join("theirs");
        fs::create_dir(&ground.inner).unwrap();
        give(&ground.inner, uid);
        ground
    }

    /// The installed program, called from here.
    pub fn boxed(&self, install: Install, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.outside(word(install.program()));
        command.args(options).arg("--").args(words);
        command
    }

    /// Any program, run from here as the caller.
    pub fn outside(&self, program: &str) -> Command {
        let mut command = self.as_root(program);
        become_in_group(&mut command, self.uid);
        command
    }

    /// Any program, run from here as root.
    pub fn as_root(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env(MARK, &self.mark);
        start_in(&mut command, &self.inner);
        command
    }

    /// The installed program, called from here as the caller below root's strace(1): a tracer that
    /// is root's leaves set-id bits in force.
    pub fn traced(
        &self,
        install: Install,
        strace: &[&str],
        options: &[&str],
        words: &[&str],
    ) -> Command {
        let mut command = self.as_root("strace");
        command
            .args(["-f", "-qq"])
            .args(strace)
            .args(["--", hostile(), "become"])
            .args([self.uid.to_string(), USER.to_string()])
            .arg(install.program())
            .args(options)
            .arg("--")
            .args(words);
        without_groups(&mut command);
        command
    }

    /// The living processes that were started from here.
    pub fn alive(&self) -> Vec<u32> {
        with_variable(&format!("{MARK}={}", self.mark))
    }

    /// The groups of boxes, anywhere below.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_boxes(&self.top.0, &mut found);
        found
    }

    /// Waits until no process and no group is left. No next start helps.
    pub fn until_gone(&self) {
        let show = |pids: Vec<u32>| -> Vec<String> {
            let shown = pids
                .into_iter()
                .map(|pid| format!("{pid} {} {:?}", name(pid), state(pid)));
            shown.collect()
        };
        let end = std::time::Instant::now() + crate::boxes::ONE_SECOND;
        while !(self.alive().is_empty() && self.groups().is_empty()) {
            assert!(
                std::time::Instant::now() < end,
                "left: {:?} {:?}",
                show(self.alive()),
                self.groups()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn collect_boxes(group: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("phasebox:") && name != "phasebox:guards" {
            found.push(entry.path());
        }
        collect_boxes(&entry.path(), found);
    }
}

/// Has all of a group belong to a user.
pub fn give(group: &Path, uid: u32) {
    std::os::unix::fs::chown(group, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(group).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::os::unix::fs::chown(entry.path(), Some(uid), Some(uid)).unwrap();
        }
    }
}

/// Has `command` run as `uid`, of the group that may execute the installed program.
pub fn become_in_group(command: &mut Command, uid: u32) {
    // SAFETY: only system calls between fork and execve.
    unsafe {
        command.pre_exec(move || {
            if libc::setgroups(0, std::ptr::null()) != 0
                || libc::setresgid(USER, USER, USER) != 0
                || libc::setresuid(uid, uid, uid) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Has `command` start without supplementary groups.
pub fn without_groups(command: &mut Command) {
    // SAFETY: only a system call between fork and execve.
    unsafe {
        command.pre_exec(|| match libc::setgroups(0, std::ptr::null()) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// kill(2) by a user; whether it was allowed. `pid` may be -1.
pub fn kill_as(uid: u32, pid: i32, signal: i32) -> bool {
    as_user(uid, move || {
        // SAFETY: numbers only.
        unsafe { libc::kill(pid, signal) == 0 }
    })
}

/// Writes to a file as a user; whether it was allowed.
pub fn write_as(uid: u32, file: &Path, content: &'static str) -> bool {
    let file = std::ffi::CString::new(word(file)).unwrap();
    as_user(uid, move || {
        // SAFETY: a NUL-ended path; a slice with its length.
        unsafe {
            let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            fd >= 0
                && libc::write(fd, content.as_ptr().cast(), content.len()) == content.len() as isize
        }
    })
}

/// Does something in a process of a user's; what it answers. Only system calls.
pub fn as_user(uid: u32, act: impl Fn() -> bool + Send + Sync + 'static) -> bool {
    let mut command = Command::new("true");
    become_in_group(&mut command, uid);
    // SAFETY: only system calls between fork and execve.
    unsafe {
        command.pre_exec(move || {
            if act() {
                Ok(())
            } else {
                Err(std::io::Error::from_raw_os_error(libc::EPERM))
            }
        });
    }
    match command.status() {
        Ok(status) => status.success(),
        Err(_) => false,
    }
}

/// The way to a program in the form that arguments have.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// tests/helpers/hostile.c.
pub fn hostile() -> &'static str {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let source = include_str!("../helpers/hostile.c");
    word(PROGRAM.get_or_init(|| compile("hostile", source)))
}

/// A line of /proc/PID/status, without its name. proc_pid_status(5).
pub fn status_of(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    field_of(&status, field)
}

/// The same, of a text.
pub fn field_of(status: &str, field: &str) -> String {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let words = line.unwrap_or_else(|| panic!("no {field} in {status}"));
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
