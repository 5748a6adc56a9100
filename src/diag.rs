//! Messages: one line on standard error, one write, only printable ASCII.
#![forbid(unsafe_code)]

use crate::cli::Usage;
use crate::step::{Failure, Step};
use crate::sys::args::Strings;
use crate::sys::fd::{self, Fd};
use crate::sys::path::Text;
use crate::sys::process::Pid;
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
        // What does not fit is left out; the line is for people.
        let _ = self.0.push(text.as_bytes());
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
            let shown = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'?' };
            let _ = self.0.push(&[shown]);
        }
        if word.len() > WORD_MAX { self.text("...") } else { self }
    }

    /// Adds `: REASON (ERRNO NAME)`; without a reason, what the errno means.
    pub fn because(&mut self, reason: &str, errno: Errno) -> &mut Line {
        let (name, meaning) = errno.describe().unwrap_or(("", "unexpected error"));
        self.text(": ").text(if reason.is_empty() { meaning } else { reason });
        self.text(" (").text(name);
        if name.is_empty() {
            self.text("errno ").number(errno.number() as u64);
        }
        self.text(")")
    }

    /// Adds `; ADVICE` where there is any.
    pub fn advice(&mut self, advice: &str) -> &mut Line {
        if advice.is_empty() { self } else { self.text("; ").text(advice) }
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
pub fn degraded(reason: Failure, isolation: &str) {
    unable_to(reason).text("; going on without ").text(isolation).send();
}

fn unable_to(failure: Failure) -> Line {
    let mut line = Line::new();
    let step = failure.step().map_or("", Step::text);
    line.text("unable to ").text(step).because("", failure.errno());
    line
}

/// What the caller wrote and cannot be done.
pub fn usage(usage: Usage<'_>) {
    Line::new()
        .text("unable to use '")
        .foreign(usage.word)
        .text("'")
        .because(usage.reason, usage.errno)
        .advice("see phasebox --help")
        .send();
}

/// COMMAND could not be executed. Of "argument list too long" the sizes are told: the kernel says
/// neither what is too long nor how long it is.
pub fn not_executed(argv: Strings, envp: Strings, errno: Errno) {
    let command = argv.get(0).unwrap_or_default().to_bytes();
    let mut line = Line::new();
    line.text("unable to execute '").foreign(command).text("'").because("", errno);
    if errno == Errno::E2BIG {
        let size = |strings: Strings| {
            strings.iter().map(|string| string.count_bytes() as u64 + 1).sum::<u64>()
        };
        let largest = envp.iter().max_by_key(|variable| variable.count_bytes()).unwrap_or_default();
        let name = largest.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        line.text("; arguments: ")
            .number(size(argv))
            .text(" bytes, environment: ")
            .number(size(envp))
            .text(" bytes, its largest variable: ")
            .foreign(name)
            .text(" with ")
            .number(largest.count_bytes() as u64 + 1)
            .text(" bytes");
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
        Processes { line: Line(Text::new()), count: 0 }
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
        self.line.foreign(name).text(" (").number(u64::from(pid.number())).text(")");
    }

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends `line` with the names.
    fn end(&self, line: &mut Line) {
        line.text(core::str::from_utf8(self.line.0.as_bytes()).unwrap_or_default());
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
    let text = if killed.count() == 1 { " leftover: " } else { " leftovers: " };
    killed.end(Line::new().text("killed ").number(killed.count()).text(text));
}

/// The line about processes that would not die.
pub fn survivors(left: &Processes) {
    let mut line = unable_to(Failure::new(Step::EmptyGroup, Errno::EBUSY));
    left.end(line.text("; still there: "));
}

/// What to do about a failure, as far as the step and the error tell.
fn advice(failure: Failure) -> &'static str {
    let Some(step) = failure.step() else {
        return "";
    };
    match (step, failure.errno()) {
        (Step::RunSetId, _) => "this build is not made for a set-id bit: install it without",
        (Step::UserNamespace, Errno::EPERM | Errno::EACCES) => {
            "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns; never in a chroot)"
        }
        (Step::UserNamespace, Errno::ENOSPC | Errno::EUSERS) => {
            "run as root, or raise the sysctls user.max_user_namespaces and user.max_pid_namespaces"
        }
        (Step::UserNamespace, Errno::EINVAL | Errno::ENOSYS) => {
            "run as root: this kernel has no user namespaces"
        }
        (Step::MapIds, Errno::ENOENT) => "mount /proc: a user namespace is set up through it",
        (Step::MapIds, Errno::EPERM | Errno::EACCES) => {
            "run as root: user namespaces are restricted here \
             (sysctl kernel.apparmor_restrict_unprivileged_userns)"
        }
        (Step::NetNamespace, Errno::ENOSPC) => "raise the sysctl user.max_net_namespaces",
        (Step::IpcNamespace, Errno::ENOSPC) => "raise the sysctl user.max_ipc_namespaces",
        (Step::PidNamespace, Errno::ENOSPC) => "raise the sysctl user.max_pid_namespaces",
        (Step::MountNamespace, Errno::ENOSPC) => "raise the sysctl user.max_mnt_namespaces",
        (Step::HostNameNamespace, Errno::ENOSPC) => "raise the sysctl user.max_uts_namespaces",
        (
            Step::NetNamespace
            | Step::HostNameNamespace
            | Step::IpcNamespace
            | Step::PidNamespace
            | Step::MountNamespace,
            errno,
        ) => match errno {
            Errno::EPERM => "CAP_SYS_ADMIN is missing or a filter (seccomp) forbids it",
            Errno::EINVAL => "this kernel is built without it",
            _ => "",
        },
        (Step::LoopbackUp, Errno::EPERM) => "CAP_NET_ADMIN is missing",
        (Step::FindGroup, Errno::ENOENT | Errno::ENODEV) => {
            "mount a cgroup2 file system at /sys/fs/cgroup, or use --pid instead of --cgroup"
        }
        (Step::MakeGroup, Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
            "make the cgroup file system writable, or use --pid instead of --cgroup"
        }
        (Step::MakeGroup, Errno::EAGAIN) => {
            "raise cgroup.max.descendants or cgroup.max.depth of the groups above"
        }
        (Step::MountProc, Errno::EPERM) => {
            "parts of /proc are covered by other mounts here: leave out --pid"
        }
        _ => "",
    }
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

/// Names every process that /proc shows and `wanted` chooses.
pub fn processes_in_proc(found: &mut Processes, wanted: impl Fn(Pid) -> bool) {
    let Ok(proc) = fd::openat(Fd::CWD, c"/proc", fd::Mode::Directory) else {
        return;
    };
    let mut listing = fs::Listing::new();
    while listing.read(proc.fd()).unwrap_or(false) {
        for entry in listing.entries() {
            let number = crate::accounts::parse_id(entry.name.to_bytes());
            match number.ok().and_then(Pid::new) {
                Some(pid) if wanted(pid) => found.add(pid),
                _ => {}
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
            "phasebox: unable to set the loopback interface up: operation not permitted (EPERM); \
             CAP_NET_ADMIN is missing",
        );
    }

    #[test]
    fn an_error_without_a_name_is_shown_by_number() {
        let mut line = Line::new();
        line.because("", Errno::from_raw(524));
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
        assert!(named.starts_with("pid (2147483647), pid (2147483646)"), "{named}");
        assert_eq!(named.matches("pid").count(), 8);
        assert_eq!(many.count(), 20);
    }
}
