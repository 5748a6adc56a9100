//! Messages: one line on standard error, one write, only printable ASCII.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::cli::{self, Usage};
use crate::lent;
use crate::plan::Plan;
use crate::policy::Isolation;
use crate::step::{Failure, Step};
use crate::sys::args::Strings;
use crate::sys::fd::{self, Fd};
use crate::sys::packed::{Packed, packed};
use crate::sys::path::Text;
use crate::sys::process::Pid;
use crate::sys::{Errno, Result as SysResult, fs};

/// A line that is cut where it gets too long.
pub struct Line(Text<1024>);

/// How much of a word from outside is shown.
pub const WORD_MAX: usize = 80;

impl Line {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Line {
        Line(Text::new())
    }

    /// Adds text of the program's own.
    #[inline(never)]
    pub fn text(&mut self, text: Packed) {
        self.number(text, 0);
    }

    /// The same with a number in place of `%`.
    #[inline(never)]
    pub fn number(&mut self, text: Packed, number: u64) {
        text.unpack(&mut self.0, number);
    }

    /// Adds bytes of the program's own.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        // What does not fit is left out; the line is for people.
        let _ = self.0.push(bytes);
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Adds text from outside: what could drive a terminal is shown as `?` (CVE-2023-28486). With a
    /// backslash before what would end a string of JSON.
    #[inline(never)]
    pub fn foreign(&mut self, word: &[u8], in_json: bool) {
        for byte in word.iter().take(WORD_MAX) {
            if in_json && matches!(*byte, b'"' | b'\\') {
                self.bytes(b"\\");
            }
            self.bytes(&[match *byte {
                // Between the words of a command line.
                0 => b' ',
                b' '..=b'~' => *byte,
                _ => b'?',
            }]);
        }
        if word.len() > WORD_MAX {
            self.text(packed!("..."));
        }
    }

    /// The same in quotes.
    #[inline(never)]
    fn quoted(&mut self, word: &[u8]) {
        self.text(packed!("'"));
        self.foreign(word, false);
        self.text(packed!("'"));
    }

    /// Adds `: MEANING (ERRNO NAME)`.
    #[inline(never)]
    fn because(&mut self, errno: Errno) {
        self.text(packed!(": "));
        self.number(errno.text(), errno.number() as u64);
    }

    /// Adds `; ADVICE` where there is any.
    fn advice(&mut self, advice: Packed) {
        if !advice.is_empty() {
            self.text(packed!("; "));
            self.text(advice);
        }
    }

    /// Begins with `phasebox: unable to WHAT`.
    #[inline(never)]
    fn unable_to(&mut self, what: Packed) {
        self.text(packed!("phasebox: unable to "));
        self.text(what);
    }

    /// Begins with what failed and why.
    #[inline(never)]
    fn unable_to_step(&mut self, failure: Failure) {
        self.unable_to(failure.text());
        self.because(failure.errno());
    }

    /// Ends it with `text` and writes it to standard error. Nothing can be done where that fails.
    fn send(&mut self, text: Packed) {
        let _ = self.send_to(text, Fd::STDERR);
    }

    /// Ends it with `text` and writes it.
    ///
    /// # Errors
    /// As write(2).
    #[inline(never)]
    pub fn send_to(&mut self, text: Packed, told: Fd) -> SysResult<usize> {
        self.text(text);
        fd::write(told, self.0.as_bytes())
    }
}

/// `unable to STEP: MEANING (ERRNO NAME)`, and what to do.
pub fn failure(failure: Failure) {
    tell(failure, packed!(""));
}

/// The same of a box that cannot be had, and why the program's file lent nothing to make it with.
pub fn no_box(failure: Failure, plan: &Plan) {
    tell(failure, lent::why_nothing(&plan.caller, plan.program));
}

#[inline(never)]
fn tell(failure: Failure, why: Packed) {
    let mut line = Line::new();
    line.unable_to_step(failure);
    line.advice(advice(failure));
    if !why.is_empty() {
        line.advice(packed!("its set-id bit or capabilities had no effect: "));
        line.text(why);
    }
    line.send(packed!("\n"));
}

/// The same, of an isolation that `--best-effort` goes on without.
pub fn degraded(failure: Failure, kind: Isolation) {
    const NAMES: Packed = packed!("network\nIPC\ncontrol group\nPID\nmount");
    let mut line = Line::new();
    line.unable_to_step(failure);
    line.text(packed!("; going on without "));
    line.text(NAMES.line(kind.index()));
    line.send(packed!(" isolation\n"));
}

/// What the caller wrote and cannot be done.
pub fn usage(argv: Strings, usage: Usage) {
    let word = argv.get(usage.place()).unwrap_or(c"COMMAND");
    let mut line = Line::new();
    line.unable_to(packed!("use "));
    line.quoted(word.to_bytes());
    line.text(packed!(": "));
    line.text(usage.text());
    line.send(packed!("; see phasebox --help\n"));
}

/// COMMAND could not be executed. Of "argument list too long" the sizes are told: the kernel says
/// neither what is too long nor how long it is.
pub fn not_executed(argv: Strings, envp: Strings, errno: Errno) {
    let mut line = Line::new();
    line.unable_to(packed!("execute "));
    line.quoted(argv.first().unwrap_or_default().to_bytes());
    line.because(errno);
    if errno == Errno::E2BIG {
        let (arguments, _) = measure(argv);
        let (environment, largest) = measure(envp);
        line.number(packed!("; arguments: % bytes"), arguments);
        line.number(packed!(", environment: % bytes"), environment);
        line.number(packed!(", the largest with % bytes: "), size(largest));
        line.quoted(cli::option_part(largest.to_bytes()));
    }
    line.send(packed!("\n"));
}

/// The bytes of all strings, and the largest of them.
#[inline(never)]
fn measure(strings: Strings) -> (u64, &'static CStr) {
    let (mut sum, mut largest) = (0, c"");
    for string in strings.iter() {
        sum += size(string);
        if size(string) > size(largest) {
            largest = string;
        }
    }
    (sum, largest)
}

/// A string's bytes, its NUL among them.
fn size(string: &CStr) -> u64 {
    string.to_bytes_with_nul().len() as u64
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

/// Processes to be named in a line.
pub struct Processes {
    count: u64,
    line: Line,
}

/// How many are named; the others are counted.
const NAMED: u64 = 8;

impl Processes {
    /// None.
    #[must_use]
    pub const fn new() -> Processes {
        Processes {
            count: 0,
            line: Line::new(),
        }
    }

    /// Adds one, by pid and, where there is a /proc, by name.
    #[inline(never)]
    pub fn add(&mut self, pid: Pid) {
        self.count += 1;
        if self.count > NAMED {
            return;
        }
        if self.count > 1 {
            self.line.text(packed!(", "));
        }
        let mut name = [0; 64];
        let name = process_text(pid, NAME, &mut name);
        self.line.foreign(name.unwrap_or(b"pid"), false);
        self.line.number(packed!(" (%)"), pid.number().into());
    }

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends `line` with the names.
    fn end(&self, line: &mut Line, told: Fd) {
        line.bytes(self.line.0.as_bytes());
        if self.count > NAMED {
            line.number(packed!(" and % more"), self.count - NAMED);
        }
        let _ = line.send_to(packed!("\n"), told);
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

/// Its name. proc_pid_comm(5).
pub const NAME: Packed = packed!("/proc/%/comm");

/// What /proc says of a process, without the byte that ends it; only the beginning of what is
/// longer than `buffer`. None where the process is gone, or there is no /proc.
pub fn process_text(pid: Pid, file: Packed, buffer: &mut [u8]) -> Option<&[u8]> {
    let mut path = Line::new();
    path.number(file, pid.number().into());
    let text = fd::read_file(path.0.as_cstr(), buffer).ok()?;
    text.split_last().map(|(_, text)| text)
}

/// The line about leftovers that are killed, if there are any.
pub fn leftovers(killed: &Processes, told: Fd) {
    if killed.count() == 0 {
        return;
    }
    let mut line = Line::new();
    let text = if killed.count() == 1 {
        packed!("phasebox: killed % leftover: ")
    } else {
        packed!("phasebox: killed % leftovers: ")
    };
    line.number(text, killed.count());
    killed.end(&mut line, told);
}

/// The line about processes that would not die.
pub fn survivors(left: &Processes, told: Fd) {
    let mut line = Line::new();
    line.unable_to_step(Failure::new(Step::EmptyGroup, Errno::EBUSY));
    line.text(packed!("; still there: "));
    left.end(&mut line, told);
}

/// Passes on a line that another process of the program wrote.
pub fn relay(line: &[u8]) {
    let _ = fd::write(Fd::STDERR, line);
}

macro_rules! advice {
    ($($advice:ident $text:literal: $($step:ident $errno:ident),+;)*) => {
        #[derive(Clone, Copy)]
        enum Advice { $($advice),* }

        const ADVICE: &[(Step, u8, Advice)] =
            &[$($((Step::$step, Errno::$errno.number() as u8, Advice::$advice)),+),*];
        const TEXTS: Packed = packed!(concat!($($text, "\n"),*));
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

fn advice(failure: Failure) -> Packed {
    for (step, errno, advice) in ADVICE {
        if Failure::new(*step, Errno::from_raw((*errno).into())) == failure {
            return TEXTS.line(*advice as usize);
        }
    }
    Packed::new(b"")
}

/// Whether standard output took all of a text.
#[must_use]
pub fn print(packed: Packed) -> bool {
    let mut text = Text::<2048>::new();
    packed.unpack(&mut text, 0);
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
    while let Some(name) = listing.next_directory(proc.fd()) {
        let number = crate::accounts::parse_id(name.to_bytes()).unwrap_or(0);
        if number > 1 {
            Pid::new(number).into_iter().for_each(|pid| found.add(pid));
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
        let mut line = Line::new();
        line.unable_to_step(failed);
        assert_eq!(
            shown(&line),
            "phasebox: unable to set the loopback up: operation not permitted (EPERM)",
        );
        assert_eq!(advice(failed).text(), "CAP_NET_ADMIN is missing");
    }

    #[test]
    fn an_error_without_a_name_is_shown_by_number() {
        let mut line = Line::new();
        line.because(Errno::from_raw(524));
        assert_eq!(shown(&line), ": unexpected error (errno 524)");
    }

    #[test]
    fn what_comes_from_outside_cannot_drive_a_terminal() {
        let mut line = Line::new();
        line.foreign(b"a\x1b]0;x\x07\n\xff b", false);
        assert_eq!(shown(&line), "a?]0;x??? b");
        let mut long = Line::new();
        long.foreign(&[b'a'; 500], false);
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
