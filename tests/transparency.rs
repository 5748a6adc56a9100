//! The contract's fifth promise: what the caller set reaches COMMAND, and nothing of it stays in
//! the processes that wait. Most tests run one helper twice, with the box and without, and compare
//! what it reports.
#![allow(missing_docs, unsafe_code)]

#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use caller::*;
use common::*;

/// The helper that tells what it inherited.
fn report() -> &'static Path {
    static REPORT: OnceLock<PathBuf> = OnceLock::new();
    REPORT.get_or_init(|| compile("report", include_str!("helpers/report.c")))
}

/// What COMMAND reports, plain or boxed. `prepare` changes the caller, as root still.
fn observe(mode: Mode, boxed: bool, place: &Path, prepare: &dyn Fn(&mut Command)) -> Vec<String> {
    observe_entered(mode, boxed, place, &|command| {
        prepare(command);
        mode.enter(command);
    })
}

/// The same, of a caller that `enter` makes out of root.
fn observe_entered(
    mode: Mode,
    boxed: bool,
    place: &Path,
    enter: &dyn Fn(&mut Command),
) -> Vec<String> {
    let report = report().to_str().unwrap();
    let told = place.join("told");
    let mut command = if boxed {
        mode.program(&[report])
    } else {
        Command::new(report)
    };
    // Files, not pipes, so that both runs have the same.
    let errors = fs::File::create(place.join("errors")).unwrap();
    command
        .arg(&told)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    // Whatever the test program itself was started with.
    in_child(&mut command, || close_on_exec_from(3));
    take(&mut command, libc::SIG_DFL, &ALL);
    enter(&mut command);
    let status = wait_for(&mut command.spawn().unwrap());
    let errors = fs::read_to_string(place.join("errors")).unwrap();
    assert!(status.success(), "{mode:?} {boxed}: {status} {errors}");
    assert_eq!(errors, "", "{mode:?}");
    let lines = fs::read_to_string(&told).unwrap();
    fs::remove_file(told).unwrap();
    lines
        .lines()
        .filter(|line| !(mode.has_init() && is_of_other_pids(line)))
        .map(str::to_owned)
        .collect()
}

/// Session and process group have no number inside a PID namespace.
fn is_of_other_pids(line: &str) -> bool {
    ["session ", "group ", "foreground "]
        .iter()
        .any(|name| line.starts_with(name))
}

/// Compares for every mode; returns the reports for the test to make sure of what it set.
fn compare(prepare: impl Fn(&mut Command)) -> Vec<Vec<String>> {
    modes()
        .into_iter()
        .map(|mode| {
            let place = mode.scratch();
            let plain = observe(mode, false, &place, &prepare);
            let boxed = observe(mode, true, &place, &prepare);
            let differing: Vec<_> = plain
                .iter()
                .zip(&boxed)
                .filter(|(plain, boxed)| plain != boxed)
                .collect();
            assert_eq!(differing, [], "{mode:?}: (plain, boxed)");
            assert_eq!(plain.len(), boxed.len(), "{mode:?}\n{plain:#?}\n{boxed:#?}");
            boxed
        })
        .collect()
}

/// As [`compare`], and every report must have all of `lines`.
fn compare_and_find(lines: &[&str], prepare: impl Fn(&mut Command)) {
    for report in compare(prepare) {
        for line in lines {
            assert!(
                report.iter().any(|told| told == line),
                "{line} is not in {report:#?}"
            );
        }
    }
}

fn close_on_exec_from(first: u32) -> std::io::Result<()> {
    // SAFETY: numbers only.
    let done = check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    });
    // That flag is of Linux 5.11.
    if done.is_err() {
        for fd in first as i32..1024 {
            // SAFETY: numbers only. What is not open is none the worse for it.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

fn hex(kind: &str, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind} {digits}")
}

// --- arguments, environment, directory ---

#[test]
fn arguments_reach_the_command_byte_for_byte() {
    needs_root!();
    let long = vec![b'x'; 100_000];
    let arguments: [&[u8]; 14] = [
        b"",
        b"--help",
        b"--",
        b"-nicpm",
        b"--net=host",
        b"--user",
        b"0",
        b"\xff\xfe\x80",
        b"a b",
        b"\n\t\x1b[0m",
        b"'\"$`\\",
        b"=",
        &long,
        b"",
    ];
    let told = ["argc 16".to_owned()]
        .into_iter()
        .chain(arguments.iter().map(|argument| hex("arg", argument)))
        .collect::<Vec<_>>();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    compare_and_find(&told, |command| {
        use std::os::unix::ffi::OsStrExt;
        command.args(arguments.map(std::ffi::OsStr::from_bytes));
    });
}

#[test]
fn a_double_dash_after_the_command_belongs_to_the_command() {
    needs_root!();
    for mode in modes() {
        let mut command = Command::new(program());
        command
            .args([mode.flags, "echo", "-e", "--", "--quiet", "--"])
            .current_dir("/");
        mode.enter(&mut command);
        let output = run(command);
        // dash's and coreutils' echo differ in `-e`; nobody's eats a dash that comes later.
        assert!(
            text(&output.stdout).ends_with("-- --quiet --\n"),
            "{mode:?} {output:?}"
        );
    }
}

#[test]
fn the_environment_reaches_the_command_byte_for_byte() {
    needs_root!();
    let big = [b"BIG=".to_vec(), vec![b'y'; 100_000]].concat();
    let environments: [&[&[u8]]; 4] = [
        &[],
        &[b"PATH=/bin"],
        &[
            b"LD_LIBRARY_PATH=/nonexistent",
            b"GLIBC_TUNABLES=glibc.malloc.check=0",
            b"TMPDIR=/nonexistent",
            b"SANDBOX_ON=1",
            b"SANDBOX_WRITE=/:/tmp",
            b"MALLOC_CHECK_=0",
            b"NOT_UTF_8=\xff\xfe",
            b"\xff=\xfe",
            b"EMPTY=",
            b"=",
            b"",
            b"no equals sign",
            b"TWICE=1",
            b"TWICE=2",
            b"A=b=c\nd",
        ],
        &[&big, b"BIG=small"],
    ];
    for environment in environments {
        for mode in modes() {
            let place = mode.scratch();
            let told = place.join("told");
            let (report, told) = (report().to_str().unwrap(), told.to_str().unwrap());
            let mut command = mode.program(&[]);
            mode.enter(&mut command);
            let words: [&[u8]; 4] = [
                b"box",
                mode.flags.as_bytes(),
                report.as_bytes(),
                told.as_bytes(),
            ];
            execute_as(&mut command, program(), &words, environment);
            let output = run(command);
            assert!(output.status.success(), "{mode:?} {output:?}");
            let lines = fs::read_to_string(told).unwrap();
            let found: Vec<&str> = lines
                .lines()
                .filter(|line| line.starts_with("env "))
                .collect();
            let expected: Vec<String> = environment
                .iter()
                .map(|string| hex("env", string))
                .collect();
            assert_eq!(found, expected, "{mode:?}");
            assert!(lines.lines().any(|line| line == "secure 0"), "{mode:?}");
        }
    }
}

#[test]
fn no_environment_variable_changes_what_the_program_does() {
    needs_root!();
    let variables = [
        (
            "FEATURES",
            "network-sandbox ipc-sandbox cgroup pid-sandbox mount-sandbox",
        ),
        ("EBUILD_PHASE", "compile"),
        ("EBUILD_PHASE_FUNC", "src_compile"),
        ("PROPERTIES", "live"),
        ("RESTRICT", "network-sandbox"),
        ("PORTAGE_PROPERTIES", "live"),
        ("PORTAGE_RESTRICT", "network-sandbox"),
        ("POSIXLY_CORRECT", "1"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "de_DE.UTF-8"),
        ("LANGUAGE", "de"),
        ("NO_COLOR", "1"),
        ("COLUMNS", "10"),
        ("DEBUG", "1"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_LOG", "trace"),
        ("PHASEBOX", "-nicpm"),
        ("PHASEBOX_OPTIONS", "-nicpm"),
        ("PHASEBOX_OPTS", "--quiet --best-effort"),
        ("PHASEBOX_FEATURES", "network-sandbox"),
        ("PHASEBOX_PHASE", "src_compile"),
        ("PHASEBOX_QUIET", "1"),
        ("PHASEBOX_DEBUG", "1"),
        ("NOTIFY_SOCKET", "/nonexistent"),
        ("HOME", "/nonexistent"),
        ("SHELL", "/nonexistent"),
        ("TMPDIR", "/nonexistent"),
        ("LD_LIBRARY_PATH", "/nonexistent"),
    ];
    let namespaces = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/pid \
                      /proc/self/ns/mnt; grep ^0:: /proc/self/cgroup";
    // Leftovers are told of; nothing is isolated that no flag asks for; errors keep their words.
    for arguments in [
        &["sh", "-c", namespaces][..],
        &["-c", "sh", "-c", "sleep 1000 & exit 3"],
        &["--frob"],
        &["-n", "/nonexistent/command"],
    ] {
        let outcome = |mut command: Command, with: bool| {
            command.env_clear().env("PATH", "/usr/bin:/bin");
            if with {
                command.envs(variables);
            }
            let output = run(command);
            let without_pids: String = text(&output.stderr)
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .collect();
            // The shell's child is called so until it has executed the sleep.
            let without_pids = without_pids.replace("leftover: sh ", "leftover: sleep ");
            (output.status, output.stdout, without_pids)
        };
        let plain = outcome(phasebox(arguments), false);
        assert_eq!(outcome(phasebox(arguments), true), plain, "{arguments:?}");
    }
}

#[test]
fn the_working_directory_reaches_the_command() {
    needs_root!();
    let place = scratch(0);
    let path = place.to_str().unwrap().to_owned();
    for report in compare(move |command| {
        command.current_dir(&path);
    }) {
        let prefix = format!("cwd {} ", place.display());
        assert!(
            report.iter().any(|line| line.starts_with(&prefix)),
            "{report:#?}"
        );
    }
}

#[test]
fn a_deleted_working_directory_reaches_the_command() {
    needs_root!();
    let path = scratch(0).join("gone");
    fs::create_dir(&path).unwrap();
    let gone = fs::File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    let directory = gone.as_raw_fd();
    for report in compare(move |command| {
        in_child(command, move || {
            // SAFETY: numbers only.
            check(unsafe { libc::fchdir(directory) })
        });
    }) {
        let line = report.iter().find(|line| line.starts_with("cwd ")).unwrap();
        assert!(line.contains("/gone (deleted) "), "{line}");
    }
}

#[test]
fn a_working_directory_that_the_caller_may_not_enter_reaches_the_command() {
    needs_root!();
    let place = scratch(0);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
    let path = place.to_str().unwrap().to_owned();
    // Entered as root, before the caller becomes an ordinary user.
    for report in compare(move |command| {
        command.current_dir(&path);
    }) {
        let prefix = format!("cwd {} ", place.display());
        assert!(
            report.iter().any(|line| line.starts_with(&prefix)),
            "{report:#?}"
        );
    }
}

// --- descriptors ---

/// Descriptors of several kinds, out of the way of those that a test sets.
struct Sources(Vec<OwnedFd>);

impl Sources {
    fn new() -> Sources {
        let place = scratch(0);
        let file = fs::File::create(place.join("file")).unwrap();
        (&file).write_all(b"0123456789").unwrap();
        let read = fs::File::open(place.join("file")).unwrap();
        let directory = fs::File::open(&place).unwrap();
        let path = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(&place)
            .unwrap();
        let append = fs::OpenOptions::new()
            .append(true)
            .open(place.join("file"))
            .unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let (pipe, other_end) = pipe();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: returns a new descriptor.
        let event = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        let all: Vec<OwnedFd> = vec![
            file.into(),
            read.into(),
            directory.into(),
            path.into(),
            append.into(),
            null.into(),
            pipe,
            other_end,
            socket.into(),
            event,
        ];
        Sources(all.iter().map(high).collect())
    }
}

/// A copy numbered 64 or above.
fn high(fd: &OwnedFd) -> OwnedFd {
    // SAFETY: numbers only.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
    assert!(copy >= 64);
    // SAFETY: a new descriptor.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

/// Gives the caller exactly these descriptors: the one at index N becomes N, none is closed.
fn inherit(command: &mut Command, fds: [Option<RawFd>; 10]) {
    in_child(command, move || {
        for (number, fd) in fds.into_iter().enumerate() {
            let number = number as RawFd;
            match fd {
                // SAFETY: numbers only.
                Some(fd) => check(unsafe { libc::dup2(fd, number) })?,
                // SAFETY: numbers only. It may be closed already.
                None => drop(unsafe { libc::close(number) }),
            }
        }
        close_on_exec_from(10)
    });
}

/// The descriptors that a report tells of.
fn told_fds(report: &[String]) -> BTreeSet<usize> {
    let words = report.iter().filter_map(|line| line.strip_prefix("fd "));
    words
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

fn compare_fds(fds: [Option<RawFd>; 10]) {
    let expected: BTreeSet<usize> = (0..10).filter(|number| fds[*number].is_some()).collect();
    for report in compare(|command| inherit(command, fds)) {
        assert_eq!(told_fds(&report), expected);
    }
}

#[test]
fn any_set_of_descriptors_reaches_the_command_as_it_is() {
    needs_root!();
    let sources = Sources::new();
    // A linear congruential generator (Knuth's): the same sets in every run.
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize
    };
    for _ in 0..20 {
        compare_fds(std::array::from_fn(|_| {
            let source = sources.0[next() % sources.0.len()].as_raw_fd();
            (next() % 2 == 0).then_some(source)
        }));
    }
}

#[test]
fn standard_streams_that_are_closed_stay_closed() {
    needs_root!();
    let sources = Sources::new();
    for set in 0..8 {
        compare_fds(std::array::from_fn(|number| {
            (number < 3 && set & (1 << number) != 0).then(|| sources.0[number].as_raw_fd())
        }));
    }
}

#[test]
fn a_message_does_not_land_in_a_file_that_took_the_place_of_closed_standard_error() {
    needs_root!();
    let sources = Sources::new();
    for set in 0..8 {
        for (words, expected) in [(&["/nonexistent/x"][..], 127), (&["sh", "-c", "exit 5"], 5)] {
            for mode in modes() {
                let mut command = mode.program(words);
                let file = sources.0[0].as_raw_fd();
                // Standard error is never open; 3 is the caller's own file.
                inherit(
                    &mut command,
                    std::array::from_fn(|number| {
                        (number == 3 || (number < 2 && set & (1 << number) != 0)).then_some(file)
                    }),
                );
                mode.enter(&mut command);
                let status = wait_for(&mut command.spawn().unwrap());
                assert_eq!(status.code(), Some(expected), "{mode:?} {set}");
            }
        }
    }
    let mut content = String::new();
    // SAFETY: a new descriptor of the file's.
    let mut file = unsafe { fs::File::from_raw_fd(libc::dup(sources.0[1].as_raw_fd())) };
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "0123456789");
}

/// The end to read and the end to write.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: writes two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// A box whose command runs until it is let go.
struct Held {
    child: Child,
    // Held open: what the command writes there later must not fail.
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Held {
    /// Runs `script` after which the command waits for a line, or the end, of its standard input.
    fn start(mode: Mode, script: &str, prepare: impl Fn(&mut Command)) -> Held {
        let mut command = mode.program(&["sh", "-c", &format!("{script}\necho ready; read line")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        mode.enter(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert!(
                stdout.read_line(&mut line).unwrap() > 0,
                "{mode:?}: it ended"
            );
        }
        Held {
            child,
            _stdout: stdout,
        }
    }

    /// The processes that wait, by what they are.
    fn waiting(&self, mode: Mode) -> Vec<(&'static str, u32)> {
        let stub = self.child.id();
        let mut all = vec![("stub", stub)];
        if mode.has_group() {
            all.push(("guard", guard_of(stub)));
        }
        if mode.has_init() {
            let mut init = None;
            eventually("there is an init", || {
                init = children(stub)
                    .into_iter()
                    .find(|child| name(*child) == "phasebox-init");
                init.is_some()
            });
            all.push(("init", init.unwrap()));
        }
        all
    }

    fn release(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(
            wait_for(&mut self.child).code(),
            Some(1),
            "read fails at the end of input"
        );
    }
}

fn open_files(pid: u32) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((
                entry.file_name().into_string().unwrap(),
                target.to_string_lossy().into_owned(),
            ))
        })
        .collect()
}

#[test]
fn the_command_uses_descriptors_3_to_9_and_nothing_that_waits_holds_the_callers() {
    needs_root!();
    for mode in modes().into_iter().filter(|mode| !mode.in_place()) {
        let place = mode.scratch();
        let log = place.join("log");
        let errors = place.join("errors");
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let file = high(&file.into());
        let held = Held::start(
            mode,
            "for number in 3 4 5 6 7 8 9; do eval \"echo $number >&$number\"; done",
            |command| {
                let fd = file.as_raw_fd();
                command
                    .current_dir(&place)
                    .stderr(fs::File::create(&errors).unwrap());
                in_child(command, move || {
                    for number in 3..10 {
                        // SAFETY: numbers only.
                        check(unsafe { libc::dup2(fd, number) })?;
                    }
                    close_on_exec_from(10)
                });
            },
        );
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "3\n4\n5\n6\n7\n8\n9\n",
            "{mode:?}"
        );

        let shared = |pid| {
            let errors = errors.to_str().unwrap();
            open_files(pid)
                .into_iter()
                .filter(|(number, target)| !(number == "2" && target == errors))
                .filter(|(_, target)| !is_the_programs_own(target))
                // Where 0 to 2 are to lead nowhere: the root directory's path.
                .filter(|(number, target)| !(number.as_str() <= "2" && target == "/"))
                .collect::<Vec<_>>()
        };
        let directory = |pid| fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        for (what, pid) in held.waiting(mode) {
            if what == "init" {
                // It lets go while the command already runs.
                eventually("the init has let go", || {
                    shared(pid).is_empty() && directory(pid) == Path::new("/")
                });
            }
            assert_eq!(shared(pid), [], "{mode:?}: the {what} holds");
            assert_eq!(directory(pid), Path::new("/"), "{mode:?}: the {what} is in");
            assert!(
                !open_files(pid).is_empty(),
                "{mode:?}: the {what} can be looked at"
            );
        }
        held.release();
    }
}

/// Sockets are told from the caller's in [`any_set_of_descriptors_reaches_the_command_as_it_is`];
/// here the caller has none.
fn is_the_programs_own(target: &str) -> bool {
    // "/" is where 0, 1 and 2 lead in a guard.
    target == "/"
        || target.starts_with("socket:[")
        || target == "anon_inode:[signalfd]"
        || target.starts_with(cgroup_mount().to_str().unwrap())
}

#[test]
fn the_reader_of_the_commands_output_sees_its_end_while_the_box_still_runs() {
    needs_root!();
    for mode in modes() {
        let mut command = mode.program(&["sh", "-c", "echo closed; exec >&-; read line; exit 9"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        mode.enter(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (told, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut all = String::new();
            let _ = stdout.read_to_string(&mut all);
            let _ = told.send(all);
        });
        let output = end.recv_timeout(LONG).unwrap_or_else(|_| {
            kill(child.id(), libc::SIGKILL);
            panic!("{mode:?}: somebody still holds the pipe")
        });
        assert_eq!(output, "closed\n");
        assert_eq!(child.try_wait().unwrap(), None, "{mode:?}: it still runs");
        drop(child.stdin.take());
        assert_eq!(wait_for(&mut child).code(), Some(9), "{mode:?}");
    }
}

// --- signals ---

/// Blocks exactly these signals in the caller.
fn block(command: &mut Command, signals: &'static [i32]) {
    let set = signals
        .iter()
        .fold(0u64, |set, signal| set | 1 << (signal - 1));
    in_child(command, move || {
        // The kernel's own set of 64 bits: glibc would leave out 32 and 33.
        // SAFETY: reads one set.
        check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const set,
                0,
                8,
            )
        })
    });
}

/// Has the caller ignore these signals.
fn ignore(command: &mut Command, signals: &'static [i32]) {
    take(command, libc::SIG_IGN, signals);
}

/// Sets a disposition. By the system call: glibc keeps 32 and 33 for itself.
fn take(command: &mut Command, disposition: usize, signals: &'static [i32]) {
    in_child(command, move || {
        // struct sigaction of the kernel: handler, flags, restorer, mask.
        let action = [disposition, 0, 0, 0];
        for signal in signals {
            // SAFETY: reads one sigaction, sets no handler.
            check(unsafe {
                libc::syscall(libc::SYS_rt_sigaction, *signal, &raw const action, 0, 8)
            })?;
        }
        Ok(())
    });
}

/// Every signal but SIGKILL and SIGSTOP.
const ALL: [i32; 62] = {
    let mut all = [0; 62];
    let (mut signal, mut at) = (1, 0);
    while signal <= 64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            all[at] = signal;
            at += 1;
        }
        signal += 1;
    }
    all
};

#[test]
fn the_signal_mask_reaches_the_command() {
    needs_root!();
    compare_and_find(&["SigBlk:\t0000000000000000"], |command| {
        block(command, &[])
    });
    compare_and_find(&["SigBlk:\t8000000080014200"], |command| {
        block(
            command,
            &[libc::SIGUSR1, libc::SIGTERM, libc::SIGCHLD, 32, 64],
        );
    });
    compare_and_find(&["SigBlk:\tfffffffffffbfeff"], |command| {
        block(command, &ALL)
    });
}

#[test]
fn ignored_signals_reach_the_command_ignored() {
    needs_root!();
    compare_and_find(&["SigIgn:\t0000000000000000"], |_| {});
    compare_and_find(&["SigIgn:\t0000000000001006"], |command| {
        ignore(command, &[libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT]);
    });
    compare_and_find(&["SigIgn:\t0000000000010000"], |command| {
        ignore(command, &[libc::SIGCHLD])
    });
    compare_and_find(&["SigIgn:\tfffffffffffbfeff"], |command| {
        ignore(command, &ALL)
    });
}

#[test]
fn ignored_and_blocked_signals_do_not_hide_how_the_command_ended() {
    needs_root!();
    for mode in modes() {
        for (script, code, signal) in [
            ("exit 7", Some(7), None),
            ("kill -KILL $$", None, Some(libc::SIGKILL)),
        ] {
            for (ignored, blocked) in [
                (&[libc::SIGCHLD][..], &[][..]),
                (&ALL, &[]),
                (&[], &ALL),
                (&ALL, &ALL),
            ] {
                let mut command = mode.program(&["sh", "-c", script]);
                ignore(&mut command, ignored);
                block(&mut command, blocked);
                mode.enter(&mut command);
                let status = run(command).status;
                assert_eq!(
                    (status.code(), signal_of(status)),
                    (code, signal),
                    "{mode:?} {script}"
                );
            }
        }
    }
}

/// Waits for the signal named by its argument, which must be blocked.
const TAKE: &str = "
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv)
{
	struct timespec longest = { 20, 0 };
	sigset_t set;
	(void)argc;
	sigemptyset(&set);
	sigaddset(&set, atoi(argv[1]));
	return sigtimedwait(&set, NULL, &longest) == atoi(argv[1]) ? 0 : 1;
}
";

/// A blocked signal that was sent before the program started, by `sender`, reaches the command.
fn a_pending_signal_reaches_the_command(sender: fn() -> std::io::Result<()>) {
    let take = compile("take", TAKE);
    for mode in modes() {
        let mut command = mode.program(&[take.to_str().unwrap(), "10"]);
        block(&mut command, &[libc::SIGUSR1]);
        in_child(&mut command, sender);
        mode.enter(&mut command);
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{mode:?}: {output:?}");
    }
}

#[test]
fn a_pending_signal_of_another_process_reaches_the_command() {
    needs_root!();
    a_pending_signal_reaches_the_command(|| {
        // SAFETY: the new process makes system calls only.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: numbers only.
                unsafe { libc::kill(libc::getppid(), libc::SIGUSR1) };
                // SAFETY: no handlers of the test program's may run.
                unsafe { libc::_exit(0) }
            }
            child => {
                check(child)?;
                // SAFETY: no status is asked for.
                check(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) })
            }
        }
    });
}

#[test]
fn a_pending_signal_that_the_caller_sent_itself_reaches_the_command() {
    needs_root!();
    a_pending_signal_reaches_the_command(|| {
        // SAFETY: numbers only.
        check(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) })
    });
}

#[test]
fn a_timer_of_the_callers_ends_the_command() {
    needs_root!();
    for mode in modes() {
        let mut command = mode.program(&["sleep", "100000"]);
        in_child(&mut command, || {
            // SAFETY: all of it is integers.
            let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
            timer.it_value.tv_usec = 300_000;
            // SAFETY: reads one itimerval.
            check(unsafe {
                libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0)
            })
        });
        mode.enter(&mut command);
        let status = run(command).status;
        assert_eq!(signal_of(status), Some(libc::SIGALRM), "{mode:?} {status}");
    }
}

// --- the rest of what a process inherits ---

#[test]
fn the_umask_reaches_the_command() {
    needs_root!();
    for (mask, line) in [(0, "umask 0"), (0o37, "umask 037"), (0o777, "umask 0777")] {
        compare_and_find(&[line], move |command| {
            in_child(command, move || {
                // SAFETY: numbers only; umask has no error.
                unsafe { libc::umask(mask) };
                Ok(())
            });
        });
    }
}

#[test]
fn niceness_scheduling_and_timer_slack_reach_the_command() {
    needs_root!();
    compare_and_find(
        &["nice 7", "scheduler 3", "ioprio 24576", "slack 12345"],
        |command| {
            in_child(command, || {
                // SAFETY: numbers only.
                check(unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, 7) })?;
                // SAFETY: all of it is integers.
                let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
                // SAFETY: reads the parameters.
                check(unsafe {
                    libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters)
                })?;
                // The idle class of IOPRIO_WHO_PROCESS, ioprio_set(2).
                // SAFETY: numbers only.
                check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, 3 << 13) })?;
                // SAFETY: numbers only.
                check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 12345) })
            });
        },
    );
}

fn limit(command: &mut Command, resource: u32, soft: u64, hard: u64) {
    in_child(command, move || {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: reads one rlimit.
        check(unsafe { libc::setrlimit(resource as _, &raw const limit) })
    });
}

#[test]
fn resource_limits_reach_the_command() {
    needs_root!();
    let lines = [
        "limit 0 1000 1001",
        "limit 1 100000 200000",
        "limit 7 40 64",
        "limit 4 0 0",
    ];
    compare_and_find(&lines, |command| {
        limit(command, libc::RLIMIT_CPU, 1000, 1001);
        limit(command, libc::RLIMIT_FSIZE, 100_000, 200_000);
        limit(command, libc::RLIMIT_NOFILE, 40, 64);
        limit(command, libc::RLIMIT_CORE, 0, 0);
    });
}

#[test]
fn tight_limits_are_no_obstacle() {
    needs_root!();
    let limits: [(u32, u64); 4] = [
        // Nothing is written to a file that counts, and no signal of it would kill.
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_STACK, 64 * 1024),
        (libc::RLIMIT_SIGPENDING, 0),
        (libc::RLIMIT_MEMLOCK, 0),
    ];
    for (resource, value) in limits {
        for mode in modes() {
            let mut command = mode.program(&["sh", "-c", "exit 4"]);
            limit(&mut command, resource, value, value);
            mode.enter(&mut command);
            let output = run(command);
            assert_eq!(
                output.status.code(),
                Some(4),
                "{mode:?} {resource} {output:?}"
            );
        }
    }
}

#[test]
fn the_oom_score_reaches_the_command() {
    needs_root!();
    compare_and_find(&["oom 500"], |command| {
        in_child(command, || {
            // SAFETY: a NUL-ended path.
            let fd = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY) };
            check(fd)?;
            // SAFETY: three bytes are read.
            check(unsafe { libc::write(fd, c"500".as_ptr().cast(), 3) } as i64)?;
            // SAFETY: numbers only.
            check(unsafe { libc::close(fd) })
        });
    });
}

#[test]
fn the_callers_groups_reach_the_command() {
    needs_root!();
    // In a user namespace with one id they stay, too, but are shown otherwise.
    let shown = |mode: &Mode| mode.caller == Caller::Root || lent();
    for mode in modes().into_iter().filter(shown) {
        let place = mode.scratch();
        let enter = |command: &mut Command| {
            let groups = &[5, 60_000, 4_000_000_000];
            match mode.caller {
                Caller::User => become_with_groups(command, USER, groups),
                // SAFETY: reads three ids.
                Caller::Root => in_child(command, || {
                    check(unsafe { libc::setgroups(3, groups.as_ptr()) })
                }),
            }
        };
        let told = observe_entered(mode, true, &place, &enter);
        let plain = observe_entered(mode, false, &place, &enter);
        assert_eq!(told, plain, "{mode:?}");
        let groups = told
            .iter()
            .find(|line| line.starts_with("Groups:"))
            .unwrap();
        assert_eq!(groups.trim_end(), "Groups:\t5 60000 4000000000", "{mode:?}");
    }
}

#[test]
fn session_and_process_group_are_the_callers() {
    needs_root!();
    // Of the test program itself.
    compare(|_| {});
    // A process group of its own: its number is the pid of the program.
    for mode in modes().into_iter().filter(|mode| !mode.has_init()) {
        let held = Held::start(mode, "", |command| {
            command.process_group(0);
        });
        let stub = held.child.id();
        let command = if mode.in_place() {
            stub
        } else {
            *children(stub)
                .iter()
                .find(|child| name(**child) == "sh")
                .unwrap()
        };
        assert_eq!(process_group(command), stub, "{mode:?}");
        held.release();
    }
}

/// The field of proc_pid_stat(5).
fn process_group(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    status
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn the_terminal_is_the_callers() {
    needs_root!();
    for mode in modes() {
        let place = mode.scratch();
        let told = place.join("told");
        let (_master, slave) = terminal();
        let mut command = mode.program(&[report().to_str().unwrap(), told.to_str().unwrap()]);
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        in_child(&mut command, || {
            // SAFETY: numbers only.
            check(unsafe { libc::setsid() })?;
            // SAFETY: numbers only.
            check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })
        });
        mode.enter(&mut command);
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        assert!(wait_for(&mut child).success(), "{mode:?}");
        let told = fs::read_to_string(told).unwrap();
        let has = |line: &str| told.lines().any(|told| told == line);
        assert!(has("terminal 1"), "{mode:?}: /dev/tty opens\n{told}");
        if !mode.has_init() {
            for name in ["session", "group", "foreground"] {
                assert!(has(&format!("{name} {pid}")), "{mode:?}: {name}\n{told}");
            }
        }
    }
}

/// A new terminal: its master and its slave.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: writes two descriptors; name, attributes and size are left to the system.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0);
    for fd in [master, slave] {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: new descriptors.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

// --- in place ---

#[test]
fn with_net_and_ipc_alone_the_command_takes_the_programs_place() {
    needs_root!();
    for caller in [Caller::Root, Caller::User] {
        for flags in [&["-n", "-i"][..], &["-n"], &["-i"], &["-m"], &["-nim"], &[]] {
            let token = token("place");
            let script = "echo $$ $PPID; read line; exit 6";
            let words = [flags, &["sh", "-c", script, &token]].concat();
            let mut command = phasebox_as(caller, &words);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdout.read_line(&mut line).unwrap();
            let expected = format!("{} {}\n", child.id(), std::process::id());
            assert_eq!(line, expected, "{caller:?} {flags:?}");
            assert_eq!(
                alive(&token),
                [child.id()],
                "{caller:?} {flags:?}: nothing else"
            );
            assert_eq!(children(child.id()), []);
            drop(child.stdin.take());
            assert_eq!(wait_for(&mut child).code(), Some(6));
        }
    }
}

// --- make's jobserver ---

#[test]
fn a_recursive_make_in_the_box_has_its_share_of_the_jobs() {
    needs_root!();
    let version = text(
        &run({
            let mut make = Command::new("make");
            make.arg("--version");
            make
        })
        .stdout,
    );
    // Since 4.4 a named pipe is the default; here descriptors are to be tried.
    let pipe = ![
        "GNU Make 3",
        "GNU Make 4.0",
        "GNU Make 4.1",
        "GNU Make 4.2",
        "GNU Make 4.3",
    ]
    .iter()
    .any(|old| version.starts_with(old));
    for mode in modes() {
        let place = mode.scratch();
        // Each of the two waits for the other: both must run at once.
        fs::write(
            place.join("Makefile"),
            "all:\n\t+$(BOX) $(MAKE) meet\nmeet: one two\n\
             one:\n\techo x >there; cat back >/dev/null\n\
             two:\n\tcat there >/dev/null; echo x >back\n",
        )
        .unwrap();
        for fifo in ["there", "back"] {
            let path = place.join(fifo);
            let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: a NUL-ended path.
            assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o666) }, 0);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        // What would wait for ever is killed with the group.
        let group = TestGroup::new("jobs");
        let mut command = Command::new("make");
        group.contain(&mut command);
        command
            .args(["-j2", "all"])
            .arg(format!("BOX={} {} --", program().display(), mode.flags));
        if pipe {
            command.arg("--jobserver-style=pipe");
        }
        command
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .current_dir(&place);
        mode.enter(&mut command);
        let output = run(command);
        assert!(output.status.success(), "{mode:?}: {output:?}");
        assert!(
            !text(&output.stderr).contains("jobserver"),
            "{mode:?}: {output:?}"
        );
    }
}
