//! Nothing that the caller of the installed program can kill, stop or freeze is the last line of
//! defence: the box empties and its group goes, without a next start.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use boxes::{Live, ONE_SECOND};
use common::installed::*;
use common::*;
use hostile::*;

/// Options that the program takes different paths by.
const OPTIONS: [&str; 3] = ["-c", "-cp", "-nicpm"];

/// What a box's command and its daemon told of the group that they are in, in a file.
struct Witness(PathBuf);

impl Witness {
    fn new(uid: u32) -> Witness {
        let log = scratch(uid).join("log");
        fs::write(&log, "").unwrap();
        std::os::unix::fs::chown(&log, Some(uid), Some(USER)).unwrap();
        Witness(log)
    }

    fn words(&self) -> [&str; 3] {
        [hostile(), "witness", word(&self.0)]
    }

    /// How many there were; each in a box's group.
    fn count(&self) -> usize {
        let told = fs::read_to_string(&self.0).unwrap();
        let groups = told.lines().filter(|line| line.starts_with("0::"));
        groups
            .inspect(|group| assert!(group.contains("/phasebox:hostile"), "outside: {group}"))
            .count()
    }
}

/// A box of the witness's, all of it running.
fn running(ground: &Ground, install: Install, options: &str, witness: &Witness) -> Live {
    let live = Live::ready(ground.boxed(install, &["--quiet", options], &witness.words()));
    let pid = live.stub();
    eventually("command and daemon run", || witness.count() >= 2);
    let group = ground.groups().remove(0);
    // Not outside, whoever looks.
    for member in ground.alive() {
        let name = name(member);
        if name.starts_with("hostile") {
            assert_eq!(group_of(member), group);
        }
    }
    assert!(state(pid).is_some());
    live
}

// ---- SIGKILL, at any moment.

/// A way to kill that the caller has: the ground where, and the stub.
type Kill = fn(&Ground, u32);

fn kill_stub(ground: &Ground, stub: u32) {
    kill_as(ground.uid, stub as i32, libc::SIGKILL);
}

fn kill_everything(ground: &Ground, _: u32) {
    kill_as(ground.uid, -1, libc::SIGKILL);
}

fn kill_group(ground: &Ground, _: u32) {
    assert!(write_as(ground.uid, &ground.inner.join("cgroup.kill"), "1"));
}

fn kill_group_and_stub(ground: &Ground, stub: u32) {
    kill_group(ground, stub);
    kill_stub(ground, stub);
}

/// Spreads `rounds` kills over the time from a box's start to its end and beyond.
fn kill_at_any_moment(install: Install, uid: u32, rounds: u32, kill: Kill) {
    let ground = Ground::delegated(uid);
    let witness = Witness::new(uid);
    let start = |options: &str| -> Child {
        // The command ends by itself, and its daemon does not.
        let script = format!("{} & sleep 0.004; exit 3", witness.words().join(" "));
        let mut command = ground.boxed(install, &["--quiet", options], &["sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    // What it takes when nobody kills.
    let begin = Instant::now();
    for options in OPTIONS {
        assert_eq!(start(options).wait().unwrap().code(), Some(3));
    }
    ground.until_gone();
    let whole = begin.elapsed() / OPTIONS.len() as u32;
    for round in 0..rounds {
        let mut child = start(OPTIONS[round as usize % OPTIONS.len()]);
        let delay = whole.mul_f64(1.2) * round / rounds;
        let end = Instant::now() + delay;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        kill(&ground, child.id());
        wait_for(&mut child);
        ground.until_gone();
        witness.count_in(&ground);
    }
}

impl Witness {
    /// The same as [`Witness::count`], for commands that are started by a shell.
    fn count_in(&self, ground: &Ground) {
        let told = fs::read_to_string(&self.0).unwrap();
        let place = ground.top.0.strip_prefix(cgroup_mount()).unwrap();
        let inside = format!("0::/{}/phasebox:sh.", place.display());
        for group in told.lines().filter(|line| line.starts_with("0::")) {
            assert!(group.starts_with(&inside), "outside: {group}");
        }
    }
}

#[test]
fn whenever_the_stub_is_killed_nothing_is_left() {
    needs_root!();
    for install in INSTALLS {
        kill_at_any_moment(install, USER + 21, 120, kill_stub);
    }
}

#[test]
fn whenever_the_caller_kills_all_that_it_can_nothing_is_left() {
    needs_root!();
    for install in INSTALLS {
        kill_at_any_moment(install, USER + 22, 120, kill_everything);
    }
}

#[test]
fn whenever_the_callers_own_group_is_killed_nothing_is_left() {
    needs_root!();
    for install in INSTALLS {
        kill_at_any_moment(install, USER + 23, 120, kill_group_and_stub);
    }
}

// ---- SIGKILL of what runs.

#[test]
fn when_the_callers_own_group_is_killed_the_guard_ends_the_box() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER);
            let witness = Witness::new(USER);
            let mut live = running(&ground, install, options, &witness);
            let guard = guard_of(live.stub());
            assert_eq!(group_of(guard), ground.top.0.join("phasebox:guards"));
            kill_group(&ground, 0);
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
            ground.until_gone();
        }
    }
}

#[test]
fn in_a_frozen_group_the_stub_can_be_killed_and_the_guard_ends_the_box() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER);
            let witness = Witness::new(USER);
            let mut live = running(&ground, install, options, &witness);
            assert!(write_as(USER, &ground.inner.join("cgroup.freeze"), "1"));
            eventually("the caller's group is frozen", || {
                let events = fs::read_to_string(ground.inner.join("cgroup.events")).unwrap();
                events.contains("frozen 1")
            });
            assert!(kill_as(USER, live.stub() as i32, libc::SIGKILL));
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
            ground.until_gone();
        }
    }
}

/// The group is frozen while the box is being made: nothing runs, or all of it is boxed.
#[test]
fn whenever_the_callers_own_group_is_frozen_nothing_is_left() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER + 24);
        let witness = Witness::new(USER + 24);
        let freeze = ground.inner.join("cgroup.freeze");
        for round in 0..40 {
            let options = OPTIONS[round as usize % OPTIONS.len()];
            let mut command = ground.boxed(install, &["--quiet", options], &witness.words());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let end = Instant::now() + Duration::from_micros(round * 250);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            assert!(write_as(ground.uid, &freeze, "1"));
            assert!(kill_as(ground.uid, child.id() as i32, libc::SIGKILL));
            child.wait().unwrap();
            // What is frozen in the caller's own group is the caller's loss, and no command.
            eventually("the command and its group are gone", || {
                ground.groups().is_empty()
                    && ground
                        .alive()
                        .iter()
                        .all(|pid| !name(*pid).starts_with("hostile"))
            });
            assert!(write_as(ground.uid, &freeze, "0"));
            ground.until_gone();
            witness.count();
        }
    }
}

#[test]
fn a_stopped_stub_stops_nothing_but_itself() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER);
            let witness = Witness::new(USER);
            let mut live = running(&ground, install, options, &witness);
            assert!(kill_as(USER, live.stub() as i32, libc::SIGSTOP));
            eventually("it is stopped", || state(live.stub()) == Some('T'));
            let guard = guard_of(live.stub());
            assert_eq!(state(guard), Some('S'));
            // It goes on where it was.
            assert!(kill_as(USER, live.stub() as i32, libc::SIGCONT));
            eventually("it goes on", || state(live.stub()) == Some('S'));
            assert!(!ground.groups().is_empty());
            assert!(kill_as(USER, live.stub() as i32, libc::SIGSTOP));
            eventually("it is stopped again", || state(live.stub()) == Some('T'));
            assert!(kill_as(USER, live.stub() as i32, libc::SIGKILL));
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
            ground.until_gone();
        }
    }
}

/// Everything of the user's is stopped first, so that nothing can react, and then killed.
#[test]
fn a_caller_who_stops_and_kills_everything_leaves_nothing() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let uid = USER + 25;
            let ground = Ground::delegated(uid);
            let witness = Witness::new(uid);
            let mut live = running(&ground, install, options, &witness);
            let guard = guard_of(live.stub());
            assert!(kill_as(uid, -1, libc::SIGSTOP));
            eventually("the stub is stopped", || state(live.stub()) == Some('T'));
            assert_eq!(state(guard), Some('S'), "the guard is out of reach");
            kill_as(uid, -1, libc::SIGKILL);
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
            ground.until_gone();
        }
    }
}

#[test]
fn a_command_that_kills_everything_it_can_leaves_nothing() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER + 26);
            let witness = Witness::new(USER + 26);
            let daemon = witness.words().join(" ");
            let script = format!("{daemon} & read line; kill -KILL -1; exit 8");
            let mut live = Live::ready(ground.boxed(install, &[options], &["sh", "-c", &script]));
            live.say("");
            let (status, ..) = live.end();
            if options == "-c" {
                assert_eq!(signal_of(status), Some(libc::SIGKILL));
            } else {
                // It sees nothing but its own namespace.
                assert_eq!(status.code(), Some(8));
            }
            ground.until_gone();
        }
    }
}

/// No signal, no limit and no scheduling reaches the guard.
#[test]
fn the_guard_is_out_of_the_callers_reach() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER);
        let witness = Witness::new(USER);
        let mut live = running(&ground, install, "-c", &witness);
        let guard = guard_of(live.stub());
        for signal in [
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGTERM,
            libc::SIGCONT,
            0,
        ] {
            assert!(!kill_as(USER, guard as i32, signal), "{signal}");
        }
        let mut limit = Command::new(hostile());
        limit.args(["limit", &guard.to_string(), "7"]);
        become_in_group(&mut limit, USER);
        assert_eq!(text(&run(limit).stdout), "prlimit EPERM\n");
        let group = ground.top.0.join("phasebox:guards");
        for file in ["cgroup.procs", "cgroup.kill", "cgroup.freeze"] {
            assert!(!write_as(USER, &group.join(file), "1"), "{file}");
        }
        let metadata = fs::metadata(&group).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o700));
        kill_stub(&ground, live.stub());
        live.status();
        ground.until_gone();
    }
}

/// With capabilities, too: the group is root's and not the caller's.
#[test]
fn limits_on_the_running_stub_keep_nothing_alive() {
    needs_root!();
    // RLIMIT_CPU, FSIZE, DATA, STACK, CORE, NOFILE, AS, LOCKS, SIGPENDING.
    for install in INSTALLS {
        for resource in [0, 1, 2, 3, 4, 7, 9, 10, 11] {
            let ground = Ground::delegated(USER);
            let witness = Witness::new(USER);
            let mut live = running(&ground, install, "-c", &witness);
            let stub = live.stub().to_string();
            let mut limit = Command::new(hostile());
            limit.args(["limit", &stub, &resource.to_string()]);
            become_in_group(&mut limit, USER);
            // It has nothing to lose.
            assert_eq!(text(&run(limit).stdout), "prlimit done\n");
            assert_eq!(fs::metadata(&ground.groups()[0]).unwrap().uid(), 0);
            kill_as(USER, live.stub() as i32, libc::SIGTERM);
            kill_stub(&ground, live.stub());
            live.status();
            ground.until_gone();
        }
    }
}

#[test]
fn a_polite_end_reaches_the_command() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER);
            let script = "trap 'exit 7' TERM; echo ready; while :; do read line; done";
            let mut live = Live::ready(ground.boxed(install, &[options], &["sh", "-c", script]));
            assert!(kill_as(USER, live.stub() as i32, libc::SIGTERM));
            assert_eq!(live.status().code(), Some(7));
            ground.until_gone();
        }
    }
}

// ---- Groups that only look out of reach.

/// Takes the bits that tell of its power away from a group of its own, and gives them back when
/// the box is there.
#[test]
fn a_group_whose_owner_hides_that_it_is_one_is_no_place_for_a_box() {
    needs_root!();
    for install in INSTALLS {
        for is_nested in [false, true] {
            let mut ground = Ground::delegated(USER);
            let theirs = ground.inner.clone();
            if is_nested {
                ground.inner = theirs.join("nested");
                fs::create_dir(&ground.inner).unwrap();
                give(&ground.inner, USER);
            }
            let hidden = ground.inner.clone();
            let files = [
                "cgroup.procs",
                "cgroup.threads",
                "cgroup.kill",
                "cgroup.freeze",
            ];
            let set = |directory: u32, file: u32| {
                for name in files {
                    let mode = fs::Permissions::from_mode(file);
                    fs::set_permissions(hidden.join(name), mode).unwrap();
                }
                fs::set_permissions(&hidden, fs::Permissions::from_mode(directory)).unwrap();
            };
            set(0o555, 0o444);
            let witness = Witness::new(USER);
            let mut live = running(&ground, install, "-c", &witness);
            set(0o755, 0o644);
            let group = ground.groups().remove(0);
            assert_eq!(group.parent().unwrap(), ground.top.0);
            // Nothing in it can be taken out of it.
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
            for member in members.lines() {
                let member: &'static str = member.to_owned().leak();
                for place in [&theirs, &hidden] {
                    assert!(!write_as(USER, &place.join("cgroup.procs"), member));
                }
            }
            kill_group(&ground, 0);
            assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
            ground.until_gone();
        }
    }
}

/// Root's group within a group of the caller's: who rules that one rules this one.
#[test]
fn a_group_below_one_of_the_callers_is_no_place_for_a_box() {
    needs_root!();
    for install in INSTALLS {
        let mut ground = Ground::delegated(USER);
        let theirs = ground.inner.clone();
        ground.inner = theirs.join("roots");
        fs::create_dir(&ground.inner).unwrap();
        let witness = Witness::new(USER);
        let mut live = running(&ground, install, "-c", &witness);
        assert_eq!(ground.groups()[0].parent().unwrap(), ground.top.0);
        assert!(write_as(USER, &theirs.join("cgroup.kill"), "1"));
        assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
        ground.until_gone();
    }
}

/// In its own group the caller is at home: there its processes may go, from there and no further.
#[test]
fn the_command_cannot_move_itself_to_the_callers_own_group() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            let ground = Ground::delegated(USER);
            let script = format!(
                "for file in {0}/cgroup.procs {0}/cgroup.threads {1}/cgroup.procs; do
                    echo $$ >$file && echo moved
                done 2>/dev/null; sed -n s/^0:://p /proc/self/cgroup",
                ground.inner.display(),
                ground.top.0.display(),
            );
            let output = run(ground.boxed(install, &[options], &["sh", "-c", &script]));
            let told = text(&output.stdout);
            assert!(!told.contains("moved"), "{told}");
            assert!(told.contains("/phasebox:sh."), "{told}");
            ground.until_gone();
        }
    }
}

// ---- The guard's own death.

/// Before it is root's it can be killed: then there is no box, and no command.
#[test]
fn a_guard_killed_before_it_is_out_of_reach_is_a_box_refused() {
    needs_root!();
    for install in INSTALLS {
        for best_effort in [false, true] {
            let ground = Ground::delegated(USER);
            let witness = Witness::new(USER);
            let mut options = vec!["-c"];
            if best_effort {
                options.push("--best-effort");
            }
            // Only the guard sets groups.
            let strace = [
                "-o",
                "/dev/null",
                "-e",
                "trace=setgroups",
                "-e",
                "inject=setgroups:delay_enter=5000000",
            ];
            let words = [hostile(), "tell", word(&witness.0)];
            let mut traced = ground.traced(install, &strace, &options, &words);
            traced.stderr(Stdio::piped());
            let child = traced.spawn().unwrap();
            let mut guard = 0;
            eventually("there is a guard", || {
                let found = ground.alive();
                let found = found.iter().find(|pid| name(**pid) == "phasebox-guard");
                guard = found.copied().unwrap_or(0);
                guard != 0 && status_of(guard, "Uid") == format!("{USER} {USER} 0 {USER}")
            });
            assert!(kill_as(USER, guard as i32, libc::SIGKILL));
            let output = child.wait_with_output().unwrap();
            let errors = text(&output.stderr);
            assert!(errors.contains("unable to start a guard"), "{errors}");
            if best_effort {
                // Without a group, and it says so.
                assert!(errors.contains("going on without control group isolation"));
                assert_eq!(output.status.code(), Some(0));
            } else {
                assert_eq!(output.status.code(), Some(125), "{errors}");
                assert_eq!(fs::read_to_string(&witness.0).unwrap(), "");
            }
            ground.until_gone();
        }
    }
}

/// By root, or for want of memory: the stub empties the box, and the next start removes the group.
#[test]
fn when_the_guard_is_killed_the_box_is_emptied_all_the_same() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            for kills_stub in [false, true] {
                let ground = Ground::delegated(USER);
                let witness = Witness::new(USER);
                let daemon = witness.words().join(" ");
                let script = format!("{daemon} & read line; exit 5");
                let words = ["sh", "-c", &script];
                let mut live = Live::ready(ground.boxed(install, &[options], &words));
                let guard = guard_of(live.stub());
                kill(guard, libc::SIGKILL);
                eventually("there is another guard, at work", || {
                    let other = guard_of(live.stub());
                    other != guard && state(other) == Some('S')
                });
                if kills_stub {
                    kill_stub(&ground, live.stub());
                    live.status();
                } else {
                    live.say("");
                    let (status, _, errors) = live.end();
                    assert_eq!(status.code(), Some(5));
                    assert!(
                        errors.contains("unable to remove the control group: permission denied"),
                        "{errors}"
                    );
                }
                eventually("the box is empty", || ground.alive().is_empty());
                // Only root may remove it; nothing is in it.
                for group in ground.groups() {
                    let events = fs::read_to_string(group.join("cgroup.events")).unwrap();
                    assert!(events.contains("populated 0"));
                }
                assert!(
                    run(ground.boxed(install, &["-c"], &["true"]))
                        .status
                        .success()
                );
                ground.until_gone();
            }
        }
    }
}

#[test]
fn a_group_that_cannot_be_removed_is_told_of() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER);
        let strace = ["-o", "/dev/null", "-e", "trace=unlinkat"];
        let strace = [&strace[..], &["-e", "inject=unlinkat:error=EIO"]].concat();
        let output = run(ground.traced(install, &strace, &["-c"], &["sh", "-c", "exit 4"]));
        assert_eq!(output.status.code(), Some(4));
        assert!(
            one_line(&output).starts_with("phasebox: unable to remove the control group"),
            "{}",
            text(&output.stderr)
        );
        for group in ground.groups() {
            fs::remove_dir(group).unwrap();
        }
    }
}

// ---- Deaths during the start.

/// With no group there is no guard: the kernel kills the init when the stub dies.
#[test]
fn an_init_that_is_stopped_dies_with_its_stub() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER);
        let witness = Witness::new(USER);
        let mut live = Live::ready(ground.boxed(install, &["-p"], &witness.words()));
        let init = children(live.stub())[0];
        for pid in [live.stub(), init] {
            assert!(kill_as(USER, pid as i32, libc::SIGSTOP));
            eventually("it is stopped", || state(pid) == Some('T'));
        }
        kill_stub(&ground, live.stub());
        assert_eq!(signal_of(live.status()), Some(libc::SIGKILL));
        ground.until_gone();
    }
}

/// The parent-death signal of an init whose stub is dead already never comes; and an init that is
/// stopped sees no end of a link.
#[test]
fn an_init_whose_stub_died_early_starts_no_command() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER);
        let log = scratch(USER).join("log");
        // Each of the calls by which the init gives up privileges, and then its settling down.
        let strace = [
            "-o",
            "/dev/null",
            "-e",
            "trace=prctl,chdir",
            "-e",
            "inject=prctl:delay_enter=700000",
            "-e",
            "inject=chdir:delay_enter=1500000",
        ];
        let words = [hostile(), "tell", word(&log)];
        let mut child = ground
            .traced(install, &strace, &["-p"], &words)
            .spawn()
            .unwrap();
        let mut init = 0;
        eventually("the init has given up privileges", || {
            let found = ground.alive();
            init = found
                .into_iter()
                .find(|pid| {
                    let status = fs::read_to_string(format!("/proc/{pid}/status"));
                    status.is_ok_and(|status| {
                        field_of(&status, "NSpid").ends_with(" 1")
                            && field_of(&status, "NoNewPrivs") == "1"
                    })
                })
                .unwrap_or(0);
            init != 0
        });
        let stub = status_of(init, "PPid").parse().unwrap();
        // It has let the init go: all it does now is wait.
        assert_unprivileged(stub);
        assert!(kill_as(USER, stub, libc::SIGKILL));
        wait_for(&mut child);
        ground.until_gone();
        assert!(!log.exists(), "the command ran");
    }
}

fn assert_unprivileged(pid: i32) {
    let pid = pid as u32;
    assert_eq!(
        status_of(pid, "Uid"),
        format!("{USER} {USER} {USER} {USER}")
    );
    assert_eq!(status_of(pid, "CapPrm"), "0000000000000000");
}

/// The stub is killed while the guard makes the group: the guard is slow.
#[test]
fn a_guard_whose_stub_died_early_leaves_no_group() {
    needs_root!();
    for install in INSTALLS {
        let ground = Ground::delegated(USER);
        let log = scratch(USER).join("log");
        let strace = [
            "-o",
            "/dev/null",
            "-e",
            "trace=flock",
            "-e",
            "inject=flock:delay_enter=1500000",
        ];
        let words = [hostile(), "tell", word(&log)];
        let mut child = ground
            .traced(install, &strace, &["-c"], &words)
            .spawn()
            .unwrap();
        eventually("the group is made", || !ground.groups().is_empty());
        let guard = ground
            .alive()
            .into_iter()
            .find(|pid| name(*pid) == "phasebox-guard");
        let stub = status_of(guard.unwrap(), "PPid").parse().unwrap();
        assert!(kill_as(USER, stub, libc::SIGKILL));
        wait_for(&mut child);
        ground.until_gone();
        assert!(!log.exists(), "the command ran");
    }
}

// ---- Boxes in boxes.

#[test]
fn a_box_in_the_box_is_no_way_out() {
    needs_root!();
    for install in INSTALLS {
        for options in OPTIONS {
            for inner in ["-c", "-p", "-ni"] {
                let ground = Ground::delegated(USER);
                let witness = Witness::new(USER);
                let inner = [
                    word(install.program()),
                    "--quiet",
                    inner,
                    &witness.words().join(" "),
                ];
                // It ends while the inner box runs.
                let script = format!("{} & read line; exit 6", inner.join(" "));
                let words = ["sh", "-c", &script];
                let mut live = Live::ready(ground.boxed(install, &["--quiet", options], &words));
                live.say("");
                assert_eq!(live.end().0.code(), Some(6));
                ground.until_gone();
                let mut live = Live::ready(ground.boxed(install, &["--quiet", options], &words));
                kill_stub(&ground, live.stub());
                live.status();
                ground.until_gone();
                witness.count_in(&ground);
            }
        }
    }
}

// ---- Root's own command.

/// Root may leave its group; a PID namespace it cannot leave.
#[test]
fn roots_command_that_moves_itself_out_dies_with_its_pid_namespace() {
    needs_root!();
    let ground = Ground::new(USER);
    let word = token("moved");
    let mut command = ground.as_root(program().to_str().unwrap());
    let up = scratch(0).join("up");
    let script = format!(
        "echo $$ >{}/cgroup.procs || exit 9
        setsid sh -c 'cat /proc/self/cgroup >{2}; sleep 100000; :' {1} &
        until test -s {2}; do :; done
        exit 3",
        cgroup_mount().display(),
        word,
        up.display(),
    );
    command.args(["--quiet", "-cp", "sh", "-c", &script]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(wait_for(&mut child).code(), Some(3));
    assert!(!fs::read_to_string(&up).unwrap().contains("phasebox:"));
    let left = alive(&word);
    for pid in &left {
        kill(*pid, libc::SIGKILL);
    }
    assert_eq!(left, []);
    ground.until_gone();
}

/// The bound that all of this is held to.
#[test]
fn a_box_is_gone_within_a_second_of_the_stubs_death() {
    needs_root!();
    for install in INSTALLS {
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                let ground = Ground::delegated(USER);
                let witness = Witness::new(USER);
                let live = running(&ground, install, "-c", &witness);
                let start = Instant::now();
                kill_stub(&ground, live.stub());
                ground.until_gone();
                start.elapsed()
            })
            .collect();
        times.sort();
        assert!(times[5] < Duration::from_secs(1), "usually {:?}", times[5]);
        assert!(times[10] < ONE_SECOND, "at worst {:?}", times[10]);
    }
}
