//! `--report-fd N`: one line of JSON, when the command has ended.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use boxes::*;
use common::*;
use serde_json::Value;

/// The descriptor that the reports go to: so high that no test has it already.
const FD: i32 = 199;

/// Gives `command` the end of a pipe as descriptor [`FD`], and the other end.
fn with_report(command: &mut Command) -> File {
    let mut ends = [0; 2];
    // SAFETY: writes two descriptors.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    // SAFETY: new descriptors.
    let [reader, writer] = ends.map(|end| unsafe { File::from_raw_fd(end) });
    // SAFETY: dup2(2) alone.
    unsafe {
        command.pre_exec(move || match libc::dup2(writer.as_raw_fd(), FD) {
            FD => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    reader
}

/// Reads what was written: exactly one line of JSON.
fn read_report(mut reader: File) -> Value {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(
        text.find('\n').map(|end| end + 1),
        Some(text.len()),
        "{text:?}"
    );
    assert!(text.is_ascii(), "{text:?}");
    let report: Value = serde_json::from_str(&text).expect(&text);
    assert!(report.is_object(), "{text:?}");
    report
}

/// Runs `script` in a box of the scene; its status and its report.
fn reported(scene: &Scene, options: &[&str], script: &str) -> (std::process::ExitStatus, Value) {
    let options = [&["--report-fd", "199"], options].concat();
    let mut command = scene.boxed_with(&options, &["sh", "-c", script]);
    let reader = with_report(&mut command);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    // The command has the writing end to give to its children.
    drop(command);
    let status = wait_for(&mut child);
    scene.assert_nothing_left();
    (status, read_report(reader))
}

fn number(report: &Value, member: &str) -> Option<u64> {
    let value = report.get(member)?;
    Some(
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{member}: {report}")),
    )
}

/// The name and the command line of each process that was killed.
fn killed(report: &Value) -> Vec<(String, String)> {
    let list = report["killed"].as_array().expect("a list");
    list.iter()
        .map(|entry| {
            assert!(entry["pid"].as_u64().unwrap() > 0, "{report}");
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            (text("name"), text("command"))
        })
        .collect()
}

#[test]
fn the_exit_status_or_the_signal_is_told() {
    needs_root!();
    for_each_kind(&Kind::all(), |kind| {
        let scene = Scene::new(kind);
        let (status, report) = reported(&scene, &["-n"], "exit 41");
        assert_eq!(status.code(), Some(41), "{kind:?}");
        assert_eq!(number(&report, "exit"), Some(41), "{kind:?}: {report}");
        assert_eq!(number(&report, "signal"), None, "{kind:?}: {report}");
        let (status, report) = reported(&scene, &[], "kill -KILL $$");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{kind:?}");
        assert_eq!(number(&report, "signal"), Some(9), "{kind:?}: {report}");
        assert_eq!(number(&report, "exit"), None, "{kind:?}: {report}");
    });
}

#[test]
fn the_time_that_it_took_is_told() {
    needs_root!();
    let scene = Scene::new(Kind::Group);
    let start = std::time::Instant::now();
    let (_, report) = reported(&scene, &[], "sleep 0.3");
    let most = start.elapsed().as_micros();
    let told = u128::from(number(&report, "wall_usec").unwrap());
    assert!(told >= 300_000 && told <= most, "{told} of {most}");
}

/// With nothing that takes a process to wait, there is one all the same.
#[test]
fn a_command_that_would_take_the_programs_place_is_waited_for() {
    needs_root!();
    let mut command = Command::new(program());
    command.args(["-n", "--report-fd=199", "sh", "-c", "exit 3"]);
    let reader = with_report(&mut command);
    let status = command.status().unwrap();
    drop(command);
    assert_eq!(status.code(), Some(3));
    let report = read_report(reader);
    assert_eq!(number(&report, "exit"), Some(3));
    assert!(report.get("killed").is_none(), "{report}");
}

/// Waits until the child that a shell forked last executes what it was forked for.
const UNTIL_EXECUTED: &str =
    "until tr '\\0' ' ' </proc/$!/cmdline | grep -q '^sleep 1000'; do sleep 0.01; done";

#[test]
fn leftovers_are_told_with_name_and_command_line() {
    needs_root!();
    for_each_kind(&Kind::with_group(), |kind| {
        let scene = Scene::new(kind);
        let script = format!("for i in 1 2 3; do sleep 1000$i & {UNTIL_EXECUTED}; done");
        let (_, report) = reported(&scene, &["--quiet"], &script);
        let mut killed = killed(&report);
        killed.sort();
        let expected: Vec<_> = (1..=3)
            .map(|number| ("sleep".to_owned(), format!("sleep 1000{number}")))
            .collect();
        assert_eq!(killed, expected, "{kind:?}: {report}");
        let (_, report) = reported(&scene, &[], "true");
        assert!(report["killed"].as_array().unwrap().is_empty(), "{kind:?}");
    });
}

#[test]
fn leftovers_in_groups_that_the_command_made_are_told() {
    needs_root!();
    for_each_kind(&Kind::with_group_to_write(), |kind| {
        let scene = Scene::new(kind);
        let script = format!(
            "cd {}/phasebox:sh.*; mkdir inner; sleep 10009 & echo $! >inner/cgroup.procs
            {UNTIL_EXECUTED}",
            scene.group.0.display()
        );
        if kind.has_init() {
            // Its pids are other ones there.
            return;
        }
        let (_, report) = reported(&scene, &[], &script);
        assert_eq!(killed(&report), [("sleep".into(), "sleep 10009".into())]);
    });
}

#[test]
fn what_could_end_a_string_or_drive_a_terminal_is_told_harmlessly() {
    needs_root!();
    let source = r#"
        #include <stdio.h>
        #include <unistd.h>
        #include <sys/prctl.h>
        int main(void) {
            int ends[2];
            char byte;
            if (pipe(ends)) return 1;
            if (fork() == 0) {
                prctl(PR_SET_NAME, "a\"b\\c\033\x9b\xe9\n,");
                if (write(ends[1], "", 1) != 1) return 1;
                for (;;) pause();
            }
            return read(ends[0], &byte, 1) != 1;
        }"#;
    static PLACE: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let program = compiled(&PLACE, source);
    let scene = Scene::new(Kind::Group);
    let (_, report) = reported(
        &scene,
        &[],
        &format!("exec {program} '\"}}]}}\\' \"$(printf 'x\\ty')\""),
    );
    let killed = killed(&report);
    assert_eq!(killed.len(), 1, "{report}");
    let (name, line) = &killed[0];
    assert_eq!(name, "a\"b\\c????,");
    assert_eq!(*line, format!("{program} \"}}]}}\\ x?y"));
}

/// Who reads the report only when the program has ended must not keep it from ending.
#[test]
fn a_report_of_many_leftovers_fits_into_a_pipe() {
    needs_root!();
    let source = r#"
        #include <unistd.h>
        int main(void) {
            for (int i = 0; i < 600; i++) if (fork() == 0) for (;;) pause();
            return 0;
        }"#;
    static PLACE: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let program = compiled(&PLACE, source);
    for_each_kind(&[Kind::Group], |kind| {
        let scene = Scene::new(kind);
        let script = format!("exec {program} {}", "x".repeat(200));
        let (_, report) = reported(&scene, &[], &script);
        let told = killed(&report).len() as u64;
        let more = number(&report, "killed_more").unwrap();
        assert_eq!(told + more, 600, "{report}");
        assert!(told > 100, "{told}");
        let text = report.to_string();
        assert!(text.len() <= 32 * 1024, "{}", text.len());
        assert!(
            killed(&report)
                .iter()
                .all(|(_, line)| line.ends_with("xxx..."))
        );
    });
}

#[test]
fn the_time_that_the_processor_took_is_told() {
    needs_root!();
    for_each_kind(&Kind::with_group(), |kind| {
        let scene = Scene::new(kind);
        let script = "exec 2>&-; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let (_, report) = reported(&scene, &[], script);
        let user = number(&report, "user_usec").unwrap();
        assert!(number(&report, "system_usec").is_some(), "{report}");
        let wall = number(&report, "wall_usec").unwrap();
        assert!(user > 1000 && user <= wall, "{kind:?}: {report}");
    });
}

/// The controllers that a group below this one would have, as the members that tell of them.
fn members_of_controllers(group: &std::path::Path) -> Vec<&'static str> {
    let enabled = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap();
    let has = |name| enabled.split_whitespace().any(|word| word == name);
    let mut members = Vec::new();
    if has("memory") {
        members.extend(["memory_peak", "oom_kills"]);
    }
    if has("pids") {
        members.push("pids_peak");
    }
    if has("io") {
        members.extend(["io_read", "io_written"]);
    }
    members
}

/// Each is told exactly where its controller is: in the kernels of tests/kernels, which have them
/// all.
#[test]
fn what_controllers_count_is_told_where_they_are() {
    needs_root!();
    let scene = Scene::new(Kind::Group);
    // A group with processes of its own has none below with controllers.
    let place = scene.group.0.join("place");
    fs::create_dir(&place).unwrap();
    for controller in ["+memory", "+pids", "+io"] {
        for group in [&scene.group.0, &place] {
            // As far as the machine gives them to the tests' own group.
            let _ = fs::write(group.join("cgroup.subtree_control"), controller);
        }
    }
    let expected = members_of_controllers(&place);
    let mut command = Command::new(program());
    command.args(["-c", "--report-fd=199", "--cgroup-parent"]);
    command.arg(&place).args(["sh", "-c", "sleep 0.01 & wait"]);
    let reader = with_report(&mut command);
    assert!(command.status().unwrap().success());
    drop(command);
    let report = read_report(reader);
    for member in [
        "memory_peak",
        "oom_kills",
        "pids_peak",
        "io_read",
        "io_written",
    ] {
        let told = number(&report, member);
        let is_newer = matches!(member, "memory_peak" | "pids_peak");
        assert!(
            told.is_some() == expected.contains(&member) || is_newer && told.is_none(),
            "{member}: {expected:?}, {report}"
        );
    }
    if let Some(peak) = number(&report, "pids_peak") {
        assert!((1..=8).contains(&peak), "{report}");
    }
    if let Some(peak) = number(&report, "memory_peak") {
        assert!(peak > 0, "{report}");
    }
    fs::remove_dir(&place).unwrap();
}

#[test]
fn the_command_does_not_get_the_descriptor() {
    needs_root!();
    for_each_kind(&Kind::all(), |kind| {
        let scene = Scene::new(kind);
        let (status, _) = reported(&scene, &[], "test ! -e /proc/self/fd/199");
        assert!(status.success(), "{kind:?}");
    });
    let mut command = Command::new(program());
    command.args(["-c", "--report-fd=1", "echo", "said"]);
    let output = run(command);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("said\n{\"exit\":0,"), "{text}");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused_before_anything_is_done() {
    needs_root!();
    for word in ["199", "77", "x", "", "-1", "4294967295", "1e1"] {
        let mut command = Command::new(program());
        command.args(["-c", "--report-fd", word, "echo", "ran"]);
        let output = run(command);
        assert_eq!(output.status.code(), Some(125), "{word}");
        assert_eq!(output.stdout, b"", "{word}");
        let line = one_line(&output);
        let expected = format!(
            "phasebox: unable to use '{word}': no descriptor open to write (EBADF); see phasebox --help"
        );
        assert_eq!(line, expected);
    }
}

/// Nor is one that was closed and filled, or is only open to be read.
#[test]
fn a_descriptor_that_cannot_be_written_to_is_refused() {
    needs_root!();
    for script in [
        "exec \"$0\" -c --report-fd 1 echo ran >&-",
        "exec \"$0\" -c --report-fd 2 echo ran 2>&-",
        "exec \"$0\" -c --report-fd 5 echo ran 5</dev/null",
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program());
        let output = run(command);
        assert_eq!(output.status.code(), Some(125), "{script}: {output:?}");
        assert_eq!(output.stdout, b"", "{script}");
    }
}

/// With any size of stack there is a box with its report, or COMMAND does not start.
#[test]
fn a_small_stack_is_found_out_before_the_command_starts() {
    needs_root!();
    for_each_kind(&Kind::with_group_alone(), |kind| {
        for kilobytes in [24, 32, 48, 64, 96, 256] {
            let scene = Scene::new(kind);
            let script = format!("ulimit -s {kilobytes}; exec \"$0\" \"$@\"");
            let mut command = scene.outside("sh");
            command.args(["-c", &script]).arg(program()).args([
                "-c",
                "--quiet",
                "--report-fd=199",
                "sh",
                "-c",
                "sleep 1000 & echo ran",
            ]);
            let reader = with_report(&mut command);
            let output = run(command);
            let what = format!("{kind:?}, {kilobytes} KiB: {output:?}");
            if output.stdout == b"ran\n" {
                assert_eq!(output.status.code(), Some(0), "{what}");
                // It may not have executed anything yet.
                let report = read_report(reader);
                assert_eq!(report["killed"].as_array().unwrap().len(), 1, "{what}");
                scene.assert_nothing_left();
            } else {
                assert!(!output.status.success(), "{what}");
                scene.assert_gone_in_time();
            }
        }
    });
}

/// A group that cannot be looked into hides nobody else, and shows nobody twice.
#[test]
fn each_leftover_is_told_once() {
    needs_root!();
    for_each_kind(&[Kind::Group, Kind::Delegated], |kind| {
        if kind.is_lent() {
            return;
        }
        let scene = Scene::new(kind);
        let script = format!(
            "sleep 10009 & {UNTIL_EXECUTED}; mkdir {}/phasebox:sh.*/sub; chmod 0 {0}/phasebox:sh.*/sub",
            scene.group.0.display()
        );
        let (_, report) = reported(&scene, &[], &script);
        assert_eq!(killed(&report), [("sleep".into(), "sleep 10009".into())]);
    });
}

/// A reader that is gone is no reason to fail: the box has been ended before.
#[test]
fn nobody_has_to_read_it() {
    needs_root!();
    for_each_kind(&Kind::all(), |kind| {
        let scene = Scene::new(kind);
        let mut command =
            scene.boxed_with(&["--report-fd=199"], &["sh", "-c", "sleep 1000 & exit 7"]);
        drop(with_report(&mut command));
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(wait_for(&mut child).code(), Some(7), "{kind:?}");
        scene.assert_nothing_left();
    });
}
