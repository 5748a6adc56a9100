//! What a box costs, as far as no other load on the machine can change it: system calls,
//! instructions, memory. `make bench` measures time.
#![allow(missing_docs, unsafe_code)]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::*;

/// A run, and how much it may take.
struct Run {
    caller: Caller,
    options: &'static [&'static str],
    calls: usize,
    instructions: usize,
}

const fn run_of(
    caller: Caller,
    options: &'static [&'static str],
    calls: usize,
    instructions: usize,
) -> Run {
    Run {
        caller,
        options,
        calls,
        instructions,
    }
}

/// What was measured, and some room: another path to the group, another descriptor to close, one
/// more look at what is waited for.
const RUNS: [Run; 6] = [
    run_of(Caller::Root, &["-ni"], 16, 4_800),
    run_of(Caller::Root, &["-nic"], 98, 37_000),
    run_of(Caller::Root, &["-nicpm"], 127, 53_000),
    run_of(Caller::User, &["-ni"], 41, 8_500),
    run_of(Caller::User, &["-nic"], 113, 37_500),
    run_of(
        Caller::Root,
        &[
            "--features",
            "network-sandbox ipc-sandbox cgroup",
            "--phase",
            "pkg_setup",
        ],
        9,
        10_500,
    ),
];

/// Made as often as it takes until something has happened.
const WAITING: [&str; 4] = ["ppoll", "clock_gettime", "lseek", "read"];

const COMMAND: &str = "/bin/true";

fn id_of(caller: Caller) -> u32 {
    match caller {
        Caller::Root => 0,
        Caller::User => USER,
    }
}

/// Runs `words` in a group where no other test's box is beside, without an environment.
fn run_alone(caller: Caller, words: &[&str]) {
    let group = TestGroup::new("cost");
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .stdin(Stdio::null())
        .current_dir("/");
    group.contain(&mut command);
    if caller == Caller::User {
        become_user(&mut command);
    }
    let output = run(command);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        text(&output.stderr)
    );
}

/// The program with a run's options, and the command.
fn words_of(run: &Run) -> Vec<&'static str> {
    let mut words = vec![program().to_str().unwrap()];
    words.extend(run.options);
    words.extend(["--", COMMAND]);
    words
}

/// The system calls of all the program's processes, up to where one becomes the command, but for
/// those that wait.
fn calls_of(run: &Run, strace: &str) -> BTreeMap<String, usize> {
    let trace = scratch(id_of(run.caller)).join("trace");
    let mut words = vec![strace, "-f", "-o", trace.to_str().unwrap()];
    words.extend(words_of(run));
    run_alone(run.caller, &words);

    let mut calls = BTreeMap::new();
    let mut commands = HashSet::new();
    // The first is the caller's.
    for line in fs::read_to_string(trace).unwrap().lines().skip(1) {
        // A lone process has no pid in its line.
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let (pid, rest) = (&line[..line.len() - rest.len()], rest.trim_start());
        let call = rest.split_once('(').map(|(name, _)| name);
        let Some(call) = call.filter(|name| !name.starts_with(['<', '-', '+'])) else {
            continue;
        };
        if commands.contains(pid) {
            continue;
        }
        if !WAITING.contains(&call) {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
        if call == "execve" {
            commands.insert(pid.to_owned());
        }
    }
    calls
}

/// The instructions in user space of the same processes.
fn instructions_of(run: &Run, steps: &Path) -> usize {
    let result = scratch(0).join("result");
    let uid = id_of(run.caller).to_string();
    let mut words = vec![
        steps.to_str().unwrap(),
        &uid,
        result.to_str().unwrap(),
        COMMAND,
    ];
    words.extend(words_of(run));
    run_alone(Caller::Root, &words);
    let result = fs::read_to_string(result).unwrap();
    result.split(' ').next().unwrap().parse().unwrap()
}

fn strace() -> Option<&'static str> {
    let paths = ["/usr/bin/strace", "/bin/strace"];
    paths.into_iter().find(|path| Path::new(path).exists())
}

#[test]
fn a_box_makes_no_more_system_calls_than_it_did() {
    needs_root!();
    plain_install_only!();
    let Some(strace) = strace() else {
        skip!("needs strace");
    };
    for run in &RUNS {
        let calls = calls_of(run, strace);
        let sum: usize = calls.values().sum();
        println!("{:?} {:?}: {sum} calls {calls:?}", run.caller, run.options);
        assert!(sum <= run.calls, "{:?} {sum} {calls:?}", run.options);
    }
}

#[test]
fn a_box_takes_no_more_instructions_than_it_did() {
    needs_root!();
    plain_install_only!();
    // A build for debugging is not what is installed.
    if cfg!(debug_assertions) {
        return;
    }
    let steps = compile("steps", include_str!("helpers/steps.c"));
    for run in &RUNS {
        let sum = instructions_of(run, &steps);
        println!("{:?} {:?}: {sum} instructions", run.caller, run.options);
        assert!(sum <= run.instructions, "{:?} {sum}", run.options);
    }
}

/// A process's resident and private memory in KiB. proc_pid_smaps(5).
fn memory(pid: u32) -> (u32, u32) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let value = |name: &str| -> u32 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (
        value("Rss:"),
        value("Private_Clean:") + value("Private_Dirty:"),
    )
}

#[test]
fn what_waits_takes_little_memory_and_less_of_its_own() {
    needs_root!();
    if cfg!(debug_assertions) {
        return;
    }
    let group = TestGroup::new("cost");
    let mut command = phasebox(&["-nic", "--", "sh", "-c", "echo ready; read line; exit 0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    group.contain(&mut command);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    let stub = child.id();
    for pid in [stub, guard_of(stub)] {
        eventually("it waits", || state(pid) == Some('S'));
        let (resident, private) = memory(pid);
        println!("{}: {resident} KiB, {private} private", name(pid));
        // Wanted: 64. It has 64 or 68, by where the stack begins.
        assert!(resident <= 68, "{}: {resident} KiB", name(pid));
        assert!(private <= 16, "{}: {private} KiB", name(pid));
    }
    drop(child.stdin.take());
    assert!(wait_for(&mut child).success());
}
