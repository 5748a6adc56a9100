//! Limits, signals and faults that a hostile caller sets up around the installed program: no limit is
//! escaped, and the box works or is refused before COMMAND starts. The kill is never skipped.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;
#[path = "common/ground.rs"]
mod ground;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use boxes::{Live, Traced};
use caller::{check, in_child};
use common::installed::*;
use common::*;
use ground::*;

/// A command that leaves daemons, says that it is ready, and waits for a line.
fn with_daemons(end: &str) -> String {
    format!("{DAEMON}; {DAEMON}; setsid sleep 100000 & echo ready; read x; {end}")
}

/// A box with daemons in it.
fn ready(ground: &Ground, options: &str, prepare: impl Fn(&mut Command)) -> Live {
    let mut command = ground.phasebox(&["--quiet", options, "sh", "-c", &with_daemons("exit 5")]);
    prepare(&mut command);
    Live::ready(command)
}

/// Runs the witness boxed, after `prepare`; whether it was boxed. Nothing is left.
fn witness_in(ground: &Ground, options: &str, what: &str, prepare: impl Fn(&mut Command)) -> bool {
    let witness = witness();
    let mut words = vec!["--quiet", options];
    words.extend(witness.iter().map(String::as_str));
    let mut command = ground.phasebox(&words);
    prepare(&mut command);
    let output = run(command);
    let boxed = was_boxed(&output, &format!("{ground}, {options}, {what}"));
    // The guard of a box that was refused, or whose stub a limit killed, may still be ending it.
    if boxed {
        ground.assert_nothing_left(what);
    } else {
        ground.assert_gone_in_time(what);
    }
    boxed
}

/// With a control group, and with one and a PID namespace.
const BOXES: [&str; 2] = ["-nic", "-nicp"];

// ---- What lives in the box.

/// Doubles up to 200 processes that are deaf to every signal, and says so.
fn bomb() -> &'static str {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    boxes::compiled(
        &PROGRAM,
        r#"
        #include <signal.h>
        #include <sys/mman.h>
        #include <time.h>
        #include <unistd.h>
        int main(void) {
            volatile int *count = mmap(0, 4096, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            time_t end = time(0) + 200;
            pid_t first = getpid();
            for (int number = 1; number < 65; number++)
                signal(number, SIG_IGN);
            while (__sync_add_and_fetch(count, 1) < 200)
                if (fork() == 0)
                    setsid();
            while (getpid() == first && *count < 200)
                usleep(100);
            if (getpid() == first)
                write(1, "ready\n", 6);
            /* Chains for ever: each forks the next and ends. No faster than somebody reaps them:
               else dead processes fill the process table, and other tests cannot fork. */
            while (time(0) < end) {
                usleep(20000);
                if (getpid() != first && fork() > 0)
                    _exit(0);
            }
        }
        "#,
    )
}

#[test]
fn a_fork_bomb_dies_when_the_stub_is_killed() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let mut live = Live::ready(ground.phasebox(&["--quiet", options, bomb()]));
            kill(live.stub(), libc::SIGKILL);
            live.status();
            ground.assert_gone_in_time(options);
        }
    });
}

/// A dead process that a tracer outside holds at its last step.
#[test]
fn a_corpse_in_a_tracers_hands_is_named_and_waited_for_no_longer_than_ten_seconds() {
    needs_root!();
    for_each_ground(INSTALLS.map(Ground::new).into(), |ground| {
        let held = token("held");
        let script = format!(
            "(setsid sh -c 'sleep 100000; :' {held} >/dev/null 2>&1 &); echo ready; read x; exit 6"
        );
        let mut live = Live::ready(ground.phasebox(&["-c", "sh", "-c", &script]));
        eventually("the leftover runs", || alive(&held).len() == 1);
        let pid = alive(&held)[0];
        let traced = Traced::seize(pid, libc::PTRACE_O_TRACEEXIT);
        let start = Instant::now();
        live.say("");
        assert_eq!(live.status().code(), Some(6));
        let took = start.elapsed();
        assert!(
            took > Duration::from_secs(9) && took < Duration::from_secs(30),
            "{took:?}"
        );
        let errors = live.end().2;
        let line = errors.lines().last().unwrap_or_default();
        let wanted = "phasebox: unable to kill everything within 10 seconds: ";
        assert!(
            line.starts_with(wanted) && line.contains(&format!("({pid})")),
            "{errors}"
        );
        drop(traced);
        eventually("the corpse is gone", || ground.alive().is_empty());
        // Its group is for the next start.
        assert!(run(ground.phasebox(&["-c", "true"])).status.success());
        ground.assert_nothing_left("swept");
    });
}

#[test]
fn what_is_frozen_or_waits_for_a_vforked_child_dies() {
    needs_root!();
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let vfork = boxes::compiled(
        &PROGRAM,
        r#"
        #include <unistd.h>
        int main(void) {
            if (fork() == 0)
                if (vfork() == 0)
                    for (;;)
                        pause();
            write(1, "ready\n", 6);
            char byte;
            read(0, &byte, 1);
            return 5;
        }
        "#,
    );
    for_each_ground(Ground::all(), |ground| {
        let mut live = Live::ready(ground.phasebox(&["--quiet", "-c", vfork]));
        live.say("");
        assert_eq!(live.status().code(), Some(5));
        ground.assert_nothing_left("vfork");

        let mut live = Live::ready(ground.phasebox(&["--quiet", "-c", vfork]));
        let group = ground.only_box();
        fs::write(group.join("cgroup.freeze"), "1").unwrap();
        eventually("it is frozen", || {
            let events = fs::read_to_string(group.join("cgroup.events")).unwrap();
            events.contains("frozen 1")
        });
        kill(live.stub(), libc::SIGKILL);
        live.status();
        ground.assert_gone_in_time("frozen");
    });
}

// ---- Calls that fail.

/// The calls of the program that can fail, and how many of each a process makes at most.
fn calls_of(ground: &Ground, options: &str) -> Vec<(String, usize)> {
    let trace = scratch(0).join("trace");
    let mut command = ground.outside_as_root("strace");
    command.args(["-f", "-qq", "-o", word(&trace)]);
    command.args([
        "setpriv",
        "--reuid=64101",
        "--regid=64101",
        "--clear-groups",
    ]);
    command.arg(ground.install.program());
    command.args([options, "/bin/true"]);
    assert!(run(command).status.success());
    let mut counts = std::collections::BTreeMap::new();
    let (mut started, mut executed) = (false, Vec::new());
    for line in fs::read_to_string(trace).unwrap().lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("execve(") {
            started |= rest.contains("/phasebox-");
            if rest.contains("/bin/true") && !rest.contains("/phasebox-") {
                executed.push(pid.to_owned());
            }
        }
        // What follows is the command's own.
        if executed.iter().any(|it| it == pid) {
            continue;
        }
        if let (true, Some((call, _))) = (started, rest.split_once('(')) {
            let fits = call
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_');
            if fits && !["exit_group", "execve", "close", "clock_gettime", "getpid"].contains(&call)
            {
                *counts.entry((call.to_owned(), pid.to_owned())).or_insert(0) += 1;
            }
        }
    }
    let mut most: std::collections::BTreeMap<String, usize> = Default::default();
    for ((call, _), count) in counts {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    most.into_iter().collect()
}

/// Becomes the user and executes, with no call but these and no library's.
const LAUNCHER: &str = "
#define _GNU_SOURCE
#include <grp.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	if (argc < 2 || setgroups(0, 0) || setresgid(64101, 64101, 64101) ||
	    setresuid(64101, 64101, 64101))
		return 98;
	execv(argv[1], argv + 1);
	return 99;
}
";

/// Says nothing and calls nothing: it is looked at from outside.
const STATUE: &str = "
#include <unistd.h>
int main(void)
{
	for (;;)
		pause();
}
";

/// What a running command of the ground's user must be, whatever failed before.
fn assert_complete(ground: &Ground, command: u32, what: &str) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{command}/{name}")).unwrap();
    let status = read("status");
    for line in [
        "Uid:\t64101\t64101\t64101\t64101\n",
        "Gid:\t64101\t64101\t64101\t64101\n",
        "Groups:\t \n",
        "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n",
        "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n",
        "SigBlk:\t0000000000000000\n",
    ] {
        assert!(status.contains(line), "{what}: {line:?} in {status}");
    }
    for kind in ["net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(of(&command.to_string()), of("self"), "{what}: {kind}");
    }
    let group = group_of(command);
    assert_eq!(vec![group], ground.boxes(), "{what}");
    let fds: Vec<String> = fs::read_dir(format!("/proc/{command}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        fds.iter().all(|fd| ["0", "1", "2"].contains(&fd.as_str())),
        "{what}: {fds:?}"
    );
}

/// Each call of the program's own, each time it is made, fails: COMMAND runs in a complete box and
/// without privileges, or not at all; and nothing stays.
#[test]
fn whatever_call_fails_the_command_runs_in_a_complete_box_or_not_at_all() {
    needs_root!();
    if Command::new("strace").arg("-V").output().is_err() {
        skip!("needs strace");
    }
    let launcher = compile_static("launcher", LAUNCHER);
    let statue = compile_static("statue", STATUE);
    let scenes: Vec<(Ground, &str)> = vec![
        (Ground::new(Install::SetUserId), "-nicp"),
        (Ground::delegated(Install::Capabilities), "-nic"),
    ];
    std::thread::scope(|scope| {
        for (ground, options) in &scenes {
            let (launcher, statue) = (&launcher, &statue);
            scope.spawn(move || {
                let mut ran = 0;
                let calls = calls_of(ground, options);
                assert!(calls.len() > 20, "{calls:?}");
                for (call, most) in calls {
                    // The launcher makes one of each of these before.
                    let own = ["setgroups", "setresgid", "setresuid"].contains(&call.as_str());
                    for number in 1 + usize::from(own)..=most + usize::from(own) {
                        let injection = format!("inject={call}:error=EPERM:when={number}");
                        let what = format!("{ground}, {options}, {injection}");
                        ran += u32::from(runs_with(
                            ground, options, &injection, &what, launcher, statue,
                        ));
                    }
                }
                // Some failures matter to nobody: a name, a look at others' groups.
                assert!(ran > 0, "{ground}");
            });
        }
    });
}

/// Whether the command ran.
fn runs_with(
    ground: &Ground,
    options: &str,
    injection: &str,
    what: &str,
    launcher: &Path,
    statue: &Path,
) -> bool {
    let call = injection.split(['=', ':']).nth(1).unwrap();
    let mut command = ground.outside_as_root("strace");
    command
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            injection,
        ])
        .arg(launcher)
        .arg(ground.install.program())
        .args(["--quiet", options])
        .arg(statue)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Not what the test program happened to inherit; close-on-exec.
    call_in_child(
        &mut command,
        libc::SYS_close_range,
        [3, i64::from(u32::MAX), 4, 0],
    );
    let mut strace = command.spawn().unwrap();
    let mut running = None;
    let mut ended = None;
    eventually(&format!("{what}: it runs or ends"), || {
        let all = ground.alive();
        running = all.into_iter().find(|pid| name(*pid) == "statue");
        ended = strace.try_wait().unwrap();
        running.is_some() || ended.is_some()
    });
    if let Some(pid) = running {
        assert_complete(ground, pid, what);
        // Now without faults.
        let stub = children(strace.id());
        let _ = strace.kill();
        let _ = strace.wait();
        for pid in stub {
            // SAFETY: numbers only. It may have ended.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    }
    eventually(&format!("{what}: all are dead"), || {
        ground.alive().is_empty()
    });
    if !ground.boxes().is_empty() {
        // A group whose removal failed goes at the next start.
        assert!(run(ground.phasebox(&["-c", "/bin/true"])).status.success());
    }
    ground.assert_nothing_left(what);
    if let Some(status) = ended {
        assert!(!status.success(), "{what}: {status}");
    }
    running.is_some()
}

/// The stub is killed before the init has asked to die with it, and the init is slow then: it starts
/// no command.
#[test]
fn an_init_whose_stub_died_early_starts_nothing() {
    needs_root!();
    if Command::new("strace").arg("-V").output().is_err() {
        skip!("needs strace");
    }
    let launcher = compile_static("launcher", LAUNCHER);
    for_each_ground(INSTALLS.map(Ground::new).into(), |ground| {
        let place = scratch(USER);
        let mut command = ground.outside_as_root("strace");
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl,chdir"])
            // The init's request, and its first step behind the fork of the command.
            .args(["-e", "inject=prctl:delay_enter=3000000:when=5"])
            .args(["-e", "inject=chdir:delay_enter=3000000:when=1"])
            .arg(&launcher)
            .arg(ground.install.program())
            .args(["-p", "/bin/touch"])
            .arg(place.join("started"))
            .stderr(Stdio::null());
        let mut strace = command.spawn().unwrap();
        let mut stub = 0;
        eventually("the init has no privileges any more", || {
            stub = children(strace.id()).first().copied().unwrap_or(stub);
            children(stub).into_iter().any(|pid| {
                let status = fs::read_to_string(format!("/proc/{pid}/status"));
                let status = status.unwrap_or_default();
                status.contains("Uid:\t64101\t64101\t64101") && status.contains("NoNewPrivs:\t1")
            })
        });
        kill(stub, libc::SIGKILL);
        wait_for(&mut strace);
        ground.assert_nothing_left("an init alone");
        assert!(!place.join("started").exists(), "{ground}");
    });
}

// ---- Timers and signals of the caller's.

#[test]
fn whenever_a_timer_of_the_callers_fires_nothing_stays() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for which in [libc::ITIMER_REAL, libc::ITIMER_PROF, libc::ITIMER_VIRTUAL] {
            for step in 1..12 {
                let what = format!("timer {which}, step {step}");
                let mut command =
                    ground.phasebox(&["--quiet", "-nic", "sh", "-c", &with_daemons("exit 5")]);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                in_child(&mut command, move || {
                    // SAFETY: all of it is integers.
                    let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
                    timer.it_value.tv_usec = step * 700;
                    let timer = &raw const timer;
                    // SAFETY: reads one itimerval.
                    check(unsafe { libc::syscall(libc::SYS_setitimer, which, timer, 0) })
                });
                let status = wait_for(&mut command.spawn().unwrap());
                // The input is at its end, so that COMMAND ends by itself where no timer fired.
                let signals = [libc::SIGALRM, libc::SIGPROF, libc::SIGVTALRM].map(Some);
                let known = status.code() == Some(5) || signals.contains(&signal_of(status));
                // Or while it was being started, and then the program was not there yet.
                assert!(known, "{ground}, {what}: {status}");
                ground.assert_gone_in_time(&what);
            }
        }
    });
}

/// Blocks every signal, or ignores it, or both.
fn deaf(command: &mut Command, blocked: bool, ignored: bool) {
    in_child(command, move || {
        for signal in (1..=64).filter(|_| ignored) {
            let action = [libc::SIG_IGN, 0, 0, 0];
            // SAFETY: reads one sigaction of the kernel's form. It fails for two signals.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, 0, 8) };
        }
        let set = if blocked { u64::MAX } else { 0 };
        let how = libc::SIG_SETMASK;
        // SAFETY: reads one set of the kernel's form.
        check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, 0, 8) })
    });
}

#[test]
fn blocked_ignored_and_pending_signals_change_nothing() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            for (blocked, ignored) in [(true, false), (false, true), (true, true)] {
                let what = format!("blocked {blocked}, ignored {ignored}");
                let boxed = witness_in(ground, options, &what, |command| {
                    deaf(command, blocked, ignored);
                    if blocked {
                        for signal in [libc::SIGTERM, libc::SIGCHLD, libc::SIGHUP, 64] {
                            // SAFETY: numbers only.
                            in_child(command, move || {
                                check(unsafe { libc::kill(libc::getpid(), signal) })
                            });
                        }
                    }
                });
                assert!(boxed, "{ground}, {options}, {what}");
            }
            let mut live = ready(ground, options, |command| deaf(command, true, true));
            kill(live.stub(), libc::SIGKILL);
            live.status();
            ground.assert_gone_in_time("deaf");
        }
    });
}

#[test]
fn children_that_the_caller_had_before_and_orphans_that_it_adopts_are_not_the_commands() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        let script =
            "i=0; while [ $i -lt 20 ]; do (true &) ; i=$((i+1)); done; echo ready; read x; exit 5";
        let mut command = ground.phasebox(&["--quiet", "-c", "sh", "-c", script]);
        in_child(&mut command, || {
            // SAFETY: numbers only.
            check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) })?;
            for status in [42, 43] {
                // SAFETY: the new process makes one system call.
                let child = unsafe { libc::fork() };
                check(child)?;
                if child == 0 {
                    // SAFETY: no handlers of the test program's may run.
                    unsafe { libc::_exit(status) };
                }
            }
            Ok(())
        });
        let mut live = Live::ready(command);
        // The caller's two, the command, the guard: of the command's orphans none, or they would
        // count against its limits until the end.
        let mut kept = Vec::new();
        eventually("the orphans are reaped", || {
            kept = children(live.stub());
            kept.len() <= 4
        });
        assert_eq!(live.end().0.code(), Some(5), "{ground}");
        ground.assert_nothing_left("foreign children");
    });
}

// ---- Resource limits.

/// A limit, its value, whether the box must work: where that is open, it depends on the machine.
const LIMITS: [(u32, u64, bool); 12] = [
    (libc::RLIMIT_FSIZE, 0, true),
    (libc::RLIMIT_SIGPENDING, 0, true),
    (libc::RLIMIT_MEMLOCK, 0, true),
    (libc::RLIMIT_MSGQUEUE, 0, true),
    (libc::RLIMIT_LOCKS, 0, true),
    (libc::RLIMIT_CORE, 0, true),
    (libc::RLIMIT_NICE, 0, true),
    (libc::RLIMIT_RTPRIO, 0, true),
    (libc::RLIMIT_STACK, 64 * 1024, true),
    (libc::RLIMIT_STACK, 16 * 1024, false),
    (libc::RLIMIT_STACK, 4096, false),
    (libc::RLIMIT_DATA, 64 * 1024, false),
];

#[test]
fn limits_set_to_sabotage_let_the_box_work_or_refuse_it() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for (resource, value, must_work) in LIMITS {
            for options in BOXES {
                let what = format!("limit {resource} {value}");
                let boxed = witness_in(ground, options, &what, |command| {
                    limit(command, resource, value, value);
                });
                assert!(boxed || !must_work, "{ground}, {options}, {what}");
            }
        }
    });
}

#[test]
fn with_any_number_of_descriptors_the_box_works_or_is_refused() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let boxed: Vec<bool> = (0..=20)
                .map(|number| {
                    witness_in(
                        ground,
                        options,
                        &format!("{number} descriptors"),
                        |command| {
                            limit(command, libc::RLIMIT_NOFILE, number, number);
                        },
                    )
                })
                .collect();
            // Enough is enough: it does not depend on anything else.
            let first = boxed.iter().position(|boxed| *boxed).unwrap();
            assert!(first > 3, "{ground}, {options}: {boxed:?}");
            assert!(
                boxed[first..].iter().all(|boxed| *boxed),
                "{ground}, {options}: {boxed:?}"
            );
        }
    });
}

#[test]
fn with_any_size_of_address_space_the_box_works_or_is_refused() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        let mut boxed = Vec::new();
        for size in [1, 20, 40, 60, 80, 100, 150, 200, 300, 500, 2000, 16_000] {
            boxed.push(witness_in(
                ground,
                "-nic",
                &format!("{size} KiB"),
                |command| {
                    limit(command, libc::RLIMIT_AS, size * 1024, size * 1024);
                },
            ));
        }
        assert_eq!((boxed[0], boxed.last()), (false, Some(&true)), "{ground}");
    });
}

#[test]
fn processor_time_that_is_nearly_used_up_does_not_keep_the_box_alive() {
    needs_root!();
    for_each_ground(INSTALLS.map(Ground::new).into(), |ground| {
        for options in ["-nic"] {
            // Deaf to what the flood below sends; only a few processes, that all wait.
            let mut live = ready(ground, options, |command| {
                limit(command, libc::RLIMIT_CPU, 1, 1);
                in_child(command, || {
                    loop {
                        // SAFETY: all of it is integers.
                        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
                        // SAFETY: writes one rusage.
                        unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
                        let micros = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
                        if micros > 500_000 {
                            return Ok(());
                        }
                    }
                });
            });
            // The stub spends what is left on reading signals; then the kernel kills it.
            let stub = live.stub() as i32;
            let end = Instant::now() + LONG;
            while !matches!(state(live.stub()), None | Some('Z')) {
                // SAFETY: a pid that is not reaped yet.
                unsafe { libc::kill(stub, libc::SIGWINCH) };
                assert!(Instant::now() < end, "the limit has no effect");
            }
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL), "{ground}");
            ground.assert_gone_in_time(options);
        }
    });
}

#[test]
fn messages_that_cannot_be_written_do_not_stop_the_kill() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let script = format!("{DAEMON}; exit 5");
            // Into a file, where nothing may be added to it.
            let place = scratch(ground.uid);
            let errors = fs::File::create(place.join("errors")).unwrap();
            let mut command = ground.phasebox(&[options, "sh", "-c", &script]);
            command.stdout(Stdio::null()).stderr(errors);
            limit(&mut command, libc::RLIMIT_FSIZE, 0, 0);
            let status = wait_for(&mut command.spawn().unwrap());
            assert_eq!(status.code(), Some(5), "{ground}, {options}");
            ground.assert_nothing_left("a file that may not grow");

            // Into a pipe that nobody reads any more; SIGPIPE kills by default.
            let (reader, writer) = ground::pipe();
            drop(reader);
            let mut command = ground.phasebox(&[options, "sh", "-c", &script]);
            command.stdout(Stdio::null()).stderr(writer);
            in_child(&mut command, || {
                // SAFETY: sets no handler.
                unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
                Ok(())
            });
            let status = wait_for(&mut command.spawn().unwrap());
            assert_eq!(status.code(), Some(5), "{ground}, {options}");
            ground.assert_nothing_left("a broken pipe");
        }
    });
}

#[test]
fn a_full_pipe_for_messages_does_not_delay_the_kill() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let (mut reader, mut writer) = ground::pipe();
            // SAFETY: numbers only.
            let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
            writer.write_all(&vec![b'.'; size as usize]).unwrap();
            let leftover = token("leftover");
            let script = format!("{}& exit 5", sleeper(&leftover));
            let mut command = ground.phasebox(&[options, "sh", "-c", &script]);
            command.stdout(Stdio::null()).stderr(writer);
            let mut child = command.spawn().unwrap();
            drop(command);
            // All that is left is the stub, with its message.
            eventually("the box is gone", || {
                ground.alive() == [child.id()] && ground.boxes().is_empty()
            });
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            let told = text(&rest[size as usize..]);
            assert!(told.starts_with("phasebox: killed "), "{ground}: {told:?}");
            assert_eq!(wait_for(&mut child).code(), Some(5), "{ground}, {options}");
            ground.assert_nothing_left("a full pipe");
        }
    });
}

/// A user's processes, so many that a limit is reached.
struct Crowd(Vec<std::process::Child>);

impl Crowd {
    fn new(uid: u32, number: usize) -> Crowd {
        let mut command = Command::new("sleep");
        command.arg("100000").uid(uid).stdin(Stdio::null());
        Crowd((0..number).map(|_| command.spawn().unwrap()).collect())
    }
}

/// How many processes count for a user, the dead that nobody has reaped yet among them.
fn count_of(uid: u32) -> usize {
    let line = format!("Uid:\t{uid}\t");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let status = |path: PathBuf| fs::read_to_string(path.join("status")).unwrap_or_default();
    entries
        .filter(|entry| status(entry.path()).contains(&line))
        .count()
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Users that nobody else runs as: what they may have is counted by user.
#[test]
fn a_caller_with_too_many_processes_gets_no_more_of_them_by_a_box() {
    needs_root!();
    let mut grounds = Ground::all();
    for (uid, ground) in (64301..).zip(&mut grounds) {
        ground.uid = uid;
        if let Some(inner) = &ground.inner {
            for entry in fs::read_dir(inner).unwrap() {
                let path = entry.unwrap().path();
                if fs::metadata(&path).unwrap().uid() == USER {
                    chown(path, Some(uid), None).unwrap();
                }
            }
            chown(inner, Some(uid), None).unwrap();
        }
    }
    for_each_ground(grounds, |ground| {
        let crowd = Crowd::new(ground.uid, 10);
        for options in BOXES {
            // Its own process and the command's come to the crowd, and with -p the init.
            let least = if options.contains('p') { 13 } else { 12 };
            for number in 8..=16 {
                let what = format!("{number} processes");
                eventually("only the crowd is there", || count_of(ground.uid) == 10);
                let boxed = witness_in(ground, options, &what, |command| {
                    limit(command, libc::RLIMIT_NPROC, number, number);
                });
                assert_eq!(boxed, number >= least, "{ground}, {options}, {what}");
            }
        }
        drop(crowd);
    });
}

/// A group of the pids controller, where cgroup v1 has it, for what `command` starts.
struct PidsGroup(PathBuf);

impl PidsGroup {
    fn new(limit: u32) -> Option<PidsGroup> {
        let mount = Path::new("/sys/fs/cgroup/pids");
        if !mount.join("cgroup.procs").exists() {
            return None;
        }
        let path = mount.join(token("pids"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pids.max"), limit.to_string()).unwrap();
        Some(PidsGroup(path))
    }

    fn enter(&self, command: &mut Command) {
        start_in(command, &self.0);
    }

    fn members(&self) -> Vec<u32> {
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap();
        procs.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        eventually("the pids group is removed", || {
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// The command with `prepare` done as root, before it becomes the ground's user.
fn prepared_by_root(ground: &Ground, words: &[&str], prepare: impl Fn(&mut Command)) -> Command {
    let mut command = ground.outside_as_root(word(ground.install.program()));
    command.args(words);
    prepare(&mut command);
    become_user(&mut command);
    command
}

#[test]
fn in_a_full_process_table_the_box_works_or_is_refused() {
    needs_root!();
    let witness = witness();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let mut boxed = Vec::new();
            for number in 1..=7 {
                let Some(group) = PidsGroup::new(number) else {
                    return;
                };
                let mut words = vec!["--quiet", options];
                words.extend(witness.iter().map(String::as_str));
                let output = run(prepared_by_root(ground, &words, |command| {
                    group.enter(command)
                }));
                let what = format!("{ground}, {options}, {number} processes");
                boxed.push(was_boxed(&output, &what));
                ground.assert_gone_in_time(&what);
            }
            // One, two or three of the program's own, and then the command has its place.
            assert_eq!(
                (boxed[0], boxed[1], boxed[6]),
                (false, false, true),
                "{boxed:?}"
            );
        }
    });
}

#[test]
fn helpers_and_command_stay_in_the_callers_other_control_groups() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let Some(group) = PidsGroup::new(1000) else {
                return;
            };
            let words = ["--quiet", options, "sh", "-c", "echo ready; read x"];
            let command = prepared_by_root(ground, &words, |command| group.enter(command));
            let mut live = Live::ready(command);
            let mut inside = group.members();
            let mut all = ground.alive();
            inside.sort_unstable();
            all.sort_unstable();
            assert!(all.len() >= 3);
            assert_eq!(inside, all, "{ground}, {options}");
            live.end();
            ground.assert_nothing_left(options);
        }
    });
}

#[test]
fn limits_niceness_and_scheduling_class_bind_the_guard_as_they_bind_the_command() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let mut live = ready(ground, options, |command| {
                limit(command, libc::RLIMIT_NOFILE, 60, 70);
                limit(command, libc::RLIMIT_CPU, 1000, 1001);
                limit(command, libc::RLIMIT_NPROC, 3000, 3001);
                // 19, SCHED_IDLE, the idle class of input and output, three seconds of slack.
                let none = [0; 4];
                call_in_child(command, libc::SYS_setpriority, [0, 0, 19, 0]);
                in_child(command, || {
                    // SAFETY: all of it is integers.
                    let zero: libc::sched_param = unsafe { std::mem::zeroed() };
                    // SAFETY: reads the parameters.
                    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const zero) })
                });
                call_in_child(command, libc::SYS_ioprio_set, [1, 0, 3 << 13, 0]);
                let slack = i64::from(libc::PR_SET_TIMERSLACK);
                call_in_child(command, libc::SYS_prctl, [slack, 3_000_000_000, 0, 0]);
                call_in_child(command, libc::SYS_sync, none);
            });
            let guard = guard_of(live.stub());
            let bound = |pid: u32| {
                let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
                // SAFETY: numbers only.
                let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, pid) };
                // SAFETY: numbers only.
                let class = unsafe { libc::sched_getscheduler(pid as i32) };
                // SAFETY: numbers only.
                let io = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, pid) };
                (limits, nice, class, io)
            };
            let of_stub = bound(live.stub());
            assert_eq!(
                (of_stub.1, of_stub.2, of_stub.3),
                (19, libc::SCHED_IDLE, 3 << 13)
            );
            for pid in ground.alive() {
                assert_eq!(bound(pid), of_stub, "{ground}, {options}: {}", name(pid));
            }
            assert!(bound(guard).0.contains("1000                 1001"));
            kill(live.stub(), libc::SIGKILL);
            live.status();
            ground.assert_gone_in_time(options);
        }
    });
}

// ---- Hands laid on the stub while it waits.

/// Sets a limit of another process, as the ground's user.
fn prlimit(ground: &Ground, pid: u32, option: &str) -> bool {
    let mut command = ground.outside("prlimit");
    command.args(["--pid", &pid.to_string(), option]);
    run(command).status.success()
}

#[test]
fn what_the_caller_does_to_its_stub_does_not_save_the_leftovers() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            for limits in [
                &["--nofile=0"][..],
                &["--as=4096"],
                &["--nofile=1", "--fsize=0"],
                &["--cpu=0"],
            ] {
                let mut live = ready(ground, options, |_| {});
                for limit in limits {
                    assert!(prlimit(ground, live.stub(), limit), "{ground}: {limit}");
                }
                live.say("");
                live.status();
                ground.assert_gone_in_time(&format!("{options} {limits:?}"));
            }
        }
    });
}

#[test]
fn the_caller_cannot_lay_hands_on_the_guard() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        let mut live = ready(ground, "-c", |_| {});
        let guard = guard_of(live.stub()).to_string();
        for words in [
            &["prlimit", "--pid", &guard, "--nofile=0"][..],
            &["renice", "-n", "19", "-p", &guard],
            &["chrt", "--idle", "-p", "0", &guard],
            &["taskset", "-p", "1", &guard],
            &["ionice", "-c", "3", "-p", &guard],
            &["sh", "-c", "kill -KILL $0", &guard],
            &["sh", "-c", "kill -STOP $0", &guard],
            &["sh", "-c", "kill -CONT $0", &guard],
            &["sh", "-c", "echo 1000 >/proc/$0/oom_score_adj", &guard],
            &["sh", "-c", "cat /proc/$0/environ", &guard],
            &["sh", "-c", "ls /proc/$0/fd", &guard],
        ] {
            let mut command = ground.outside(words[0]);
            command.args(&words[1..]);
            assert!(!run(command).status.success(), "{ground}: {words:?}");
        }
        if let Some(inner) = &ground.inner {
            // From outside: a writer inside would freeze itself.
            for file in ["cgroup.freeze", "cgroup.kill"] {
                let mut command = Command::new("sh");
                command.args(["-c", "echo 1 >$0", word(&inner.join(file))]);
                become_user(&mut command);
                assert!(run(command).status.success(), "{file}");
            }
            live.status();
        } else {
            assert_eq!(state(guard.parse().unwrap()), Some('S'));
            live.say("");
            assert_eq!(live.status().code(), Some(5));
        }
        ground.assert_gone_in_time("guard");
    });
}

#[test]
fn a_stub_that_is_killed_by_a_file_of_the_callers_takes_the_box_with_it() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        let (reader, mut writer) = ground::pipe();
        let fd = reader.as_raw_fd();
        let mut live = ready(ground, "-nic", |command| {
            in_child(command, move || {
                // SAFETY: numbers only.
                check(unsafe { libc::fcntl(fd, libc::F_SETOWN, libc::getpid()) })?;
                // F_SETSIG. SAFETY: numbers only.
                check(unsafe { libc::fcntl(fd, 10, libc::SIGKILL) })?;
                // SAFETY: numbers only.
                check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC) })
            });
        });
        writer.write_all(b"x").unwrap();
        assert_eq!(signal_of(live.status()), Some(libc::SIGKILL), "{ground}");
        ground.assert_gone_in_time("F_SETSIG");
        drop(reader);
    });
}

// ---- The guard's end.

/// By the administrator, or for want of memory: then the stub does the work, without privileges.
#[test]
fn when_root_kills_the_guard_the_leftovers_die_all_the_same() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            for times in [1, 3] {
                let mut live = ready(ground, options, |_| {});
                for _ in 0..times {
                    let guard = guard_of(live.stub());
                    kill(guard, libc::SIGKILL);
                    eventually("the guard is gone", || state(guard).is_none());
                }
                live.say("");
                assert_eq!(live.status().code(), Some(5), "{ground}, {options}");
                let alive = ground.alive();
                assert!(alive.is_empty(), "{ground}, {options}: {alive:?}");
                // Only root may remove the group: the next start does.
                assert!(run(ground.phasebox(&["-c", "true"])).status.success());
                ground.assert_nothing_left("swept");
            }
        }
    });
}

#[test]
fn the_kernel_does_not_pick_the_guard_first_when_memory_runs_out() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            let script = with_daemons("exit 5");
            let words = ["--quiet", options, "sh", "-c", &script];
            let mut live = Live::ready(prepared_by_root(ground, &words, |command| {
                write_in_child(command, c"/proc/self/oom_score_adj", "1000");
            }));
            let score = |pid: u32| {
                let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
                text.trim().parse::<i32>().unwrap()
            };
            let guard = guard_of(live.stub());
            // What the caller might set itself, and no less.
            eventually("the guard has no score of the caller's", || {
                score(guard) == 0
            });
            for pid in ground.alive().into_iter().filter(|pid| *pid != guard) {
                assert_eq!(score(pid), 1000, "{ground}, {options}: {}", name(pid));
            }
            live.say("");
            live.status();
            ground.assert_nothing_left(options);
        }
    });
}

// ---- The control group where boxes are made.

#[test]
fn a_caller_that_killed_its_own_group_once_can_start_a_box() {
    needs_root!();
    for ground in INSTALLS.map(Ground::delegated) {
        for _ in 0..2 {
            let inner = ground.inner.as_ref().unwrap();
            fs::write(inner.join("cgroup.kill"), "1").unwrap();
            for options in BOXES {
                assert!(witness_in(&ground, options, "a group killed once", |_| {}));
            }
        }
    }
}

#[test]
fn the_umask_gives_nobody_the_group() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for umask in [0, 0o777] {
            let mut live = ready(ground, "-nic", |command| {
                call_in_child(command, libc::SYS_umask, [umask, 0, 0, 0]);
            });
            let mut groups = vec![ground.only_box()];
            if ground.inner.is_some() {
                groups.push(ground.outer.0.join("phasebox:guards"));
            }
            for group in groups {
                let found = fs::metadata(&group).unwrap();
                let mode = found.permissions().mode() & 0o7777;
                assert_eq!(
                    (found.uid(), found.gid(), mode),
                    (0, 0, 0o700),
                    "{ground}: {group:?}"
                );
            }
            live.say("");
            live.status();
            ground.assert_nothing_left("umask");
        }
    });
}

/// Each file by which a caller could move, kill or stop what is in a group: where it has one of
/// them, the box is made above.
#[test]
fn a_group_in_which_the_caller_can_change_anything_is_not_the_place_for_a_box() {
    needs_root!();
    for install in INSTALLS {
        for file in [
            ".",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.kill",
            "cgroup.freeze",
        ] {
            for (owner, group, mode) in [(USER, 0, 0o644), (0, USER, 0o664), (0, 0, 0o666)] {
                let mut ground = Ground::new(install);
                let inner = ground.outer.0.join("changeable");
                fs::create_dir(&inner).unwrap();
                let path = inner.join(file);
                let mode = if file == "." { mode | 0o111 } else { mode };
                chown(&path, Some(owner), Some(group)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                ground.inner = Some(inner);
                let mut live = ready(&ground, "-c", |_| {});
                let what = format!("{file} {owner}:{group} {mode:o}");
                let made = ground.only_box();
                assert_eq!(
                    made.parent(),
                    Some(ground.outer.0.as_path()),
                    "{install:?}: {what}"
                );
                let guard = group_of(guard_of(live.stub()));
                assert_eq!(
                    guard,
                    ground.outer.0.join("phasebox:guards"),
                    "{install:?}: {what}"
                );
                live.say("");
                live.status();
                ground.assert_nothing_left(&what);
            }
        }
    }
}

#[test]
fn in_a_threaded_group_the_box_is_refused() {
    needs_root!();
    for install in INSTALLS {
        let mut ground = Ground::new(install);
        let inner = ground.outer.0.join("threaded");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("cgroup.type"), "threaded").unwrap();
        ground.inner = Some(inner);
        assert!(
            !witness_in(&ground, "-nic", "threaded", |_| {}),
            "{install:?}"
        );
    }
}

// ---- The terminal.

#[test]
fn the_terminals_keys_and_its_end_reach_the_box_and_not_the_guard() {
    needs_root!();
    // Says so when it is there and stays; unlike a shell, which catches the key and may wait on for
    // a child that it starts at that moment.
    let ready = file("ready", b"ready\n", 0o644);
    for_each_ground(Ground::all(), |ground| {
        for options in BOXES {
            for hangup in [false, true] {
                let (master, slave) = terminal();
                let script = format!("{DAEMON}; exec tail -f {}", word(&ready));
                let mut command = ground.phasebox(&["--quiet", options, "sh", "-c", &script]);
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
                let mut child = command.spawn().unwrap();
                drop(command);
                let mut screen = boxes::Lines::new(master.try_clone().unwrap());
                screen.until("ready");
                let guard = guard_of(child.id());
                // SAFETY: numbers only.
                let session = unsafe { libc::getsid(guard as i32) };
                assert_eq!(session, guard as i32, "the guard's own session");
                let wanted = if hangup {
                    drop(screen);
                    drop(master);
                    libc::SIGHUP
                } else {
                    fs::File::from(master).write_all(b"\x03").unwrap();
                    libc::SIGINT
                };
                let status = wait_for(&mut child);
                assert_eq!(
                    signal_of(status),
                    Some(wanted),
                    "{ground}, {options}: {status}"
                );
                ground.assert_gone_in_time("terminal");
            }
        }
    });
}
