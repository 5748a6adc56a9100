//! `--check`: what works here and what does not, found out by trying.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;
#[path = "common/ground.rs"]
mod ground;

use std::fs::File;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use boxes::*;
use common::*;
use ground::terminal;

/// What is told, in this order.
const LINES: [&str; 7] = [
    "--net",
    "--ipc",
    "--cgroup",
    "--pid",
    "--mount",
    "user namespace",
    "set-id",
];

/// What is told of each line's subject.
fn told(output: &Output) -> Vec<String> {
    assert_eq!(output.stderr, b"", "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_once(": ").expect(&text))
        .collect();
    let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, LINES, "{text}");
    lines.iter().map(|(_, rest)| (*rest).to_owned()).collect()
}

fn checked(scene: &Scene) -> Output {
    let mut command = scene.outside(program().to_str().unwrap());
    command.arg("--check");
    let output = run(command);
    scene.assert_nothing_left();
    output
}

/// A path in the hierarchy of control groups, as the kernel gives it.
fn path_in_hierarchy(group: &std::path::Path) -> String {
    let path = group.strip_prefix(cgroup_mount()).unwrap();
    format!("/{}/", path.display())
}

#[test]
fn what_works_is_told_with_the_place_of_the_control_group() {
    needs_root!();
    for_each_kind(&[Kind::Group, Kind::Rootless, Kind::Delegated], |kind| {
        let scene = Scene::new(kind);
        let output = checked(&scene);
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {output:?}");
        let told = told(&output);
        let place = path_in_hierarchy(&scene.group.0);
        let group = if kind.has_group() {
            format!("works, cgroup v2, in {place}")
        } else {
            "works, by a PID namespace: no control group is delegated".to_owned()
        };
        let set_id = match kind {
            Kind::Group => "root needs none",
            _ if lent() => "works",
            _ => "no, this file is not installed so",
        };
        let expected = ["works", "works", &group, "works", "works", "works", set_id];
        assert_eq!(told, expected, "{kind:?}");
    });
}

/// A shell as root of a new user namespace, that runs `prepare` and then the check.
fn checked_after(prepare: &str, program: &str) -> Output {
    let mut command = Command::new("unshare");
    let script = format!("{prepare}; exec \"$@\"");
    command
        .args(["-U", "-r", "sh", "-ec", &script, "sh", program, "--check"])
        .stdin(Stdio::null())
        .current_dir("/");
    run(command)
}

/// Each alone: the others are tried all the same, and the exit status is about `-nic`.
#[test]
fn what_does_not_work_is_told_with_the_reason_and_what_to_do() {
    needs_root!();
    for (limit, line, status) in [("net", 0, 1), ("ipc", 1, 1), ("pid", 3, 0), ("mnt", 4, 0)] {
        let prepare = format!("echo 0 >/proc/sys/user/max_{limit}_namespaces");
        let output = checked_after(&prepare, plain_program().to_str().unwrap());
        assert_eq!(output.status.code(), Some(status), "{limit}: {output:?}");
        let told = told(&output);
        let failed = &told[line];
        assert!(
            failed.starts_with("no, unable to make a")
                && failed.contains("(ENOSPC); raise sysctl user.max_"),
            "{limit}: {failed}"
        );
        // A PID namespace has a mount namespace in it, and the user namespace is tried with IPC.
        let others = told.iter().take(5).filter(|text| text.starts_with("no"));
        assert_eq!(
            others.count(),
            if limit == "mnt" { 2 } else { 1 },
            "{told:?}"
        );
    }
}

#[test]
fn where_there_is_no_user_namespace_a_user_is_told_so() {
    needs_root!();
    // Without a map, none can be made.
    let mut command = Command::new("unshare");
    command.args(["-U", plain_program().to_str().unwrap(), "--check"]);
    become_user(&mut command);
    let output = run(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for text in &told(&output)[..6] {
        assert!(
            text.starts_with("no, unable to make a user namespace: ")
                && text.contains("; run as root, or allow user namespaces"),
            "{text}"
        );
    }
}

#[test]
fn why_a_set_id_bit_has_no_effect_is_told() {
    needs_root!();
    let scene = Scene::new(Kind::Rootless);
    let mut command = scene.outside("setpriv");
    command.args(["--no-new-privs", program().to_str().unwrap(), "--check"]);
    let told = told(&run(command));
    let expected = if lent() {
        "no, it had no effect: no_new_privs is set"
    } else {
        "no, this file is not installed so"
    };
    assert_eq!(told[6], expected);
}

/// The boxes that are tried are made with what is lent, and nothing of it is used to find out more
/// than any box would tell.
#[test]
fn nothing_is_left_when_it_has_ended() {
    needs_root!();
    for_each_kind(&[Kind::Group, Kind::Rootless, Kind::Delegated], |kind| {
        let scene = Scene::new(kind);
        for _ in 0..10 {
            assert!(checked(&scene).status.success());
        }
    });
}

#[test]
fn colours_are_for_terminals() {
    needs_root!();
    let (master, slave) = terminal();
    let mut command = Command::new(plain_program());
    command.arg("--check").stdin(Stdio::null()).stdout(slave);
    let mut child = command.spawn().unwrap();
    // The command has the slave's last descriptor.
    drop(command);
    let mut text = Vec::new();
    // Ends with an error when the terminal's last user is gone.
    let _ = File::from(master).read_to_end(&mut text);
    assert!(wait_for(&mut child).success());
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("--net: \u{1b}[32mworks\u{1b}[m\r\n"),
        "{text:?}"
    );
    let output = run(checked_alone());
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
}

fn checked_alone() -> Command {
    let mut command = Command::new(plain_program());
    command.arg("--check");
    command
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    needs_root!();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --check >/dev/full"]);
    command.arg(plain_program());
    let output = run(command);
    assert_eq!(output.status.code(), Some(125));
    assert!(one_line(&output).contains("unable to write to standard output: "));
}

/// A box within a box that has no group of its own is not taken for one that has.
#[test]
fn the_place_is_that_of_the_box_that_was_tried() {
    needs_root!();
    let scene = Scene::new(Kind::Rootless);
    let output = run(scene.boxed(&[program().to_str().unwrap(), "--check"]));
    assert_eq!(
        told(&output)[2],
        "works, by a PID namespace: no control group is delegated"
    );
}

/// What follows it is not run.
#[test]
fn no_command_is_run() {
    needs_root!();
    let mut command = checked_alone();
    command.args(["echo", "ran"]);
    let output = run(command);
    assert!(output.status.success());
    assert_eq!(told(&output).len(), LINES.len());
}

#[test]
fn it_does_not_depend_on_how_signals_are_taken() {
    needs_root!();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' CHLD PIPE; exec \"$0\" --check"])
        .arg(plain_program());
    assert!(run(command).status.success());
}
