//! The README lists what the program does, in order; strace(1) shows what it does.
#![allow(missing_docs, unsafe_code)]

mod common;

use std::collections::HashMap;
use std::process::Command;

use common::*;

/// Calls that the list leaves out: they only read, let go or tell the time.
const LEFT_OUT: [&str; 8] = [
    "read",
    "close",
    "lseek",
    "clock_gettime",
    "fstatfs",
    "getdents64",
    "ppoll",
    "waitid",
];

/// (process, call) in the order of the README's list.
fn documented() -> Vec<(String, String)> {
    let readme = include_str!("../README.md");
    let section = readme.split("## What it does, in order").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    block
        .lines()
        .filter(|line| !line.is_empty())
        .skip_while(|line| line.starts_with("process"))
        .map(|line| {
            let mut words = line.split_whitespace();
            let (process, call) = (words.next().unwrap(), words.next().unwrap());
            (process.to_owned(), call.to_owned())
        })
        .collect()
}

/// The calls of each process, by pid.
fn traced(trace: &str) -> HashMap<u32, Vec<String>> {
    let mut calls: HashMap<u32, Vec<String>> = HashMap::new();
    for line in trace.lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        // The end of a call that another process's line interrupted, a signal, an end.
        if rest.starts_with(['<', '-', '+']) {
            continue;
        }
        let name = rest.split_once('(').unwrap().0;
        calls
            .entry(pid.parse().unwrap())
            .or_default()
            .push(name.to_owned());
    }
    calls
}

#[test]
fn the_calls_of_a_plain_box_are_those_of_the_readme_in_that_order() {
    needs_root!();
    if Command::new("strace").arg("-V").output().is_err() {
        skip!("needs strace");
    }
    // A group of its own: no other test's box is beside this one, for the guard to look at.
    let group = TestGroup::new("order");
    let trace = scratch(0).join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", trace.to_str().unwrap()])
        .arg(program());
    command.args(["-nic", "--", "/bin/true"]).current_dir("/");
    group.contain(&mut command);
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let trace = std::fs::read_to_string(trace).unwrap();
    let mut calls = traced(&trace);
    let stub: u32 = trace.split(' ').next().unwrap().parse().unwrap();
    let names: HashMap<u32, &str> = calls
        .iter()
        .map(|(pid, calls)| {
            let name = match () {
                () if *pid == stub => "stub",
                () if calls.iter().any(|call| call == "execve") => "command",
                () => "guard",
            };
            (*pid, name)
        })
        .collect();
    assert_eq!(calls.len(), 3, "{names:?}");
    for (pid, name) in names {
        let mut made = calls.remove(&pid).unwrap();
        if name == "command" {
            // After that it is the command's own.
            let end = made.iter().position(|call| call == "execve").unwrap();
            made.truncate(end + 1);
        }
        if name == "stub" {
            // Its own start is the caller's call.
            assert_eq!(made.remove(0), "execve");
        }
        // Where cgroup v2 is mounted beside v1, one directory is tried in vain.
        if name == "stub" && cgroup_mount().ends_with("unified") {
            let first = made.iter().position(|call| call == "fstatfs").unwrap();
            made.remove(first - 1);
        }
        made.retain(|call| !LEFT_OUT.contains(&call.as_str()));
        // One call for each gap between those that are kept, wherever the caller's own lie; and as
        // many as it takes until the address is there.
        made.dedup_by(|next, before| {
            next == before && ["close_range", "bind"].contains(&next.as_str())
        });
        let listed: Vec<String> = documented()
            .into_iter()
            .filter(|(process, _)| process == name)
            .map(|(_, call)| call)
            .collect();
        assert_eq!(made, listed, "{name}");
    }
}
