//! Boxes made by the installed program for real unprivileged users, each on a ground of its own: a
//! control group that only root changes, or one below it that is delegated to the caller.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::caller::{check, in_child};
use crate::common::installed::*;
use crate::common::*;

/// What the contract calls one second, on a machine that has more to do than this.
pub const ONE_SECOND: Duration = Duration::from_secs(10);

/// Every process that is started on a ground has this variable.
const MARK: &str = "PHASEBOX_GROUND";

/// A daemon as they come: detached twice, deaf to what it can be deaf to.
pub const DAEMON: &str = "(setsid sh -c 'trap \"\" HUP INT QUIT TERM TSTP; sleep 100000; :' &)";

/// A place to start boxes in, by one way to install the program.
pub struct Ground {
    pub install: Install,
    /// Where boxes' groups are made.
    pub outer: TestGroup,
    /// Where the caller is, if that is another one: it is the caller's to change.
    pub inner: Option<PathBuf>,
    /// Another uid than [`USER`], with its group.
    pub uid: u32,
    mark: String,
}

impl Ground {
    /// One whose control group only root changes.
    pub fn new(install: Install) -> Ground {
        Ground {
            install,
            outer: TestGroup::new("ground"),
            inner: None,
            uid: USER,
            mark: token("mark"),
        }
    }

    /// One that is delegated to the caller.
    pub fn delegated(install: Install) -> Ground {
        let mut ground = Ground::new(install);
        let inner = ground.outer.0.join("delegated");
        fs::create_dir(&inner).unwrap();
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
            "cgroup.kill",
            "cgroup.freeze",
        ] {
            std::os::unix::fs::chown(inner.join(file), Some(USER), Some(USER)).unwrap();
        }
        ground.inner = Some(inner);
        ground
    }

    /// Both kinds, both ways to install.
    pub fn all() -> Vec<Ground> {
        INSTALLS
            .into_iter()
            .flat_map(|install| [Ground::new(install), Ground::delegated(install)])
            .collect()
    }

    /// As another user of [`USER`]'s group, that no other test's processes count for.
    pub fn with_uid(mut self, uid: u32) -> Ground {
        self.uid = uid;
        self
    }

    /// The installed program with these words, called by the ground's user.
    pub fn phasebox(&self, words: &[&str]) -> Command {
        let mut command = self.outside(word(self.install.program()));
        command.args(words);
        command
    }

    /// `name`, not boxed, on the ground and as its user.
    pub fn outside(&self, name: &str) -> Command {
        let mut command = self.outside_as_root(name);
        let uid = self.uid;
        in_child(&mut command, move || {
            // SAFETY: no groups are read.
            check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresgid(USER, USER, USER) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresuid(uid, uid, uid) })
        });
        command
    }

    /// `name`, not boxed, on the ground, as root.
    pub fn outside_as_root(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env(MARK, &self.mark);
        let group = self.inner.as_ref().unwrap_or(&self.outer.0);
        start_in(&mut command, group);
        command
    }

    /// The living processes of the ground, the program's own among them.
    pub fn alive(&self) -> Vec<u32> {
        with_variable(&format!("{MARK}={}", self.mark))
    }

    /// The groups of boxes.
    pub fn boxes(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in [Some(&self.outer.0), self.inner.as_ref()] {
            for entry in directory
                .into_iter()
                .flat_map(|it| fs::read_dir(it).unwrap())
            {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name.starts_with("phasebox:") && name != "phasebox:guards" {
                    found.push(path);
                }
            }
        }
        found
    }

    pub fn only_box(&self) -> PathBuf {
        let mut boxes = self.boxes();
        assert_eq!(boxes.len(), 1, "{boxes:?}");
        boxes.remove(0)
    }

    /// Asserts that no process and no group is left, now.
    pub fn assert_nothing_left(&self, what: &str) {
        let alive = self.alive();
        let names: Vec<String> = alive.iter().map(|pid| name(*pid)).collect();
        assert!(alive.is_empty(), "{self}, {what}: alive {names:?}");
        let boxes = self.boxes();
        assert!(boxes.is_empty(), "{self}, {what}: left {boxes:?}");
    }

    /// Waits until nothing is left, and asserts that it took what is allowed after a SIGKILL.
    pub fn assert_gone_in_time(&self, what: &str) {
        let start = Instant::now();
        eventually(&format!("{self}, {what}: all are dead"), || {
            self.alive().is_empty() && self.boxes().is_empty()
        });
        let took = start.elapsed();
        assert!(took < ONE_SECOND, "{self}, {what}: {took:?}");
    }
}

impl std::fmt::Display for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.inner {
            Some(_) => "delegated",
            None => "root's group",
        };
        write!(f, "{:?}, {kind}", self.install)
    }
}

/// Runs `body` for each ground, in threads of their own at the same time.
pub fn for_each_ground(grounds: Vec<Ground>, body: impl Fn(&Ground) + Sync) {
    std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = grounds
            .into_iter()
            .map(|ground| scope.spawn(move || body(&ground)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// The way to a program in the form that arguments have.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sets a limit in the caller.
pub fn limit(command: &mut Command, resource: u32, soft: u64, hard: u64) {
    in_child(command, move || {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: reads one rlimit.
        check(unsafe { libc::setrlimit(resource as _, &raw const limit) })
    });
}

/// A system call between fork and execve, whose arguments are numbers.
pub fn call_in_child(command: &mut Command, number: i64, arguments: [i64; 4]) {
    let [a, b, c, d] = arguments;
    // SAFETY: numbers only, as the callers of this see to.
    in_child(command, move || {
        check(unsafe { libc::syscall(number, a, b, c, d) })
    });
}

/// Writes `text` to a file of the kernel's in the caller.
pub fn write_in_child(command: &mut Command, path: &'static std::ffi::CStr, text: &'static str) {
    in_child(command, move || {
        // SAFETY: a NUL-ended path.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        check(fd)?;
        // SAFETY: as many bytes as the text has.
        check(unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) } as i64)?;
        // SAFETY: numbers only.
        check(unsafe { libc::close(fd) })
    });
}

/// Static, so that it starts with few descriptors and little memory: says `boxed` where it is in a
/// network and an IPC namespace other than those named, cannot become root and may not gain
/// privileges; leaves a process behind that is deaf to every signal and holds the output; exits 7.
const WITNESS: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static int other(const char *path, const char *host)
{
	char link[64];
	long length = readlink(path, link, sizeof link - 1);
	if (length < 0)
		return 0;
	link[length] = 0;
	return strcmp(link, host) != 0;
}
int main(int argc, char **argv)
{
	if (argc < 3)
		return 9;
	if (!other("/proc/self/ns/net", argv[1]) || !other("/proc/self/ns/ipc", argv[2]))
		return 8;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || setresuid(0, 0, 0) == 0 || getuid() == 0)
		return 8;
	if (fork() == 0) {
		setsid();
		for (int number = 1; number < 65; number++)
			signal(number, SIG_IGN);
		for (;;)
			pause();
	}
	write(1, "boxed\n", 6);
	return 7;
}
"#;

/// The words of a command that tells whether it is boxed.
pub fn witness() -> Vec<String> {
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile_static("witness", WITNESS));
    let host = |kind: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        word(&link).to_owned()
    };
    vec![word(program).to_owned(), host("net"), host("ipc")]
}

/// Compiles a C program that needs no libraries.
pub fn compile_static(name: &str, source: &str) -> PathBuf {
    let path = scratch(0).join(name);
    let code = file(&format!("{name}.c"), source.as_bytes(), 0o644);
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-static", "-o"]).arg(&path).arg(code);
    assert!(compiler.status().unwrap().success());
    path
}

/// Whether a witness was boxed, or the box was refused before it started; anything else panics.
pub fn was_boxed(output: &Output, what: &str) -> bool {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let shown = format!("{what}: {} {stdout:?} {stderr:?}", output.status);
    if output.status.code() == Some(7) {
        assert_eq!(stdout, "boxed\n", "{shown}");
        return true;
    }
    assert_eq!(stdout, "", "{shown}");
    match output.status.code() {
        // By the kernel, in execve(2) or by a limit.
        None => {}
        Some(125 | 126) => assert!(stderr.starts_with("phasebox: unable to "), "{shown}"),
        Some(_) => panic!("{shown}"),
    }
    false
}

/// A new terminal: its master and its slave. Never without close-on-exec: a process that another
/// test starts meanwhile would keep it from being hung up.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers only.
    let master = unsafe { libc::posix_openpt(flags) };
    assert!(master >= 0);
    // SAFETY: a new descriptor.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::unlockpt(master.as_raw_fd()) }, 0);
    // SAFETY: numbers only.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    assert!(slave >= 0);
    // SAFETY: a new descriptor.
    (master, unsafe { OwnedFd::from_raw_fd(slave) })
}

/// A pipe: the end to read, the end to write.
pub fn pipe() -> (fs::File, fs::File) {
    let mut ends = [0; 2];
    // SAFETY: writes two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) },
        0
    );
    // SAFETY: new descriptors.
    let [reader, writer] = ends.map(|end| unsafe { fs::File::from_raw_fd(end) });
    (reader, writer)
}
