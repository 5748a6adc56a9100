//! Boxes by caller and options, boxes that stay while a test looks at them, and failures of single
//! system calls.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

use crate::common::*;

/// A caller and the options that box COMMAND: each takes another path through the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub caller: Caller,
    pub options: &'static [&'static str],
}

const fn way(caller: Caller, options: &'static [&'static str]) -> Way {
    Way { caller, options }
}

/// Every way into a network and IPC of one's own.
pub const WAYS: [Way; 7] = [
    way(Caller::Root, &["-ni"]),
    way(Caller::Root, &["-nicpm"]),
    way(
        Caller::Root,
        &["-ni", "--user", "64101", "--group", "64101"],
    ),
    way(
        Caller::Root,
        &["-nicpm", "--user", "64101", "--group", "64101"],
    ),
    way(Caller::User, &["-ni"]),
    way(Caller::User, &["-nicpm"]),
    way(Caller::User, &["-nic"]),
];

/// Those that can be had.
pub fn ways() -> Vec<Way> {
    let needs_namespaces = |way: &Way| way.caller == Caller::User || way.options[0].contains('p');
    WAYS.into_iter()
        .filter(|way| !emulated() || !needs_namespaces(way))
        .collect()
}

impl Way {
    pub fn command(self, words: &[&str]) -> Command {
        phasebox_as(self.caller, &[self.options, words].concat())
    }

    /// What COMMAND wrote; panics where it failed or something was said on standard error.
    pub fn ask(self, words: &[&str]) -> String {
        ask(self.command(words))
    }

    /// Whether COMMAND runs with root's privileges.
    pub fn is_root(self) -> bool {
        self.caller == Caller::Root && !self.options.contains(&"--user")
    }
}

/// What a command wrote; panics where it failed or something was said on standard error.
pub fn ask(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = run(command);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{shown}: {} {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The lines of a text, sorted.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The way to a program in the form that arguments have.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A command that said a line when it was ready, and stays until it is let go.
pub struct Held {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it said.
    pub line: String,
}

impl Held {
    pub fn start(mut command: Command) -> Held {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{shown} ended: {:?}", child.wait());
        line.pop();
        Held {
            child,
            output,
            line,
        }
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do its next step, and returns the line that it says then.
    pub fn next(&mut self, request: &str) -> String {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets it end.
    pub fn release(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        wait_for(&mut self.child)
    }

    /// Waits for an end that comes by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

pub const NAMESPACES: [&str; 7] = ["net", "uts", "ipc", "mnt", "pid", "user", "cgroup"];

/// The namespaces of a process. namespaces(7).
pub fn namespaces_of(process: &str) -> BTreeMap<String, String> {
    NAMESPACES
        .into_iter()
        .map(|kind| {
            let link = fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
            (kind.to_owned(), link.to_str().unwrap().to_owned())
        })
        .collect()
}

/// A shell command line that says which namespaces it is in, for [`changed`].
pub const TELL_NAMESPACES: &str =
    "for kind in net uts ipc mnt pid user cgroup; do readlink /proc/self/ns/$kind; done";

/// The kinds of namespace, by what [`TELL_NAMESPACES`] said, that are not the host's.
pub fn changed(told: &str) -> Vec<&'static str> {
    let host = namespaces_of("self");
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), NAMESPACES.len(), "{told:?}");
    NAMESPACES
        .into_iter()
        .zip(told)
        .filter(|(kind, link)| host[*kind] != **link)
        .map(|(kind, _)| kind)
        .collect()
}

/// `command` below strace(1), which has system calls fail as `injections` say. None where there is
/// no strace.
pub fn injected(command: &Command, injections: &[&str]) -> Option<Command> {
    let strace = ["/usr/bin/strace", "/bin/strace"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let mut traced = Command::new(strace);
    // Only the calls that are named are traced: strace is to change nothing else.
    traced.args(["-f", "-qq", "-o", "/dev/null"]);
    for injection in injections {
        traced.arg("-e").arg(format!("inject={injection}"));
    }
    traced.arg("--").arg(command.get_program());
    traced.args(command.get_args());
    traced.current_dir("/").stdin(Stdio::null());
    Some(traced)
}

/// Runs the program with system calls failing.
pub fn run_injected(caller: Caller, injections: &[&str], arguments: &[&str]) -> Output {
    let mut plain = phasebox(arguments);
    if caller == Caller::User && lent() {
        // A file lends nothing to a user who is traced by another user than root: root traces, and
        // the user is called in between.
        plain = as_user(&plain, &[]);
    }
    let mut traced = injected(&plain, injections).expect("strace was there before");
    if caller == Caller::User && !lent() {
        become_user(&mut traced);
    }
    run(traced)
}

/// `command`, executed by another program that has become [`USER`] with these groups. That program
/// makes no system calls of its own that a test might have fail, unlike setpriv(1).
pub fn as_user(command: &Command, groups: &[&str]) -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let source = r#"
        #define _GNU_SOURCE
        #include <grp.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            gid_t groups[16], user = atoi(argv[1]);
            int count = 0;
            for (char *word = strtok(argv[2], ","); word; word = strtok(NULL, ","))
                groups[count++] = atoi(word);
            if (argc < 4 || setgroups(count, groups) || setresgid(user, user, user)
                || setresuid(user, user, user))
                return 98;
            execvp(argv[3], argv + 3);
            return 99;
        }
    "#;
    let mut through = Command::new(PROGRAM.get_or_init(|| compile("as-user", source)));
    through.arg(USER.to_string()).arg(groups.join(","));
    through.arg(command.get_program()).args(command.get_args());
    through.current_dir("/").stdin(Stdio::null());
    through
}

/// Skips a test that has system calls fail, where it cannot.
#[macro_export]
macro_rules! needs_strace {
    () => {
        if injected(&std::process::Command::new("true"), &[]).is_none() {
            skip!("needs strace");
        }
    };
}

/// Compiles a C program for a test with flags for the compiler.
pub fn compile_with(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let path = scratch(0).join(name);
    let mut compiler = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror"])
        .args(flags)
        .args(["-x", "c", "-o"])
        .arg(&path)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = compiler.stdin.take().unwrap();
    input.write_all(source.as_bytes()).unwrap();
    drop(input);
    assert!(compiler.wait().unwrap().success());
    path
}

/// Has `command` start in the directory `root` as its root.
pub fn change_root(command: &mut Command, root: &Path) {
    let root = CString::new(word(root)).unwrap();
    // SAFETY: only system calls between fork and execve.
    unsafe {
        command.pre_exec(move || {
            if libc::chroot(root.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The mount points that a process sees. proc_pid_mountinfo(5).
pub fn mounts_of(process: &str) -> Vec<String> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    mounts
        .lines()
        .map(|line| line.split(' ').nth(4).unwrap().to_owned())
        .collect()
}
