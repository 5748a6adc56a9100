//! Messages: one line on standard error, one write, only printable ASCII.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::cli::{self, Usage};
use crate::policy::Isolation;
use crate::step::{Failure, Step};
use crate::sys::args::Strings;
use crate::sys::fd::{self, Fd};
use crate::sys::path::Text;
use crate::sys::process::Pid;
use crate::sys::words::nth_line;
use crate::sys::{Errno, fs};

/// A line that is cut where it gets too long.
pub struct Line(Text<1024>);

/// How much of a word from outside is shown.
const WORD_MAX: usize = 80;

impl Line {
    /// The program's name.
    #[must_use]
    pub fn new() -> Line {
        let mut line = Line(Text::new());
        line.text("phasebox: ");
        line
    }

    /// Adds text of the program's own.
    pub fn text(&mut self, text: &str) -> &mut Line {
        self.bytes(text.as_bytes())
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) -> &mut Line {
        // What does not fit is left out; the line is for people.
        let _ = self.0.push(bytes);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Line {
        let _ = self.0.push_number(number);
        self
    }

    /// Adds text from outside: what could drive a terminal is shown as `?` (CVE-2023-28486).
    pub fn foreign(&mut self, word: &[u8]) -> &mut Line {
        for byte in word.iter().take(WORD_MAX) {
            let shown = if byte.is_ascii_graphic() || *byte == b' ' {
                *byte
            } else {
                b'?'
            };
            let _ = self.0.push(&[shown]);
        }
        if word.len() > WORD_MAX {
            self.text("...")
        } else {
            self
        }
    }

    /// The same in quotes.
    fn quoted(&mut self, word: &[u8]) -> &mut Line {
        self.text("'").foreign(word).text("'")
    }

    /// Adds `: REASON (ERRNO NAME)`; without a reason, what the errno means.
    pub fn because(&mut self, reason: &[u8], errno: Errno) -> &mut Line {
        let (name, meaning) = errno.describe().unwrap_or((b"", b"unexpected error"));
        self.text(": ")
            .bytes(if reason.is_empty() { meaning } else { reason });
        self.text(" (").bytes(name);
        if name.is_empty() {
            self.text("errno ").number(errno.number() as u64);
        }
        self.text(")")
    }

    /// Adds `; ADVICE` where there is any.
    pub fn advice(&mut self, advice: &[u8]) -> &mut Line {
        if advice.is_empty() {
            self
        } else {
            self.text("; ").bytes(advice)
        }
    }

    /// Writes it to standard error. Nothing can be done where that fails.
    pub fn send(&mut self) {
        let _ = self.0.push(b"\n");
        let _ = fd::write(Fd::STDERR, self.0.as_bytes());
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

/// `unable to STEP: MEANING (ERRNO NAME)`, and what to do.
pub fn failure(failure: Failure) {
    unable_to(failure).advice(advice(failure)).send();
}

/// The same, of an isolation that `--best-effort` goes on without.
pub fn degraded(reason: Failure, kind: Isolation) {
    const NAMES: &str = "network\nIPC\ncontrol group\nPID\nmount";
    let index = Isolation::ALL
        .iter()
        .position(|other| *other == kind)
        .unwrap_or_default();
    let mut line = unable_to(reason);
    line.text("; going on without ")
        .bytes(nth_line(NAMES, index))
        .text(" isolation")
        .send();
}

fn unable_to(failure: Failure) -> Line {
    let mut line = Line::new();
    let step = failure.step().map_or(&[][..], Step::text);
    line.text("unable to ")
        .bytes(step)
        .because(b"", failure.errno());
    line
}

/// What the caller wrote and cannot be done.
pub fn usage(argv: Strings, usage: Usage) {
    let word = argv
        .get(usage.place())
        .map_or(&b"COMMAND"[..], CStr::to_bytes);
    let mut line = Line::new();
    line.text("unable to use ").quoted(word);
    line.because(usage.text(), usage.errno());
    line.text("; see phasebox --help").send();
}

/// COMMAND could not be executed. Of "argument list too long" the sizes are told: the kernel says
/// neither what is too long nor how long it is.
pub fn not_executed(argv: Strings, envp: Strings, errno: Errno) {
    let mut line = Line::new();
    line.text("unable to execute ");
    line.quoted(argv.get(0).unwrap_or_default().to_bytes());
    line.because(b"", errno);
    if errno == Errno::E2BIG {
        let (mut sizes, mut largest) = ([0, 0], c"");
        for (size, strings) in sizes.iter_mut().zip([argv, envp]) {
            largest = c"";
            for string in strings.iter() {
                *size += string.count_bytes() as u64 + 1;
                if string.count_bytes() > largest.count_bytes() {
                    largest = string;
                }
            }
        }
        let [arguments, environment] = sizes;
        line.text("; arguments: ").number(arguments);
        line.text(" bytes, environment: ").number(environment);
        line.text(" bytes, the largest with ");
        line.number(largest.count_bytes() as u64 + 1);
        line.text(" bytes: ").quoted(cli::option_part(largest));
    }
    line.send();
}

/// Processes to be named in a line.
pub struct Processes {
    line: Line,
    count: u64,
}

/// How many are named; the others are counted.
const NAMED: u64 = 8;

impl Processes {
    /// None.
    #[must_use]
    pub fn new() -> Processes {
        Processes {
            line: Line(Text::new()),
            count: 0,
        }
    }

    /// Adds one, by pid and, where there is a /proc, by name.
    pub fn add(&mut self, pid: Pid) {
        self.count += 1;
        if self.count > NAMED {
            return;
        }
        if self.count > 1 {
            self.line.text(", ");
        }
        let mut name = [0; 64];
        let name = process_name(pid, &mut name).unwrap_or(b"pid");
        self.line
            .foreign(name)
            .text(" (")
            .number(u64::from(pid.number()))
            .text(")");
    }

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends `line` with the names.
    fn end(&self, line: &mut Line) {
        line.bytes(self.line.0.as_bytes());
        if self.count > NAMED {
            line.text(" and ").number(self.count - NAMED).text(" more");
        }
        line.send();
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

/// /proc/PID/comm. proc(5).
fn process_name(pid: Pid, buffer: &mut [u8]) -> Option<&[u8]> {
    let mut path = Text::<32>::new();
    path.push(b"/proc/").ok()?;
    path.push_number(u64::from(pid.number())).ok()?;
    path.push(b"/comm").ok()?;
    let file = fd::openat(Fd::CWD, path.as_cstr(), fd::Mode::Read).ok()?;
    let length = fd::read(file.fd(), buffer).ok()?;
    buffer.get(..length)?.strip_suffix(b"\n")
}

/// The line about leftovers that were killed.
pub fn leftovers(killed: &Processes) {
    let text = if killed.count() == 1 {
        " leftover: "
    } else {
        " leftovers: "
    };
    killed.end(
        Line::new()
            .text("killed ")
            .number(killed.count())
            .text(text),
    );
}

/// The line about processes that would not die.
pub fn survivors(left: &Processes) {
    let mut line = unable_to(Failure::new(Step::EmptyGroup, Errno::EBUSY));
    left.end(line.text("; still there: "));
}

macro_rules! advice {
    ($($advice:ident $text:literal: $($step:ident $errno:ident),+;)*) => {
        #[derive(Clone, Copy)]
        enum Advice { $($advice),* }

        const ADVICE: &[(Step, u8, Advice)] =
            &[$($((Step::$step, Errno::$errno.number() as u8, Advice::$advice)),+),*];
        const TEXTS: &str = concat!($($text, "\n"),*);
    };
}

// What to do about a failure, as far as the step and the error tell.
advice! {
    NoSetId "install this build without a set-id bit": RunSetId EPERM;
    AllowUsers "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, \
        kernel.apparmor_restrict_unprivileged_userns; not in a chroot)":
        UserNamespace EPERM, UserNamespace EACCES, MapIds EPERM, MapIds EACCES;
    MoreUsers "run as root, or raise sysctl user.max_user_namespaces":
        UserNamespace ENOSPC, UserNamespace EUSERS;
    NoUsers "run as root: this kernel has no user namespaces":
        UserNamespace EINVAL, UserNamespace ENOSYS;
    MountProc "mount /proc": MapIds ENOENT;
    MoreNet "raise sysctl user.max_net_namespaces, user.max_uts_namespaces": NetNamespace ENOSPC;
    MoreIpc "raise sysctl user.max_ipc_namespaces": IpcNamespace ENOSPC;
    MorePid "raise sysctl user.max_pid_namespaces": PidNamespace ENOSPC;
    MoreMount "raise sysctl user.max_mnt_namespaces": MountNamespace ENOSPC;
    Capability "CAP_SYS_ADMIN is missing, or seccomp forbids it":
        NetNamespace EPERM, IpcNamespace EPERM, PidNamespace EPERM, MountNamespace EPERM;
    NotBuilt "this kernel is built without it":
        NetNamespace EINVAL, IpcNamespace EINVAL, PidNamespace EINVAL, MountNamespace EINVAL;
    NetCapability "CAP_NET_ADMIN is missing": LoopbackUp EPERM;
    MountCgroup "mount cgroup2, or use --pid":
        FindGroup ENOENT, FindGroup ENODEV;
    WriteCgroup "make the cgroup file system writable, or use --pid":
        MakeGroup EROFS, MakeGroup EACCES, MakeGroup EPERM;
    MoreGroups "raise cgroup.max.descendants or cgroup.max.depth": MakeGroup EAGAIN;
    CoveredProc "mounts cover parts of /proc: leave out --pid": MountProc EPERM;
}

fn advice(failure: Failure) -> &'static [u8] {
    for (step, errno, advice) in ADVICE {
        if Failure::new(*step, Errno::from_raw((*errno).into())) == failure {
            return nth_line(TEXTS, *advice as usize);
        }
    }
    b""
}

/// Whether standard output took all of `text`.
#[must_use]
pub fn print(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match fd::write(Fd::STDOUT, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                failure(Failure::new(Step::Print, errno));
                return false;
            }
        }
    }
    true
}

/// Adds every process that /proc shows, but for pid 1.
pub fn add_all_but_init(found: &mut Processes) {
    let Ok(proc) = fd::openat(Fd::CWD, c"/proc", fd::Mode::Directory) else {
        return;
    };
    let mut listing = fs::Listing::new();
    while listing.read(proc.fd()).unwrap_or(false) {
        for entry in listing.entries().filter(|entry| entry.is_directory) {
            let number = crate::accounts::parse_id(entry.name.to_bytes()).unwrap_or(0);
            if number > 1 {
                Pid::new(number).into_iter().for_each(|pid| found.add(pid));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &Line) -> std::string::String {
        std::string::String::from_utf8(line.0.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_failure_reads_as_the_contract_says() {
        let failed = Failure::new(Step::LoopbackUp, Errno::EPERM);
        assert_eq!(
            shown(unable_to(failed).advice(advice(failed))),
            "phasebox: unable to set the loopback up: operation not permitted (EPERM); \
             CAP_NET_ADMIN is missing",
        );
    }

    #[test]
    fn an_error_without_a_name_is_shown_by_number() {
        let mut line = Line::new();
        line.because(b"", Errno::from_raw(524));
        assert_eq!(shown(&line), "phasebox: : unexpected error (errno 524)");
    }

    #[test]
    fn what_comes_from_outside_cannot_drive_a_terminal() {
        let mut line = Line::new();
        line.foreign(b"a\x1b]0;x\x07\n\xff b");
        assert_eq!(shown(&line), "phasebox: a?]0;x??? b");
        let mut long = Line::new();
        long.foreign(&[b'a'; 500]);
        assert!(shown(&long).len() < 100 && shown(&long).ends_with("a..."));
    }

    #[test]
    fn many_processes_are_counted_and_some_named() {
        let mut many = Processes::new();
        for number in 0..20 {
            many.add(Pid::new(i32::MAX as u32 - number).unwrap());
        }
        let named = shown(&many.line);
        assert!(
            named.starts_with("pid (2147483647), pid (2147483646)"),
            "{named}"
        );
        assert_eq!(named.matches("pid").count(), 8);
        assert_eq!(many.count(), 20);
    }
}
