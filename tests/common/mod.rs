//! What the tests share: the program as installed, callers of different rights, and ways to wait
//! for events instead of sleeping.
//!
//! Nothing here is a mock: the tests run the real program as real users on the real kernel.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub mod installed;

/// An ordinary user, without an entry in /etc/passwd.
pub const USER: u32 = 64101;

/// A bound for everything that is waited for: far more than it takes on a loaded machine, or in an
/// emulator.
pub const LONG: Duration = Duration::from_secs(180);

/// Leaves a test that cannot run here, visibly: the line is written past the harness's capture,
/// and `.ci/run` fails on it.
#[macro_export]
macro_rules! skip {
    ($reason:expr) => {{
        use std::io::Write as _;
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let line = format!("SKIPPED {}::{}: {}\n", module_path!(), name, $reason);
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }};
}

/// Skips a test that needs root.
#[macro_export]
macro_rules! needs_root {
    () => {
        // SAFETY: geteuid has no error.
        if unsafe { libc::geteuid() } != 0 {
            skip!("needs root");
        }
    };
}

/// Leaves a test of what a program that lends rights does not do, or of what does not depend on how
/// the program is installed: the run of `make test` has it.
#[macro_export]
macro_rules! plain_install_only {
    () => {
        if $crate::common::lent() {
            return;
        }
    };
}

/// Leaves a test of what only a program that lends rights does: the runs of `make test-installed`.
#[macro_export]
macro_rules! lent_only {
    () => {
        if !$crate::common::lent() {
            return;
        }
    };
}

/// A directory that everyone can enter, removed when the test program ends.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    extern "C" fn remove() {
        if let Some(directory) = DIRECTORY.get() {
            let _ = fs::remove_dir_all(directory);
        }
    }
    DIRECTORY.get_or_init(|| {
        let directory = new_directory();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        // SAFETY: the handler touches only the path, which is set before it can run.
        unsafe { libc::atexit(remove) };
        directory
    })
}

/// Never one that an earlier process of the same id left: a name that nobody has had.
fn new_directory() -> PathBuf {
    let template = std::env::temp_dir().join("phasebox-test-XXXXXX");
    let mut template = CString::new(template.into_os_string().into_vec())
        .unwrap()
        .into_bytes_with_nul();
    // SAFETY: the template is a string that ends in a NUL; its last six letters are replaced.
    let made = unsafe { libc::mkdtemp(template.as_mut_ptr().cast()) };
    assert!(!made.is_null(), "{}", std::io::Error::last_os_error());
    template.pop();
    PathBuf::from(std::ffi::OsString::from_vec(template))
}

/// A file in that directory, whose name is new, for everyone to read and execute.
pub fn file(name: &str, content: &[u8], mode: u32) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory().join(format!("{number}-{name}"));
    // By another process: a descriptor of this one, open to write, could be inherited by a child
    // that another test forks meanwhile, and then the file cannot be executed (ETXTBSY).
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// A new directory in that directory, owned by `uid`.
pub fn scratch(uid: u32) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory().join(format!("scratch-{number}"));
    fs::create_dir(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
    path
}

/// Whether `tests/cross/run` has the program run in qemu's user mode. There it can make no PID
/// namespace (clone(2) with such a flag is refused) and no user namespace (unshare(2) is refused
/// to more threads than one, and qemu has another): boxes that need one are left out.
pub fn emulated() -> bool {
    std::env::var_os("PHASEBOX_EMULATED").is_some()
}

/// The program as it was built, where every user can execute it (a checkout may lie in a directory
/// that only its owner can enter). `tests/cross/run` has it be one for another processor.
pub fn plain_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = directory().join("phasebox");
        // By another process, as in `file`.
        let mut copy = Command::new("cp");
        let built = env!("CARGO_BIN_EXE_phasebox").into();
        copy.arg(std::env::var_os("PHASEBOX_PROGRAM").unwrap_or(built));
        copy.arg(&path);
        assert!(copy.status().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

/// The program, installed as PHASEBOX_INSTALL says: not at all (unset), `setuid` or `caps`.
///
/// Installed, it serves [`USER`] and the members of that user's group, and lends them what they
/// need: see [`lent`].
pub fn program() -> &'static Path {
    install().map_or_else(plain_program, installed::Install::program)
}

fn install() -> Option<installed::Install> {
    match std::env::var("PHASEBOX_INSTALL").as_deref() {
        Err(_) | Ok("") => None,
        Ok("setuid") => Some(installed::Install::SetUserId),
        Ok("caps") => Some(installed::Install::Capabilities),
        Ok(other) => panic!("PHASEBOX_INSTALL is setuid or caps, not {other}"),
    }
}

/// Whether the program's file lends [`USER`] the rights to make a box: then a user's box has a
/// control group that is root's, with a guard that is root's, and it has no user namespace, no PID
/// namespace that was not asked for, and the ids and groups of the host.
pub fn lent() -> bool {
    install().is_some()
}

/// Who calls the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    Root,
    User,
}

/// The program, called by `caller` with the words of `arguments`, in `/`, its input closed.
pub fn phasebox_as(caller: Caller, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .current_dir("/");
    if caller == Caller::User {
        become_user(&mut command);
    }
    command
}

/// The program, called by root.
pub fn phasebox(arguments: &[&str]) -> Command {
    phasebox_as(Caller::Root, arguments)
}

/// Has `command` run as [`USER`], without groups.
pub fn become_user(command: &mut Command) {
    become_with_groups(command, USER, &[]);
}

/// Has `command` run as another user who may call the program, too.
pub fn become_member(command: &mut Command, uid: u32) {
    become_with_groups(command, uid, &[USER]);
}

/// Has `command` run as a user whose primary group has the same number, with further groups.
pub fn become_with_groups(command: &mut Command, uid: u32, groups: &'static [u32]) {
    // SAFETY: only system calls between fork and execve.
    unsafe {
        command.pre_exec(move || {
            // As raw system calls of this process alone: it has just been forked.
            if libc::setgroups(groups.len(), groups.as_ptr()) != 0
                || libc::setresgid(uid, uid, uid) != 0
                || libc::setresuid(uid, uid, uid) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Runs to the end, with output; panics where that takes too long.
pub fn run(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let (done, waiter) = std::sync::mpsc::channel();
    let watchdog = std::thread::spawn(move || {
        if waiter.recv_timeout(LONG).is_err() {
            // SAFETY: a pid that is not reaped yet; the box dies with its stub.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            true
        } else {
            false
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    assert!(
        !watchdog.join().unwrap(),
        "took too long: {command:?}\n{}",
        text(&output.stderr)
    );
    output
}

/// Runs as root and returns what it wrote to standard output; panics where it failed.
pub fn stdout_of(arguments: &[&str]) -> String {
    stdout_as(Caller::Root, arguments)
}

/// As [`stdout_of`], for any caller.
pub fn stdout_as(caller: Caller, arguments: &[&str]) -> String {
    let output = run(phasebox_as(caller, arguments));
    assert!(
        output.status.success(),
        "{arguments:?}: {} {}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a child's end, bounded.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Waits until `condition` holds; panics where it does not in time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A word that no other process on the machine has in its arguments: processes of a test are found
/// by it.
pub fn token(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("pbx-{test}-{}-{number}", std::process::id())
}

/// A shell command line for a process that stays until it is killed and is found by `token`.
pub fn sleeper(token: &str) -> String {
    // The shell must not exec the sleep, or the token would be lost with the shell's arguments.
    format!("sh -c 'sleep 100000; :' {token}")
}

/// The living processes with `token` among their arguments, zombies left out. Shells that merely
/// mention it in a script (`-c`) are not counted: the token must be a word of its own.
pub fn alive(token: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        if arguments
            .split(|byte| *byte == 0)
            .any(|word| word == token.as_bytes())
        {
            found.push(pid);
        }
    }
    found
}

/// The state letter of a process (`R`, `S`, `T`, `Z`, ...), none where it is gone. proc(5).
pub fn state(pid: u32) -> Option<char> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit_once(") ")?.1.chars().next()
}

/// Processor time used by a process, in clock ticks.
pub fn ticks(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = status.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(status) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = status
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent == Some(&pid.to_string()) {
            found.push(child);
        }
    }
    found
}

/// A process's name, as prctl(PR_SET_NAME) or execve set it.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

/// The guard of a stub, as soon as there is one.
pub fn guard_of(stub: u32) -> u32 {
    let mut guard = None;
    eventually("there is a guard", || {
        guard = children(stub)
            .into_iter()
            .find(|child| name(*child) == "phasebox-guard");
        guard.is_some()
    });
    guard.unwrap()
}

/// Where cgroup v2 is mounted.
pub fn cgroup_mount() -> &'static Path {
    for candidate in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if Path::new(candidate).join("cgroup.controllers").exists() {
            return Path::new(candidate);
        }
    }
    panic!("no cgroup v2 is mounted");
}

/// The directory of the group that this test program is in.
pub fn own_group() -> PathBuf {
    group_of(std::process::id())
}

/// The directory of a process's group.
pub fn group_of(pid: u32) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap();
    cgroup_mount().join(path)
}

/// The groups of boxes called `label`, below `parent`.
pub fn groups_below(parent: &Path, label: &str) -> Vec<PathBuf> {
    let prefix = format!("phasebox:{label}.");
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(&prefix)
        })
        .collect();
    found.sort();
    found
}

/// The groups of boxes called `label`, beside this test program's group.
pub fn groups(label: &str) -> Vec<PathBuf> {
    groups_below(&own_group(), label)
}

/// A control group for a test, below the test program's own: with everything in it killed and it
/// removed at the end.
pub struct TestGroup(pub PathBuf);

impl TestGroup {
    pub fn new(test: &str) -> TestGroup {
        let path = own_group().join(token(test));
        fs::create_dir(&path).unwrap();
        TestGroup(path)
    }

    /// Has `command` start inside.
    pub fn contain(&self, command: &mut Command) {
        start_in(command, &self.0);
    }
}

/// Gives a file of a control group to a user. There is no cgroup.kill before Linux 5.14.
pub fn give_file(file: &Path, uid: u32) {
    if file.exists() || !file.ends_with("cgroup.kill") {
        std::os::unix::fs::chown(file, Some(uid), Some(uid)).unwrap();
    }
}

/// Has `command` start in a control group. Before [`become_user`], for groups of root's.
pub fn start_in(command: &mut Command, group: &Path) {
    let procs = CString::new(group.join("cgroup.procs").to_str().unwrap()).unwrap();
    // SAFETY: only system calls between fork and execve.
    unsafe {
        command.pre_exec(move || {
            let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if fd < 0 || libc::write(fd, b"0".as_ptr().cast(), 1) != 1 || libc::close(fd) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The living processes that have this variable, `NAME=value`, in the environment that they were
/// started with.
pub fn with_variable(variable: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|other| other == variable.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        eventually("the test's group can be removed", || {
            kill_group(&self.0);
            remove_group(&self.0)
        });
    }
}

/// At once, or before Linux 5.14 one by one.
fn kill_group(path: &Path) {
    if fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines() {
        // SAFETY: numbers only.
        unsafe { libc::kill(pid.parse().unwrap(), libc::SIGKILL) };
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_group(&entry.path());
        }
    }
}

fn remove_group(path: &Path) -> bool {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}

/// Sends a signal; panics where that is not possible.
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: numbers only.
    assert_eq!(
        unsafe { libc::kill(pid as i32, signal) },
        0,
        "kill {pid} {signal}"
    );
}

/// The one line that a failure is told in, without its newline.
pub fn one_line(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert!(
        stderr.ends_with('\n') && stderr.matches('\n').count() == 1,
        "{stderr:?}"
    );
    stderr.trim_end().to_owned()
}

/// Asserts that the program refused: exit 125, nothing on standard output, one line on standard
/// error that begins so and contains `reason`.
pub fn assert_refused(output: &Output, reason: &str) {
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let line = one_line(output);
    assert!(line.starts_with("phasebox: unable to "), "{line}");
    assert!(line.contains(reason), "{line} should contain {reason}");
}

/// The signal that ended a process, if one did.
pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Compiles a C program for a test; gcc is part of what a Rust machine has to link with.
pub fn compile(name: &str, source: &str) -> PathBuf {
    let path = directory().join(format!("{name}-{}", token("c")));
    let mut compiler = Command::new("cc")
        .args(["-x", "c", "-O1", "-o"])
        .arg(&path)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    assert!(compiler.wait().unwrap().success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
