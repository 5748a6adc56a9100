//! Boxes of every kind, each in a control group of the test's own: neither what other tests start
//! nor what they clear away is in there.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;

/// What the contract calls one second, on a machine that has more to do than this.
pub const ONE_SECOND: Duration = Duration::from_secs(10);

/// Every process that a scene starts has this variable, however it changes its arguments.
const MARK: &str = "PHASEBOX_TEST";

/// Who makes a box, and of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Root, a control group.
    Group,
    /// Root, a PID namespace.
    Pid,
    /// Root, both.
    GroupAndPid,
    /// A user without a group to make others in: a PID namespace stands in for it. Where the
    /// program's file lends rights, a control group beside the user's own processes.
    Rootless,
    /// A user whose group is delegated: a control group in it. Where the program's file lends
    /// rights, above it, out of the user's reach.
    Delegated,
    /// A user to whom rights are lent, a PID namespace.
    LentPid,
    /// A user to whom rights are lent, both.
    LentGroupAndPid,
}

use Kind::*;

impl Kind {
    /// Those that there are with the program as it is installed.
    pub fn all() -> Vec<Kind> {
        let mut all = vec![Group, Pid, GroupAndPid, Rootless, Delegated];
        if lent() {
            all.extend([LentPid, LentGroupAndPid]);
        }
        if emulated() {
            all.retain(|kind| !kind.has_init());
        }
        all
    }

    pub fn with_group() -> Vec<Kind> {
        Kind::all().into_iter().filter(|k| k.has_group()).collect()
    }

    pub fn with_init() -> Vec<Kind> {
        Kind::all().into_iter().filter(|k| k.has_init()).collect()
    }

    /// A control group and no PID namespace.
    pub fn with_group_alone() -> Vec<Kind> {
        let mut found = Kind::with_group();
        found.retain(|kind| !kind.has_init());
        found
    }

    /// Those whose command may make groups in the box's own.
    pub fn with_group_to_write() -> Vec<Kind> {
        let mut found = Kind::with_group();
        found.retain(|kind| !kind.is_lent());
        found
    }

    pub fn has_group(self) -> bool {
        match self {
            Group | GroupAndPid | Delegated | LentGroupAndPid => true,
            Rootless => lent(),
            Pid | LentPid => false,
        }
    }

    pub fn has_init(self) -> bool {
        match self {
            Pid | GroupAndPid | LentPid | LentGroupAndPid => true,
            Rootless => !lent(),
            Group | Delegated => false,
        }
    }

    /// Whether the caller is [`USER`].
    pub fn is_users(self) -> bool {
        !matches!(self, Group | Pid | GroupAndPid)
    }

    /// Whether the box is made with rights that the caller does not have: then its group and its
    /// guard are root's.
    pub fn is_lent(self) -> bool {
        self.is_users() && lent()
    }

    /// Whom the box's group and its guard belong to.
    pub fn owner(self) -> u32 {
        if self.is_users() && !lent() { USER } else { 0 }
    }

    pub fn option(self) -> &'static str {
        match self {
            Pid | LentPid => "-p",
            GroupAndPid | LentGroupAndPid => "-cp",
            Group | Rootless | Delegated => "-c",
        }
    }
}

/// A place to start boxes of one kind in.
pub struct Scene {
    pub kind: Kind,
    /// Where the groups of boxes are.
    pub group: TestGroup,
    /// Where their callers are: there, or below, where the user may write.
    home: PathBuf,
    mark: String,
}

impl Scene {
    pub fn new(kind: Kind) -> Scene {
        let delegated: &[&str] = match kind {
            Delegated => &[
                "",
                "cgroup.procs",
                "cgroup.threads",
                "cgroup.subtree_control",
            ],
            _ => &[],
        };
        Scene::delegating(kind, delegated)
    }

    /// A scene of which these files are the user's in the group of the boxes' callers.
    pub fn delegating(kind: Kind, files: &[&str]) -> Scene {
        let group = TestGroup::new("scene");
        let mut home = group.0.clone();
        if kind.is_lent() && !files.is_empty() {
            home.push("delegated");
            fs::create_dir(&home).unwrap();
        }
        for file in files {
            give_file(&home.join(file), USER);
        }
        Scene {
            kind,
            group,
            home,
            mark: token("mark"),
        }
    }

    /// `words`, boxed.
    pub fn boxed(&self, words: &[&str]) -> Command {
        self.boxed_with(&[], words)
    }

    /// `words`, boxed with more options.
    pub fn boxed_with(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.outside(program().to_str().unwrap());
        command
            .arg(self.kind.option())
            .args(options)
            .arg("--")
            .args(words);
        command
    }

    /// A shell script, boxed.
    pub fn script(&self, script: &str) -> Command {
        self.boxed(&["sh", "-c", script])
    }

    /// `name`, not boxed, but in the scene's group, marked and as the box's caller.
    pub fn outside(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env(MARK, &self.mark);
        start_in(&mut command, &self.home);
        if self.kind.is_users() {
            become_user(&mut command);
        }
        command
    }

    /// Has `command` carry the scene's mark, wherever it is started.
    pub fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.mark);
    }

    /// The living processes of the scene: stubs, guards and inits too.
    pub fn alive(&self) -> Vec<u32> {
        with_variable(&format!("{MARK}={}", self.mark))
    }

    /// The groups of boxes.
    pub fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.group.0)
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let mut found: Vec<PathBuf> = entries
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("phasebox:") && name != "phasebox:guards"
            })
            .collect();
        found.sort();
        found
    }

    /// Where the callers of boxes are.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The group that the guards of such boxes are in, as long as they live.
    pub fn guards_group(&self) -> PathBuf {
        if self.home == self.group.0 {
            self.home.clone()
        } else {
            // Root's alone: not where the user can kill all at once.
            self.group.0.join("phasebox:guards")
        }
    }

    /// The group of the only box.
    pub fn only_group(&self) -> PathBuf {
        let mut groups = self.groups();
        assert_eq!(groups.len(), 1, "{groups:?}");
        groups.remove(0)
    }

    /// Asserts that no process and no group is left, now.
    pub fn assert_nothing_left(&self) {
        let alive: Vec<String> = self.alive().into_iter().map(describe).collect();
        assert!(alive.is_empty(), "{:?}: still alive: {alive:?}", self.kind);
        assert!(
            self.groups().is_empty(),
            "{:?}: still there: {:?}",
            self.kind,
            self.groups()
        );
    }

    /// Waits until no process of the scene is alive; gives the time that it took.
    pub fn until_dead(&self) -> Duration {
        let start = Instant::now();
        let end = start + LONG;
        loop {
            let alive = self.alive();
            if alive.is_empty() {
                return start.elapsed();
            }
            let named: Vec<String> = alive.into_iter().map(describe).collect();
            assert!(
                Instant::now() < end,
                "{:?}: still alive: {named:?}",
                self.kind
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until nothing is left, and asserts that it took what is allowed after a SIGKILL.
    pub fn assert_gone_in_time(&self) {
        let took = self.until_dead();
        assert!(took < ONE_SECOND, "{:?}: {took:?}", self.kind);
        // The guard's last step, before its own end.
        assert!(
            self.groups().is_empty(),
            "{:?}: still there: {:?}",
            self.kind,
            self.groups()
        );
    }

    /// Leaves a group behind whose stub and guard are dead: they die before either can see the
    /// other's death. What the box's command started lives on.
    pub fn kill_stub_and_guard(&self, live: &mut Live) {
        assert!(self.kind.has_group());
        let guard = guard_of(live.stub());
        kill(live.stub(), libc::SIGSTOP);
        eventually("the stub is stopped", || state(live.stub()) == Some('T'));
        kill(guard, libc::SIGKILL);
        eventually("the guard is dead", || {
            matches!(state(guard), None | Some('Z'))
        });
        kill(live.stub(), libc::SIGKILL);
        live.status();
    }
}

/// A process, for a message.
fn describe(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!(
        "{} {} {:?} {}",
        pid,
        name(pid),
        state(pid),
        text(&arguments).replace('\0', " ")
    )
}

/// A process that runs while the test talks to it: by lines on its standard input and output.
/// Killed at the end of the test.
pub struct Live {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines,
    errors: Lines,
}

impl Live {
    pub fn start(mut command: Command) -> Live {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Live {
            input: child.stdin.take(),
            output: Lines::new(child.stdout.take().unwrap().into()),
            errors: Lines::new(child.stderr.take().unwrap().into()),
            child,
        }
    }

    /// Starts a script that writes a line when it is ready, and waits for that.
    pub fn ready(command: Command) -> Live {
        let mut live = Live::start(command);
        let line = live.line();
        assert_eq!(line, "ready", "{}", live.errors.buffered());
        live
    }

    /// The process itself, which is a box's stub.
    pub fn stub(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        match self.output.line() {
            Some(line) => line,
            None => panic!("the output has ended: {}", self.errors.rest()),
        }
    }

    /// Writes a line to its input.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end.
    pub fn status(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }

    /// Waits for its end and for the end of what it and its children write; gives the status, the
    /// rest of the output, the errors.
    pub fn end(&mut self) -> (ExitStatus, String, String) {
        drop(self.input.take());
        let status = self.status();
        (status, self.output.rest(), self.errors.rest())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What arrives at the end of a pipe or at a terminal, read with a bound.
pub struct Lines {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn new(fd: OwnedFd) -> Lines {
        Lines {
            fd,
            buffer: Vec::new(),
        }
    }

    /// Reads once; false at the end.
    fn fill(&mut self) -> bool {
        let mut entry = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives across the call.
        let ready = unsafe { libc::poll(&raw mut entry, 1, LONG.as_millis() as i32) };
        assert_eq!(ready, 1, "nothing more to read, but: {:?}", self.buffered());
        let mut chunk = [0u8; 4096];
        // SAFETY: at most as many bytes as the array has.
        let read =
            unsafe { libc::read(self.fd.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len()) };
        // EIO is a terminal's end.
        let read = usize::try_from(read).unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// The next line, without its end; none at the end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(position) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=position).collect();
                return Some(text(&line).trim_end().to_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> String {
        while self.fill() {}
        let rest = std::mem::take(&mut self.buffer);
        text(&rest)
    }

    /// Everything up to and with `wanted`.
    pub fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(start) = self.buffered().find(wanted) {
                let taken: Vec<u8> = self.buffer.drain(..start + wanted.len()).collect();
                return text(&taken);
            }
            assert!(self.fill(), "no {wanted:?} in {:?}", self.buffered());
        }
    }

    fn buffered(&self) -> String {
        // Byte for byte, so that positions are right whatever comes.
        self.buffer
            .iter()
            .map(|byte| if byte.is_ascii() { *byte as char } else { '?' })
            .collect()
    }
}

/// Compiles `source` once for all tests of a file.
pub fn compiled(place: &'static std::sync::OnceLock<PathBuf>, source: &str) -> &'static str {
    place
        .get_or_init(|| compile("program", source))
        .to_str()
        .unwrap()
}

/// A label for a box that no other test uses.
pub fn label() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "label-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// What a script needs to find its own group's directory, as `$g`.
pub fn find_own_group() -> String {
    format!(
        "g={}$(sed -n s/^0:://p /proc/self/cgroup); ",
        cgroup_mount().display()
    )
}

/// Runs `body` for each kind, in threads of their own at the same time.
pub fn for_each_kind(kinds: &[Kind], body: impl Fn(Kind) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = kinds
            .iter()
            .map(|kind| scope.spawn(|| body(*kind)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// A process being traced by this thread; let go when dropped.
pub struct Traced(pub u32);

impl Traced {
    /// PTRACE_SEIZE, with options.
    pub fn seize(pid: u32, options: i32) -> Traced {
        // SAFETY: numbers only.
        let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0usize, options as usize) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Traced(pid)
    }

    /// Waits until it stops.
    pub fn wait(&self) -> i32 {
        let mut status = 0;
        eventually("the traced process stops", || {
            let options = libc::__WALL | libc::WNOHANG;
            // SAFETY: the kernel writes one int.
            let found = unsafe { libc::waitpid(self.0 as i32, &raw mut status, options) };
            assert!(found >= 0, "{}", std::io::Error::last_os_error());
            found > 0
        });
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        status
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: numbers only.
        let detach = || unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0usize, 0usize) } == 0;
        if detach() {
            return;
        }
        // Only what is stopped can be let go. What is dead need not be.
        // SAFETY: numbers only.
        unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, self.0, 0usize, 0usize) };
        eventually("the traced process is let go", || {
            matches!(state(self.0), None | Some('Z')) || detach()
        });
    }
}
