//! The control group of a box: where it is made, what it may not escape, that it goes with the box,
//! and that nobody else's is touched.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use boxes::Kind::*;
use boxes::*;
use common::*;

/// A group's path as /proc/PID/cgroup shows it.
fn shown(group: &Path) -> String {
    format!("/{}", group.strip_prefix(cgroup_mount()).unwrap().display())
}

/// The path in this line of /proc/PID/cgroup's text.
fn unified(text: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap()
        .to_owned()
}

/// Asserts that `group` is directly below `parent` and called `phasebox:LABEL.` and 19 or 20 digits.
fn assert_named(group: &str, parent: &str, label: &str) {
    let rest = group.strip_prefix(&format!("{parent}/phasebox:{label}."));
    let suffix = rest.unwrap_or_else(|| panic!("{group} is not one of {label} below {parent}"));
    let digits = suffix.bytes().all(|digit| digit.is_ascii_digit());
    assert!((19..=20).contains(&suffix.len()) && digits, "{group}");
}

/// Starts a process in a directory of its own making below the scene's group, as if a box whose
/// stub and guard are dead had left both.
fn leave_behind(scene: &Scene, directory: &str) -> PathBuf {
    let path = scene.group.0.join(directory);
    fs::create_dir(&path).unwrap();
    put_sleeper_into(scene, &path);
    path
}

/// Gives the sleeper's pid.
fn put_sleeper_into(scene: &Scene, path: &Path) -> u32 {
    let mut sleeper = Command::new("sleep");
    scene.mark(sleeper.arg("100000").stdin(Stdio::null()));
    let child = sleeper.spawn().unwrap();
    fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
    let pid = child.id();
    // Reaped when it dies, or it would look alive to this test.
    std::thread::spawn(move || {
        let mut child = child;
        let _ = child.wait();
    });
    pid
}

/// The processes directly in a group.
fn members(group: &Path) -> Vec<u32> {
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    procs.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_group_is_below_the_callers_own_and_called_as_the_command() {
    needs_root!();
    for kind in Kind::with_group() {
        let scene = Scene::new(kind);
        let output = run(scene.boxed(&["/bin/cat", "/proc/self/cgroup"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_named(
            &unified(&text(&output.stdout)),
            &shown(&scene.group.0),
            "cat",
        );
        scene.assert_nothing_left();
    }
}

#[test]
fn the_group_is_called_as_asked_with_colons_for_slashes() {
    needs_root!();
    let longest = "n".repeat(128);
    for (name, label) in [
        ("dev-db/redis-7.2_p1", "dev-db:redis-7.2_p1"),
        ("A+b:c", "A+b:c"),
        (longest.as_str(), longest.as_str()),
    ] {
        let scene = Scene::new(Group);
        let option = format!("--cgroup={name}");
        let output = run(scene.boxed_with(&[&option], &["cat", "/proc/self/cgroup"]));
        assert_named(
            &unified(&text(&output.stdout)),
            &shown(&scene.group.0),
            label,
        );
        scene.assert_nothing_left();
    }
}

/// Seen by a tracer, at the end of execve(2): before the command's first instruction.
#[test]
fn the_command_is_in_its_group_at_its_first_instruction() {
    needs_root!();
    let scene = Scene::new(Group);
    let stub = traced(scene.boxed(&["true"]));
    let follow = libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
    // SAFETY: numbers only.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, stub.0, 0usize, follow as usize) };
    let mut group_at_start = None;
    let mut seen = vec![stub.0 as i32];
    let mut status = libc::SIGTRAP << 8 | 0x7f;
    let mut pid = stub.0 as i32;
    loop {
        if libc::WIFSTOPPED(status) {
            let event = status >> 16;
            if event == libc::PTRACE_EVENT_EXEC {
                let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
                assert_eq!(group_at_start.replace(unified(&group)), None);
            }
            let signal = libc::WSTOPSIG(status);
            // A tracee begins with a stop of its tracer's; other signals are its own.
            let first = !seen.contains(&pid) && signal == libc::SIGSTOP;
            let own = event == 0 && signal != libc::SIGTRAP && !first;
            seen.push(pid);
            let signal = if own { signal as usize } else { 0 };
            // SAFETY: numbers only.
            unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0usize, signal) };
        } else if pid == stub.0 as i32 {
            assert_eq!(status, 0);
            break;
        }
        // SAFETY: the kernel writes one int. Only this thread's own tracees are waited for.
        pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
    }
    assert_named(&group_at_start.unwrap(), &shown(&scene.group.0), "true");
    scene.assert_nothing_left();
}

/// Starts `command` stopped at its first instruction, traced by this thread.
fn traced(mut command: Command) -> Traced {
    // SAFETY: one system call between fork and execve.
    unsafe {
        command.pre_exec(
            || match libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    // The tracer reaps it.
    let traced = Traced(command.spawn().unwrap().id());
    traced.wait();
    traced
}

#[test]
fn the_directory_is_for_its_owner_alone_whatever_the_umask() {
    needs_root!();
    for kind in Kind::with_group_alone() {
        for umask in [0, 0o022, 0o777] {
            let scene = Scene::new(kind);
            let mut command = scene.script("echo ready; read x; exit 4");
            // SAFETY: one system call between fork and execve.
            unsafe {
                command.pre_exec(move || {
                    libc::umask(umask);
                    Ok(())
                });
            }
            let mut live = Live::ready(command);
            let directory = fs::metadata(scene.only_group()).unwrap();
            assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
            assert_eq!(directory.uid(), kind.owner(), "{kind:?}");
            assert_eq!(live.end().0.code(), Some(4));
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn two_boxes_of_one_name_have_a_group_each() {
    needs_root!();
    for kind in Kind::with_group_alone() {
        let scene = Scene::new(kind);
        let script = "sed -n s/^0:://p /proc/self/cgroup; read x";
        let start = || Live::start(scene.boxed_with(&["--cgroup=same"], &["sh", "-c", script]));
        let (mut one, mut other) = (start(), start());
        let groups = [one.line(), other.line()];
        assert_ne!(groups[0], groups[1]);
        for group in &groups {
            assert_named(group, &shown(&scene.group.0), "same");
        }
        assert_eq!(scene.groups().len(), 2);
        one.end();
        assert_eq!(scene.groups().len(), 1);
        other.end();
        scene.assert_nothing_left();
    }
}

#[test]
fn no_hierarchy_is_mounted_where_others_see_it() {
    needs_root!();
    let mounted = |text: &str| text.lines().filter(|line| line.contains("cgroup")).count();
    let before = mounted(&fs::read_to_string("/proc/self/mounts").unwrap());
    let scene = Scene::new(Group);
    let mut live = Live::ready(scene.script("echo ready; grep -c cgroup /proc/mounts; read x"));
    assert_eq!(live.line(), before.to_string());
    assert_eq!(
        mounted(&fs::read_to_string("/proc/self/mounts").unwrap()),
        before
    );
    live.end();
}

#[test]
fn a_group_that_the_callers_limits_forbid_is_refused() {
    needs_root!();
    for kind in [Group, GroupAndPid] {
        for limit in ["cgroup.max.descendants", "cgroup.max.depth"] {
            let scene = Scene::new(kind);
            fs::write(scene.group.0.join(limit), "0").unwrap();
            let output = run(scene.script("echo started"));
            assert_refused(&output, "unable to make a control group: ");
            assert_refused(
                &output,
                "(EAGAIN); raise cgroup.max.descendants or cgroup.max.depth",
            );
            scene.assert_nothing_left();
        }
    }
}

#[test]
fn the_callers_limits_bind_the_command() {
    needs_root!();
    let scene = Scene::new(Group);
    // The box, and one more.
    fs::write(scene.group.0.join("cgroup.max.descendants"), "2").unwrap();
    let script = format!(
        "{} mkdir $g/one || exit 9; mkdir $g/two && exit 8; exit 3",
        find_own_group()
    );
    let output = run(scene.script(&script));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    scene.assert_nothing_left();
}

#[test]
fn the_group_is_made_where_root_says() {
    needs_root!();
    let scene = Scene::new(Group);
    let parent = scene.group.0.join("elsewhere");
    fs::create_dir(&parent).unwrap();
    for option in [
        vec![format!("--cgroup-parent={}", parent.display())],
        vec![
            "--cgroup-parent".to_owned(),
            format!("{}/", parent.display()),
        ],
    ] {
        let options: Vec<&str> = option.iter().map(String::as_str).collect();
        let output = run(scene.boxed_with(&options, &["cat", "/proc/self/cgroup"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_named(&unified(&text(&output.stdout)), &shown(&parent), "cat");
        assert!(groups_below(&parent, "cat").is_empty());
    }
    scene.assert_nothing_left();
}

#[test]
fn a_parent_that_is_no_group_is_refused() {
    needs_root!();
    let scene = Scene::new(Group);
    let group = scene.group.0.display();
    let plain = scratch(0);
    let mut cases = vec![
        (plain.display().to_string(), "(ENODEV)"),
        ("/proc".to_owned(), "(ENODEV)"),
        (format!("{group}/missing"), "(ENOENT)"),
        (format!("{group}/cgroup.procs"), "(ENOTDIR)"),
    ];
    // Of the other version, which looks alike.
    if Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists() {
        cases.push(("/sys/fs/cgroup/memory".to_owned(), "(ENODEV)"));
    }
    for (parent, reason) in cases {
        let option = format!("--cgroup-parent={parent}");
        let output = run(scene.boxed_with(&[&option], &["sh", "-c", "echo started"]));
        assert_refused(&output, "unable to find a control group: ");
        assert_refused(&output, reason);
    }
    assert_eq!(fs::read_dir(&plain).unwrap().count(), 0);
    scene.assert_nothing_left();
}

/// Below a threaded group a process cannot be in a group alone.
#[test]
fn a_group_that_cannot_be_joined_is_refused_and_removed() {
    needs_root!();
    let scene = Scene::new(Group);
    let parent = scene.group.0.join("threads");
    fs::create_dir(&parent).unwrap();
    fs::write(parent.join("cgroup.type"), "threaded").unwrap();
    let option = format!("--cgroup-parent={}", parent.display());
    let output = run(scene.boxed_with(&[&option], &["sh", "-c", "echo started"]));
    assert_refused(&output, "unable to join the control group: ");
    assert!(groups_below(&parent, "sh").is_empty());
    scene.assert_nothing_left();
}

#[test]
fn groups_that_the_command_made_are_emptied_and_removed() {
    needs_root!();
    for kind in Kind::with_group_to_write() {
        let scene = Scene::new(kind);
        let script = format!(
            "{} deep=$g; put() {{ sleep 100000 & echo $! > $1/cgroup.procs || exit 9; }}
            for i in $(seq 30); do deep=$deep/d; mkdir $deep || exit 9; put $deep; done
            for i in $(seq 100); do mkdir $g/s$i || exit 9; put $g/s$i; done
            for i in $(seq 20); do mkdir -p $g/tree/$i/a/b $g/tree/$i/c || exit 9; done
            put $g/tree/7/a/b; exit 5",
            find_own_group()
        );
        // In a PID namespace the group is found all the same; pids are translated.
        let output = run(scene.boxed_with(&["--quiet"], &["sh", "-c", &script]));
        assert_eq!(
            output.status.code(),
            Some(5),
            "{kind:?} {}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stderr), "");
        scene.assert_nothing_left();
    }
}

/// Neither into the group that it came from, nor elsewhere; nor can it kill or freeze its guard.
#[test]
fn a_command_changes_nothing_in_a_group_that_is_lent_and_cannot_leave_it() {
    needs_root!();
    lent_only!();
    let kinds = Kind::with_group();
    for kind in kinds.into_iter().filter(|kind| kind.is_lent()) {
        let scene = Scene::new(kind);
        let (above, home) = (scene.group.0.display(), scene.home().display());
        let script = format!(
            "{} cd / || exit 9
            try() {{ sh -c \"$1\" 2>/dev/null && echo \"done: $1\"; }}
            try \"mkdir $g/x\"; try \"mkdir {above}/x\"
            for file in cgroup.procs cgroup.threads; do
                for group in $g {above} {above}/phasebox:guards {home}; do
                    try \"echo $$ >$group/$file\"
                done
            done
            for group in $g {above} {above}/phasebox:guards; do
                try \"echo 1 >$group/cgroup.freeze\"; try \"echo 1 >$group/cgroup.kill\"
            done
            sed -n s/^0:://p /proc/self/cgroup; exit 3",
            find_own_group()
        );
        let output = run(scene.script(&script));
        assert_eq!(output.status.code(), Some(3), "{kind:?}: {output:?}");
        let told = text(&output.stdout);
        assert_named(told.trim_end(), &shown(&scene.group.0), "sh");
        scene.assert_nothing_left();
    }
}

/// The name that the program is about to make is read in its memory and taken first, by what looks
/// like another box: alive, since its directory is locked.
#[test]
fn a_directory_of_the_same_name_is_never_adopted() {
    needs_root!();
    let scene = Scene::new(Group);
    let mut command = scene.boxed(&["cat", "/proc/self/cgroup"]);
    let output = scratch(0).join("output");
    command.stdout(fs::File::create(&output).unwrap());
    let stub = traced(command);
    let name = format!("phasebox:cat.{}", random_number(stub.0) | 1 << 63);
    let taken = leave_behind(&scene, &name);
    let lock = fs::File::open(&taken).unwrap();
    lock.lock().unwrap();
    let pid = stub.0;
    drop(stub);
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    assert_eq!(
        unsafe { libc::waitpid(pid as i32, &raw mut status, 0) },
        pid as i32
    );
    assert_eq!(status, 0);
    let group = unified(&fs::read_to_string(&output).unwrap());
    assert_named(&group, &shown(&scene.group.0), "cat");
    assert_ne!(group, shown(&taken));
    assert_eq!(members(&taken).len(), 1, "the other box's process is alive");
    assert_eq!(scene.groups(), [taken]);
}

/// The first of the random bytes that the kernel gave a stopped process. getauxval(3), AT_RANDOM.
fn random_number(pid: u32) -> u64 {
    use std::os::unix::fs::FileExt;
    let auxiliary = fs::read(format!("/proc/{pid}/auxv")).unwrap();
    let words: Vec<u64> = auxiliary
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    let random = words
        .chunks_exact(2)
        .find(|pair| pair[0] == libc::AT_RANDOM)
        .unwrap()[1];
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, random).unwrap();
    u64::from_ne_bytes(bytes)
}

/// Bug 562964: the group vanished under the killer.
#[test]
fn a_group_that_is_gone_already_is_success() {
    needs_root!();
    let scene = Scene::new(Group);
    let leave = "echo $$ > ${g%/*}/cgroup.procs && rmdir $g";
    let script = format!(
        "{} {leave} || exit 9; echo ready; read x; exit 7",
        find_own_group()
    );
    let mut live = Live::ready(scene.script(&script));
    assert!(scene.groups().is_empty());
    let (status, _, errors) = live.end();
    assert_eq!(status.code(), Some(7));
    assert_eq!(errors, "");
    scene.assert_nothing_left();
}

/// Whatever the last step was: `cgroup.kill` of the caller's own group is remembered by the kernel
/// and kills what is started with CLONE_INTO_CGROUP from there at once.
#[test]
fn a_caller_whose_group_was_killed_once_can_start_a_box() {
    needs_root!();
    let scene = Scene::new(Group);
    // Where there is no such file, nothing is remembered: before Linux 5.14.
    let _ = fs::write(scene.group.0.join("cgroup.kill"), "1");
    let output = run(scene.script("sleep 100000 & exit 3"));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    scene.assert_nothing_left();
}

#[test]
fn a_box_whose_processes_all_died_is_removed_by_the_next_start() {
    needs_root!();
    for kind in Kind::with_group_alone() {
        let scene = Scene::new(kind);
        let script = "setsid sh -c 'trap \"\" TERM HUP INT; sleep 100000; :' & echo ready; wait";
        let mut live = Live::ready(scene.script(script));
        scene.kill_stub_and_guard(&mut live);
        // Nobody is there to do it.
        let stale = scene.only_group();
        assert!(!members(&stale).is_empty());
        let output = run(scene.boxed_with(&["--cgroup=next"], &["true"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        scene.assert_nothing_left();
    }
}

#[test]
fn groups_within_a_stale_group_go_with_it() {
    needs_root!();
    let scene = Scene::new(Group);
    let stale = leave_behind(&scene, "phasebox:a.9223372036854775815");
    for below in ["x", "x/y", "x/z", "w"] {
        fs::create_dir(stale.join(below)).unwrap();
        put_sleeper_into(&scene, &stale.join(below));
    }
    fs::write(stale.join("x/cgroup.freeze"), "1").unwrap();
    // One without processes, as a power loss in a container leaves it.
    fs::create_dir(scene.group.0.join("phasebox:.9223372036854775999")).unwrap();
    assert!(run(scene.boxed(&["true"])).status.success());
    scene.assert_nothing_left();
}

#[test]
fn what_is_only_called_alike_is_left_alone() {
    needs_root!();
    let scene = Scene::new(Group);
    let names = [
        "phasebox.service",
        "phasebox:x.service",
        "phasebox:a.922337203685477581",
        "phasebox:a.922337203685477581x",
        "phasebox:a.9223372036854775815.x",
        "phasebox:a-9223372036854775815",
        "Phasebox:a.9223372036854775815",
        "xphasebox:a.9223372036854775815",
        "phasebox",
    ];
    let others: Vec<PathBuf> = names
        .iter()
        .map(|name| leave_behind(&scene, name))
        .collect();
    let stale = leave_behind(&scene, "phasebox:a.9223372036854775815");
    assert!(run(scene.boxed(&["true"])).status.success());
    assert!(!stale.exists());
    for other in others {
        assert_eq!(members(&other).len(), 1, "{}", other.display());
    }
}

#[test]
fn the_groups_of_other_users_are_left_alone() {
    needs_root!();
    let group = "phasebox:a.9223372036854775815";
    // Root's boxes clear away root's, as do those that are lent; a user's clear away that user's.
    let other = if lent() { USER } else { 0 };
    for (kind, owner) in [(Group, USER), (Delegated, other), (Delegated, USER + 1)] {
        let scene = Scene::new(kind);
        let other = leave_behind(&scene, group);
        for file in ["", "cgroup.procs", "cgroup.kill"] {
            give_file(&other.join(file), owner);
        }
        assert!(run(scene.boxed(&["true"])).status.success());
        assert_eq!(members(&other).len(), 1, "{kind:?} {owner}");
    }
}

#[test]
fn a_stale_group_does_not_hide_behind_the_limit_that_it_fills() {
    needs_root!();
    let scene = Scene::new(Group);
    leave_behind(&scene, "phasebox:a.9223372036854775815");
    fs::write(scene.group.0.join("cgroup.max.descendants"), "1").unwrap();
    let output = run(scene.script("exit 3"));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    scene.assert_nothing_left();
}

/// What cannot be killed, since a tracer holds it, is not waited for again and again: after a
/// SIGKILL of the stub the box is dead in time.
#[test]
fn stale_groups_that_cannot_be_emptied_delay_no_guard() {
    needs_root!();
    let scene = Scene::new(Group);
    let mut held = Vec::new();
    for number in 0..24 {
        let path = scene
            .group
            .0
            .join(format!("phasebox:a.{}", (1u64 << 63) + number));
        fs::create_dir(&path).unwrap();
        let pid = put_sleeper_into(&scene, &path);
        held.push(Traced::seize(pid, libc::PTRACE_O_TRACEEXIT));
    }
    // Started beside them, and marked by another scene.
    let marked = Scene::new(Group);
    let mut command = marked.script("setsid sleep 100000 & echo ready; wait");
    scene.group.contain(&mut command);
    let mut live = Live::ready(command);
    kill(live.stub(), libc::SIGKILL);
    live.status();
    marked.assert_gone_in_time();
    drop(held);
    assert!(run(scene.boxed(&["true"])).status.success());
    scene.assert_nothing_left();
}

/// Bug 554108: parallel builds of one package killed each other.
#[test]
fn of_fifty_boxes_of_one_name_one_is_killed_and_the_others_are_unharmed() {
    needs_root!();
    let scene = Scene::new(Group);
    let script = "setsid sleep 100000 & echo ready; read status; exit $status";
    let options = ["--quiet", "--cgroup=same"];
    let start = || Live::ready(scene.boxed_with(&options, &["sh", "-c", script]));
    let mut boxes: Vec<Live> = (0..50).map(|_| start()).collect();
    assert_eq!(scene.groups().len(), 50);
    let killed = boxes.swap_remove(20);
    kill(killed.stub(), libc::SIGKILL);
    drop(killed);
    eventually("the killed box is gone", || scene.groups().len() == 49);
    // Its guard is not gone before the group; a group whose processes all died at once is, too.
    let mut stale = boxes.swap_remove(7);
    scene.kill_stub_and_guard(&mut stale);
    assert!(run(scene.boxed(&["true"])).status.success());
    assert_eq!(scene.groups().len(), 48);
    for group in scene.groups() {
        assert_eq!(
            members(&group).len(),
            2,
            "the command and its daemon: {}",
            group.display()
        );
    }
    for (number, live) in boxes.iter_mut().enumerate() {
        live.say(&number.to_string());
    }
    for (number, live) in boxes.iter_mut().enumerate() {
        let (status, _, errors) = live.end();
        assert_eq!((status.code(), errors.as_str()), (Some(number as i32), ""));
    }
    scene.assert_nothing_left();
}

#[test]
fn boxes_that_start_while_others_are_cleared_away_do_not_harm_each_other() {
    needs_root!();
    for kind in Kind::with_group_alone() {
        let scene = Scene::new(kind);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    let scene = &scene;
                    scope.spawn(move || {
                        for round in 0..25 {
                            let status = (worker * 25 + round) % 100;
                            let script = format!("setsid sleep 100000 & sleep 0.01; exit {status}");
                            let output =
                                run(scene.boxed_with(&["--quiet"], &["sh", "-c", &script]));
                            assert_eq!(output.status.code(), Some(status), "{output:?}");
                            assert_eq!(text(&output.stderr), "");
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let script = "setsid sleep 100000 & echo ready; wait";
                    let mut live = Live::ready(scene.script(script));
                    scene.kill_stub_and_guard(&mut live);
                }
            });
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Ordering::Relaxed);
            for result in results {
                result.unwrap();
            }
        });
        assert!(run(scene.boxed(&["true"])).status.success());
        scene.assert_nothing_left();
    }
}

#[test]
fn a_user_whose_group_is_delegated_has_a_group_and_no_pid_namespace() {
    needs_root!();
    let scene = Scene::new(Delegated);
    let script = "readlink /proc/self/ns/pid; echo $$; sed -n s/^0:://p /proc/self/cgroup; id -u;
        setsid sleep 100000 & read x; exit 3";
    let mut live = Live::start(scene.script(script));
    let host = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(live.line(), host.to_str().unwrap());
    let pid: u32 = live.line().parse().unwrap();
    assert_eq!(
        children(live.stub())
            .iter()
            .filter(|child| **child == pid)
            .count(),
        1
    );
    assert_named(&live.line(), &shown(&scene.group.0), "sh");
    assert_eq!(live.line(), USER.to_string());
    assert!(members(&scene.only_group()).contains(&pid));
    assert_guarded(&scene, &live);
    assert_eq!(live.end().0.code(), Some(3));
    scene.assert_nothing_left();
}

/// Asserts whose the guard is, and that it is where the box's user can do nothing to it.
fn assert_guarded(scene: &Scene, live: &Live) {
    let guard = guard_of(live.stub());
    assert_eq!(group_of(guard), scene.guards_group());
    let status = fs::read_to_string(format!("/proc/{guard}/status")).unwrap();
    let owner = scene.kind.owner();
    for ids in [
        format!("Uid:{}", format!("\t{owner}").repeat(4)),
        format!("Gid:{}", format!("\t{owner}").repeat(4)),
    ] {
        assert!(status.lines().any(|line| line == ids), "{ids} in {status}");
    }
}

#[test]
fn where_rights_are_lent_the_group_is_the_nearest_in_which_the_user_can_change_nothing() {
    needs_root!();
    lent_only!();
    for delegated in [
        &[][..],
        &[""],
        &["cgroup.procs"],
        &["cgroup.threads"],
        &["cgroup.kill"],
        &["cgroup.freeze"],
    ] {
        let scene = Scene::delegating(Rootless, delegated);
        if delegated == ["cgroup.kill"] && !scene.home().join("cgroup.kill").exists() {
            // Before Linux 5.14.
            continue;
        }
        let script = "sed -n s/^0:://p /proc/self/cgroup; setsid sleep 100000 & read x; exit 3";
        let mut live = Live::start(scene.script(script));
        assert_named(&live.line(), &shown(&scene.group.0), "sh");
        assert_guarded(&scene, &live);
        assert_eq!(live.end().0.code(), Some(3));
        scene.assert_nothing_left();
    }
}

/// From a group that is delegated to this user, as a session of systemd's is: else the command could
/// leave its box.
#[test]
fn whom_root_hands_over_to_cannot_move_the_command_out_of_its_box() {
    needs_root!();
    plain_install_only!();
    let scene = Scene::new(Kind::Group);
    for delegated in [&["", "cgroup.procs"][..], &["cgroup.procs"]] {
        let home = scene.group.0.join("delegated");
        fs::create_dir(&home).unwrap();
        for file in delegated {
            give_file(&home.join(file), USER);
        }
        let script = format!(
            "sed -n s/^0:://p /proc/self/cgroup; echo 0 >{}/cgroup.procs; sed -n s/^0:://p /proc/self/cgroup",
            home.display()
        );
        let mut command = Command::new(program());
        command
            .args(["-c", "--user=64101", "--group=64101", "sh", "-c", &script])
            .current_dir("/");
        scene.mark(&mut command);
        start_in(&mut command, &home);
        let output = run(command);
        let text = text(&output.stdout);
        let groups: Vec<_> = text.lines().collect();
        assert_eq!(groups.len(), 2, "{output:?}");
        for group in groups {
            assert_named(group, &shown(&scene.group.0), "sh");
        }
        scene.assert_nothing_left();
        fs::remove_dir(&home).unwrap();
    }
    // Root without CAP_SYS_ADMIN has no other group than its own to make one in.
    let home = scene.group.0.join("delegated");
    fs::create_dir(&home).unwrap();
    give_file(&home, USER);
    give_file(&home.join("cgroup.procs"), USER);
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
        .arg(program())
        .args(["-c", "--user=64101", "--group=64101", "sh", "-c"])
        .arg(format!(
            "echo 0 >{}/cgroup.procs; sed -n s/^0:://p /proc/self/cgroup; setsid sleep 100000 &",
            home.display()
        ))
        .current_dir("/");
    scene.mark(&mut command);
    start_in(&mut command, &home);
    let output = run(command);
    let left = fs::read_to_string(home.join("cgroup.procs")).unwrap();
    assert_eq!(left, "", "{output:?}");
    scene.assert_nothing_left();
    fs::remove_dir(&home).unwrap();
    // To somebody else it is handed over where root is.
    let mut command = scene.outside(program().to_str().unwrap());
    command.args([
        "-c",
        "--user=64102",
        "--group=64102",
        "cat",
        "/proc/self/cgroup",
    ]);
    let output = run(command);
    assert_named(
        &unified(&text(&output.stdout)),
        &shown(&scene.group.0),
        "cat",
    );
}

#[test]
fn where_rights_are_lent_a_box_within_a_box_is_in_its_group() {
    needs_root!();
    lent_only!();
    let scene = Scene::new(Kind::Group);
    let inner = [
        program().to_str().unwrap(),
        "-c",
        "cat",
        "/proc/self/cgroup",
    ];
    // A box that is not root's has no_new_privs, below which nothing is lent.
    let output = run(scene.boxed_with(&["--user=64101", "--group=64101"], &inner));
    let group = unified(&text(&output.stdout)).to_owned();
    let (outer, _) = group.rsplit_once('/').expect(&group);
    let label = std::path::Path::new(inner[0]).file_name().unwrap();
    assert_named(outer, &shown(&scene.group.0), label.to_str().unwrap());
    assert_named(&group, outer, "cat");
    scene.assert_nothing_left();
}

/// Who runs a box from a group that is another user's, as after sudo(8): that user must not be able to
/// freeze the box, or kill its guard.
#[test]
fn where_rights_are_lent_a_group_that_is_another_users_is_no_place() {
    needs_root!();
    lent_only!();
    for delegated in ["", "cgroup.procs"] {
        let scene = Scene::delegating(Rootless, &[delegated]);
        give_file(&scene.home().join(delegated), USER + 1);
        let script = "sed -n s/^0:://p /proc/self/cgroup; setsid sleep 100000 & read x; exit 3";
        let mut live = Live::start(scene.script(script));
        assert_named(&live.line(), &shown(&scene.group.0), "sh");
        assert_guarded(&scene, &live);
        assert_eq!(live.end().0.code(), Some(3));
        scene.assert_nothing_left();
    }
}

#[test]
fn a_user_whose_group_is_not_wholly_delegated_has_a_pid_namespace() {
    needs_root!();
    plain_install_only!();
    for delegated in [&[][..], &[""][..], &["cgroup.procs"][..]] {
        let scene = Scene::delegating(Rootless, delegated);
        let script = "readlink /proc/self/ns/pid; sed -n s/^0:://p /proc/self/cgroup;
            setsid sleep 100000 & read x; exit 3";
        let mut live = Live::start(scene.script(script));
        let host = fs::read_link("/proc/self/ns/pid").unwrap();
        assert_ne!(live.line(), host.to_str().unwrap());
        assert_eq!(live.line(), shown(&scene.group.0));
        assert!(scene.groups().is_empty());
        assert_eq!(live.end().0.code(), Some(3));
        scene.assert_nothing_left();
    }
}
