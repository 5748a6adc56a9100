//! The contract's table of exit statuses.
#![allow(missing_docs, unsafe_code)]

#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use caller::*;
use common::*;

/// Runs `words` in a mode, from `directory`, with `variables` for an environment.
fn run_in(mode: Mode, words: &[&str], directory: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = mode.program(words);
    command
        .current_dir(directory)
        .env_clear()
        .envs(variables.iter().copied());
    mode.enter(&mut command);
    run(command)
}

use std::process::Output;

// --- the command's own status ---

#[test]
fn every_exit_status_of_the_command_is_passed_on() {
    needs_root!();
    for status in 0..=255 {
        let output = run(phasebox(&["-c", "sh", "-c", &format!("exit {status}")]));
        assert_eq!(output.status.code(), Some(status));
    }
}

#[test]
fn exit_statuses_are_passed_on_in_every_mode() {
    needs_root!();
    for mode in modes() {
        for status in [
            0, 1, 2, 3, 42, 124, 125, 126, 127, 128, 129, 130, 137, 143, 192, 254, 255,
        ] {
            let mut command = mode.program(&["sh", "-c", &format!("exit {status}")]);
            mode.enter(&mut command);
            let output = run(command);
            assert_eq!(output.status.code(), Some(status), "{mode:?}");
            assert_eq!(text(&output.stderr), "", "{mode:?}: not a word of its own");
        }
    }
}

// --- death by a signal ---

/// Ends by the signal that its argument names, however it was blocked or ignored; without a core
/// dump of its own, so that any core found is the program's.
const DIE: &str = "
#include <stdlib.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 };
	unsigned long action[4] = { 0 }, mask = 0;
	int signal = atoi(argv[1]);
	(void)argc;
	setrlimit(RLIMIT_CORE, &none);
	/* The system calls: glibc keeps 32 and 33 for itself. */
	syscall(SYS_rt_sigaction, signal, action, 0, 8);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	syscall(SYS_kill, getpid(), signal);
	return 99;
}
";

/// The signals that end a process by default.
fn deadly() -> impl Iterator<Item = i32> {
    let spared = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    (1..=64).filter(move |signal| !spared.contains(signal))
}

/// Lets the caller dump cores of any size.
fn allow_cores(command: &mut Command) {
    in_child(command, || {
        let limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: reads one rlimit.
        check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) })
    });
}

fn die_in(mode: Mode, die: &Path, signal: i32, place: &Path) -> ExitStatus {
    let mut command = mode.program(&[die.to_str().unwrap(), &signal.to_string()]);
    command.current_dir(place);
    allow_cores(&mut command);
    mode.enter(&mut command);
    let output = run(command);
    assert_eq!(text(&output.stderr), "", "{mode:?} {signal}");
    output.status
}

#[test]
fn it_dies_of_the_signal_that_killed_the_command_and_dumps_no_core() {
    needs_root!();
    let die = compile("die", DIE);
    assert_eq!(deadly().count(), 56);
    for mode in modes() {
        let place = mode.scratch();
        for signal in deadly() {
            let status = die_in(mode, &die, signal, &place);
            assert_eq!(status.signal(), Some(signal), "{mode:?} {status}");
            assert!(!status.core_dumped(), "{mode:?} {status}");
        }
        assert_eq!(
            fs::read_dir(&place).unwrap().count(),
            0,
            "{mode:?}: no core file"
        );
    }
}

#[test]
fn it_dies_of_a_signal_that_its_caller_ignores_or_blocks() {
    needs_root!();
    let die = compile("die", DIE);
    for mode in modes() {
        for signal in deadly().filter(|signal| *signal != libc::SIGKILL) {
            let mut command = mode.program(&[die.to_str().unwrap(), &signal.to_string()]);
            in_child(&mut command, move || {
                let (ignore, mask) = ([libc::SIG_IGN, 0, 0, 0], u64::MAX);
                // SAFETY: reads one sigaction, sets no handler.
                check(unsafe {
                    libc::syscall(libc::SYS_rt_sigaction, signal, &raw const ignore, 0, 8)
                })?;
                // SAFETY: reads one set.
                check(unsafe {
                    libc::syscall(
                        libc::SYS_rt_sigprocmask,
                        libc::SIG_SETMASK,
                        &raw const mask,
                        0,
                        8,
                    )
                })
            });
            mode.enter(&mut command);
            let status = run(command).status;
            assert_eq!(status.signal(), Some(signal), "{mode:?} {status}");
        }
    }
}

#[test]
fn a_death_with_a_core_dump_is_told_without_another_one() {
    needs_root!();
    // The command may dump; where it does so is the system's business. It is in its own directory.
    for mode in modes().into_iter().filter(|mode| !mode.in_place()) {
        let place = mode.scratch();
        let before = fs::read_dir("/").unwrap().count();
        let mut command = mode.program(&["sh", "-c", "kill -SEGV $$"]);
        command.current_dir(&place);
        allow_cores(&mut command);
        mode.enter(&mut command);
        let status = run(command).status;
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{mode:?}");
        assert!(!status.core_dumped(), "{mode:?}: the program's own status");
        assert_eq!(
            fs::read_dir("/").unwrap().count(),
            before,
            "{mode:?}: none in its directory"
        );
    }
}

#[test]
fn as_pid_1_it_exits_with_128_and_the_signal() {
    needs_root!();
    let die = compile("die", DIE);
    for flags in ["-c", "-p", "-nicpm"] {
        for signal in deadly() {
            let mut command = phasebox(&[flags, "--", die.to_str().unwrap(), &signal.to_string()]);
            become_pid_1(&mut command);
            let status = run(command).status;
            assert_eq!(status.code(), Some(128 + signal), "{flags} {status}");
        }
        let mut command = phasebox(&[flags, "sh", "-c", "exit 17"]);
        become_pid_1(&mut command);
        assert_eq!(run(command).status.code(), Some(17), "{flags}");
    }
}

/// Has `command` run as pid 1 of a new PID namespace; its status becomes the status of the process
/// that the test waits for, but a signal becomes 99.
fn become_pid_1(command: &mut Command) {
    in_child(command, || {
        // SAFETY: numbers only.
        check(unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
        // SAFETY: both sides make system calls only.
        let child = unsafe { libc::fork() };
        check(child)?;
        if child == 0 {
            return Ok(());
        }
        // std waits for the end of a pipe that execve closes.
        // SAFETY: numbers only; nothing here uses the descriptors any more.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        let mut status = 0;
        // SAFETY: writes one status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        let code = if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            99
        };
        // SAFETY: no handlers of the test program's may run.
        unsafe { libc::_exit(code) }
    });
}

// --- 126 and 127 ---

/// Asserts that COMMAND could not be executed, in every mode: status, one line, nothing left.
fn assert_not_executed(
    words: &[&str],
    directory: &Path,
    variables: &[(&str, &str)],
    status: i32,
    errno: &str,
) {
    for mode in modes() {
        let output = run_in(mode, words, directory, variables);
        let line = one_line(&output);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{mode:?} {words:?} {line}"
        );
        let begin = format!("phasebox: unable to execute '{}': ", words[0]);
        assert!(
            line.starts_with(&begin) && line.contains(&format!(" ({errno})")),
            "{mode:?} {line}"
        );
        assert_eq!(text(&output.stdout), "", "{mode:?}");
    }
}

const PATH: &[(&str, &str)] = &[("PATH", "/usr/bin:/bin")];

/// A directory for everyone with an executable file `tool` of this content and mode in it.
fn with_tool(content: &str, mode: u32) -> PathBuf {
    let path = executable("tool", content.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.parent().unwrap().to_owned()
}

#[test]
fn a_missing_command_is_127() {
    needs_root!();
    let empty = scratch(0);
    for word in [
        "/nonexistent",
        "/nonexistent/x",
        "./nonexistent",
        "no-such-command",
    ] {
        assert_not_executed(&[word], &empty, PATH, 127, "ENOENT");
    }
}

#[test]
fn an_empty_command_is_127() {
    needs_root!();
    assert_not_executed(&[""], Path::new("/bin"), PATH, 127, "ENOENT");
    assert_not_executed(
        &[""],
        Path::new("/bin"),
        &[("PATH", ":/bin:")],
        127,
        "ENOENT",
    );
}

#[test]
fn a_file_that_may_not_be_executed_is_126() {
    needs_root!();
    let directory = with_tool("#!/bin/sh\n", 0o644);
    assert_not_executed(&["./tool"], &directory, PATH, 126, "EACCES");
    let path = directory.join("tool");
    assert_not_executed(
        &[path.to_str().unwrap()],
        Path::new("/"),
        PATH,
        126,
        "EACCES",
    );
}

#[test]
fn a_directory_is_126() {
    needs_root!();
    assert_not_executed(&["/"], Path::new("/"), PATH, 126, "EACCES");
    assert_not_executed(&["bin"], Path::new("/usr"), &[("PATH", ".")], 126, "EACCES");
}

#[test]
fn a_file_that_is_no_program_is_126_and_no_shell_runs_it() {
    needs_root!();
    let marker = scratch(USER).join("marker");
    let directory = with_tool(&format!("echo ran >{}\n", marker.display()), 0o755);
    assert_not_executed(&["./tool"], &directory, PATH, 126, "ENOEXEC");
    assert_not_executed(&["tool"], &directory, &[("PATH", ".:/bin")], 126, "ENOEXEC");
    assert!(!marker.exists());
    assert_not_executed(&["./tool"], &with_tool("", 0o755), PATH, 126, "ENOEXEC");
}

#[test]
fn a_script_whose_interpreter_is_missing_is_126() {
    needs_root!();
    // COMMAND was found, so that it is not 127.
    let directory = with_tool("#!/nonexistent/interpreter\n", 0o755);
    for mode in modes() {
        let output = run_in(mode, &["./tool"], &directory, PATH);
        one_line(&output);
        assert_eq!(output.status.code(), Some(126), "{mode:?} {output:?}");
    }
}

#[test]
fn a_file_that_is_being_written_is_126() {
    needs_root!();
    let directory = with_tool("#!/bin/sh\n", 0o755);
    fs::copy("/bin/true", directory.join("tool")).unwrap();
    let _writer = fs::OpenOptions::new()
        .append(true)
        .open(directory.join("tool"))
        .unwrap();
    assert_not_executed(&["./tool"], &directory, PATH, 126, "ETXTBSY");
}

#[test]
fn a_loop_of_symbolic_links_and_a_path_through_a_file_are_not_executed() {
    needs_root!();
    let directory = scratch(0);
    symlink("loop", directory.join("loop")).unwrap();
    assert_not_executed(&["./loop"], &directory, PATH, 126, "ELOOP");
    fs::write(directory.join("file"), "").unwrap();
    assert_not_executed(&["./file/tool"], &directory, PATH, 126, "ENOTDIR");
}

#[test]
fn what_another_user_hides_is_not_told_apart_from_what_is_not_there() {
    needs_root!();
    let secret = with_tool("#!/bin/sh\n", 0o755);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    for mode in modes()
        .into_iter()
        .filter(|mode| mode.caller == Caller::User)
    {
        let [there, missing] = ["tool", "none"].map(|file| {
            let path = secret.join(file);
            let output = run_in(mode, &[path.to_str().unwrap()], Path::new("/"), PATH);
            (output.status.code(), one_line(&output).replace(file, "X"))
        });
        assert_eq!(there, missing, "{mode:?}");
        assert_eq!(there.0, Some(126), "{mode:?}");
    }
}

// --- PATH ---

/// Asserts what a command that is looked for in PATH prints, in every mode.
fn assert_prints(words: &[&str], directory: &Path, variables: &[(&str, &str)], expected: &str) {
    for mode in modes() {
        let output = run_in(mode, words, directory, variables);
        assert_eq!(
            text(&output.stdout),
            expected,
            "{mode:?} {variables:?} {output:?}"
        );
        assert_eq!(output.status.code(), Some(0), "{mode:?}");
    }
}

#[test]
fn path_is_searched_on_behind_what_cannot_be_executed() {
    needs_root!();
    let good = with_tool("#!/bin/sh\necho good\n", 0o755);
    let other = with_tool("#!/bin/sh\necho other\n", 0o755);
    let unusable = with_tool("#!/bin/sh\necho bad\n", 0o644);
    let hidden = with_tool("#!/bin/sh\necho hidden\n", 0o755);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).unwrap();
    let file = unusable.join("tool");
    let [good, other, unusable, file] =
        [&good, &other, &unusable, &file].map(|p| p.to_str().unwrap());
    for path in [
        good.to_owned(),
        format!("{good}:{other}"),
        format!("/nonexistent:{good}:{other}"),
        format!("{unusable}:{good}"),
        format!("{file}:{good}"),
        format!("{}:{good}", "/x".repeat(3000)),
    ] {
        assert_prints(&["tool"], Path::new("/"), &[("PATH", &path)], "good\n");
    }
    // A directory that only root may search.
    let path = format!("{}:{good}", hidden.display());
    for mode in modes()
        .into_iter()
        .filter(|mode| mode.caller == Caller::User)
    {
        let output = run_in(mode, &["tool"], Path::new("/"), &[("PATH", &path)]);
        assert_eq!(text(&output.stdout), "good\n", "{mode:?} {output:?}");
    }
    for path in [
        unusable.to_owned(),
        format!("{unusable}:/nonexistent"),
        format!("/:{unusable}:"),
    ] {
        assert_not_executed(&["tool"], Path::new("/"), &[("PATH", &path)], 126, "EACCES");
    }
    assert_not_executed(&["tool"], Path::new("/"), &[("PATH", file)], 127, "ENOENT");
}

#[test]
fn an_empty_directory_in_path_is_the_working_directory() {
    needs_root!();
    let here = with_tool("#!/bin/sh\necho here\n", 0o755);
    for path in [
        "",
        ":",
        ":/nonexistent",
        "/nonexistent:",
        "/nonexistent::/nonexistent",
        ".",
    ] {
        assert_prints(&["tool"], &here, &[("PATH", path)], "here\n");
    }
    assert_not_executed(&["tool"], &here, &[("PATH", "/nonexistent")], 127, "ENOENT");
}

#[test]
fn without_path_commands_are_found_in_bin_and_usr_bin() {
    needs_root!();
    let here = with_tool("#!/bin/sh\necho here\n", 0o755);
    assert_prints(&["sh", "-c", "echo found"], &here, &[], "found\n");
    assert_not_executed(&["tool"], &here, &[], 127, "ENOENT");
    // Names that only look alike do not count.
    let path = here.to_str().unwrap();
    assert_not_executed(
        &["tool"],
        Path::new("/"),
        &[("PATHS", path), ("XPATH", path)],
        127,
        "ENOENT",
    );
}

#[test]
fn a_name_with_a_slash_is_not_looked_for_in_path() {
    needs_root!();
    let directory = with_tool("#!/bin/sh\necho found\n", 0o755);
    let parent = directory.parent().unwrap().to_str().unwrap();
    let word = format!("{}/tool", directory.file_name().unwrap().to_str().unwrap());
    assert_prints(&[&word], directory.parent().unwrap(), PATH, "found\n");
    assert_not_executed(&[&word], Path::new("/"), &[("PATH", parent)], 127, "ENOENT");
}

// --- limits ---

#[test]
fn a_user_with_too_many_processes_is_told_so() {
    needs_root!();
    // A user that no other test runs as, and that has a process more than it may.
    let mut holder = std::process::Command::new("sleep");
    std::os::unix::process::CommandExt::uid(&mut holder, 64202);
    let mut holder = holder.arg("100000").spawn().unwrap();
    for flags in ["-ni", "-c", "-p"] {
        let mut command = phasebox(&[
            flags,
            "--user",
            "64202",
            "--group",
            "64202",
            "--",
            "/bin/true",
        ]);
        in_child(&mut command, || {
            let limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: reads one rlimit.
            check(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) })
        });
        let output = run(command);
        assert_eq!(output.status.code(), Some(126), "{flags} {output:?}");
        assert!(one_line(&output).contains("(EAGAIN)"), "{flags} {output:?}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// How large an environment may be so that `command` still starts, found by trying.
fn largest_environment(mut starts: impl FnMut(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0usize, 4usize << 20);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if starts(middle) {
            good = middle
        } else {
            bad = middle
        }
    }
    good
}

#[test]
fn an_argument_list_that_is_too_long_is_126_and_its_sizes_are_told() {
    needs_root!();
    // The path counts twice for the command, as its name and as its first argument; of the
    // program only once. So there is a size that the program starts with and the command does not.
    let long = format!("/{}bin/true", "./".repeat(1500));
    for mode in modes() {
        let command = |size: usize, words: &[&str]| {
            let mut command = mode.program(words);
            command.env_clear();
            // No variable may be longer than 128 KiB.
            for at in 0..size / 100_000 {
                command.env(format!("V{at:02}"), "x".repeat(100_000 - 5));
            }
            command.env("W", "x".repeat(size % 100_000));
            command.env("LARGEST", "x".repeat(110_000 - 9));
            in_child(&mut command, || {
                let limit = libc::rlimit {
                    rlim_cur: 8 << 20,
                    rlim_max: libc::RLIM_INFINITY,
                };
                // SAFETY: reads one rlimit.
                check(unsafe { libc::setrlimit(libc::RLIMIT_STACK, &raw const limit) })
            });
            mode.enter(&mut command);
            command
        };
        let size = largest_environment(|size| {
            let mut command = command(size, &["--version", &long]);
            command.stderr(std::process::Stdio::null());
            command
                .spawn()
                .map(|mut child| wait_for(&mut child))
                .is_ok()
        });
        let output = run(command(size, &[&long]));
        assert_eq!(output.status.code(), Some(126), "{mode:?} {output:?}");
        let line = one_line(&output);
        assert!(line.contains("argument list too long (E2BIG); "), "{line}");
        let bytes = size / 100_000 * 100_000 + size % 100_000 + 3 + 110_000;
        assert!(
            line.contains(&format!("arguments: {} bytes", long.len() + 1)),
            "{line}"
        );
        assert!(
            line.contains(&format!("environment: {bytes} bytes")),
            "{line}"
        );
        assert!(
            line.contains("the largest with 110000 bytes: 'LARGEST'"),
            "{line}"
        );
    }
}
