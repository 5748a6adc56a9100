//! The contract's `-p` and `-m`, which kinds of namespace each option makes, boxes in boxes, and
//! the user namespace of a caller without privileges.
#![allow(missing_docs, unsafe_code)]

mod common;
#[path = "common/isolation.rs"]
mod isolation;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::*;
use isolation::*;

const CALLERS: [Caller; 2] = [Caller::Root, Caller::User];

/// The helper that asks and tries.
fn probe() -> &'static str {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    let source = include_str!("helpers/namespaces.c");
    word(PROBE.get_or_init(|| compile_with("namespaces", source, &["-pthread"])))
}

/// What a shell in a box wrote.
fn shell(caller: Caller, options: &[&str], script: &str) -> String {
    ask(phasebox_as(
        caller,
        &[options, &["sh", "-c", script]].concat(),
    ))
}

/// Asserts that the namespaces of such a box that are not the host's are these.
fn assert_changed(caller: Caller, options: &[&str], expected: &[&str]) {
    let told = shell(caller, options, TELL_NAMESPACES);
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    expected.dedup();
    let mut found = changed(&told);
    found.sort_unstable();
    assert_eq!(found, expected, "{caller:?} {options:?}");
}

#[test]
fn each_option_makes_its_namespaces_and_no_other() {
    needs_root!();
    let before = namespaces_of("self");
    let made: [(&str, &[&str]); 4] = [
        ("-n", &["net", "uts"]),
        ("-i", &["ipc"]),
        ("-p", &["pid", "mnt"]),
        ("-m", &["mnt"]),
    ];
    for caller in CALLERS {
        for chosen in 1..16 {
            let chosen: Vec<_> = (0..4)
                .filter(|bit| chosen & (1 << bit) != 0)
                .map(|bit| made[bit])
                .collect();
            let options: Vec<&str> = chosen.iter().map(|(option, _)| *option).collect();
            let mut expected: Vec<&str> = chosen
                .iter()
                .flat_map(|(_, kinds)| *kinds)
                .copied()
                .collect();
            if caller == Caller::User && !lent() {
                expected.push("user");
            }
            assert_changed(caller, &options, &expected);
        }
    }
    assert_eq!(namespaces_of("self"), before, "the host's");
}

#[test]
fn a_group_that_can_be_made_makes_no_namespace_and_one_stands_in_where_none_can() {
    needs_root!();
    assert_changed(Caller::Root, &["-c"], &[]);
    assert_changed(Caller::Root, &["-nic"], &["net", "uts", "ipc"]);
    if lent() {
        assert_changed(Caller::User, &["-c"], &[]);
        assert_changed(Caller::User, &["-nic"], &["net", "uts", "ipc"]);
    } else {
        assert_changed(Caller::User, &["-c"], &["user", "pid", "mnt"]);
    }
}

#[test]
fn root_keeps_the_hosts_user_namespace_for_another_user() {
    needs_root!();
    let options = ["-nipm", "--user", "64101", "--group", "64101"];
    assert_changed(Caller::Root, &options, &["net", "uts", "ipc", "pid", "mnt"]);
}

#[test]
fn the_command_is_pid_2_below_an_init() {
    needs_root!();
    for caller in CALLERS {
        let told = shell(caller, &["-p"], "echo $$ $PPID; cat /proc/1/comm");
        assert_eq!(told, "2 1\nphasebox-init\n", "{caller:?}");
    }
}

#[test]
fn orphans_are_reaped_by_the_init() {
    needs_root!();
    for caller in CALLERS {
        let told = ask(phasebox_as(caller, &["-p", probe(), "orphan"]));
        assert_eq!(told, "adopted by 1, then ESRCH\n", "{caller:?}");
    }
}

#[test]
fn threads_work_below_an_init() {
    needs_root!();
    for caller in CALLERS {
        let told = ask(phasebox_as(caller, &["-nicpm", probe(), "thread"]));
        assert_eq!(told, "same process\n", "{caller:?}");
    }
}

#[test]
fn proc_shows_the_box_and_nothing_else() {
    needs_root!();
    for caller in CALLERS {
        // By the shell alone: a process that lists would be listed.
        let script = "cd /proc; for pid in [0-9]*; do echo $pid; done";
        let told = shell(caller, &["-p"], script);
        assert_eq!(sorted(&told), ["1", "2"], "{caller:?}");
    }
}

#[test]
fn the_hosts_processes_cannot_be_signalled() {
    needs_root!();
    let outside = std::process::id();
    for caller in CALLERS {
        let script = format!("kill -0 {outside} && echo reached; kill -0 $$ && echo own");
        let output = run(phasebox_as(caller, &["-p", "sh", "-c", &script]));
        assert_eq!(text(&output.stdout), "own\n", "{caller:?}");
    }
}

/// The init of a box.
fn init_of(stub: u32) -> u32 {
    let found = children(stub)
        .into_iter()
        .find(|child| name(*child) == "phasebox-init");
    found.expect("a box with an init has said that it is ready")
}

#[test]
fn the_command_cannot_hurt_its_init() {
    needs_root!();
    for way in [WAYS[1], WAYS[3], WAYS[5]] {
        let mut held = Held::start(way.command(&[probe(), "attack-init"]));
        // Root could trace it, and would hurt nobody but its own box.
        if !way.is_root() {
            assert_eq!(held.line, "ptrace EPERM", "{way:?}");
            assert_eq!(held.next(""), "still here", "{way:?}");
        }
        assert_ne!(state(init_of(held.pid())), Some('Z'), "{way:?}");
        assert!(held.release().success(), "{way:?}");
    }
}

#[test]
fn the_hosts_mounts_do_not_change() {
    needs_root!();
    for caller in CALLERS {
        let proc_mounts = || mounts_of("self").iter().filter(|at| *at == "/proc").count();
        let before = proc_mounts();
        let script = "echo $$; read line";
        let held = Held::start(phasebox_as(caller, &["-pm", "sh", "-c", script]));
        assert_eq!(held.line, "2");
        assert_eq!(proc_mounts(), before, "{caller:?}");
        let init = init_of(held.pid()).to_string();
        let inside = mounts_of(&init).iter().filter(|at| *at == "/proc").count();
        assert_eq!(inside, before + 1, "{caller:?}");
    }
}

#[test]
fn what_is_left_dies_with_the_command_although_it_left_the_session() {
    needs_root!();
    for caller in CALLERS {
        let token = token("daemon");
        // The pipe shows that it is there before the command ends.
        let script = format!(
            "setsid sh -c 'trap \"\" TERM HUP INT; echo ready; exec <&- >&- 2>&-; while :; do sleep \
             1000; done' {token} & read line; exit 7"
        );
        let mut held = Held::start(phasebox_as(caller, &["-p", "--quiet", "sh", "-c", &script]));
        assert_eq!(held.line, "ready");
        assert!(!alive(&token).is_empty(), "{caller:?}");
        assert_eq!(held.release().code(), Some(7), "{caller:?}");
        assert_eq!(alive(&token), [0; 0], "{caller:?}");
    }
}

#[test]
fn a_killed_init_takes_the_box_with_it_and_the_stub_tells() {
    needs_root!();
    for caller in CALLERS {
        let token = token("init");
        let script = format!("{} & echo ready; wait", sleeper(&token));
        let mut held = Held::start(phasebox_as(caller, &["-p", "--quiet", "sh", "-c", &script]));
        eventually("the command's own child runs", || !alive(&token).is_empty());
        kill(init_of(held.pid()), libc::SIGKILL);
        assert_eq!(signal_of(held.wait()), Some(libc::SIGKILL), "{caller:?}");
        assert_eq!(alive(&token), [0; 0], "{caller:?}");
    }
}

/// A mount namespace whose mounts are all shared, as on most systems, and which is not the host's.
struct SharedMounts(Held);

impl SharedMounts {
    fn new() -> SharedMounts {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg("mount --make-rshared / && echo ready; read line")
            .current_dir("/");
        SharedMounts(Held::start(command))
    }

    /// A command inside.
    fn enter(&self, caller: Caller, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.0.pid().to_string(), "-m"])
            .stdin(Stdio::null())
            .current_dir("/");
        if caller == Caller::User {
            command.args("setpriv --reuid 64101 --regid 64101 --clear-groups".split(' '));
        }
        command.args(words);
        command
    }

    fn has(&self, directory: &Path) -> bool {
        has_mount(&self.0.pid().to_string(), directory)
    }

    fn mount(&self, directory: &Path) {
        let words = ["mount", "-t", "tmpfs", "none", word(directory)];
        ask(self.enter(Caller::Root, &words));
    }
}

fn has_mount(process: &str, directory: &Path) -> bool {
    mounts_of(process).iter().any(|at| at == word(directory))
}

#[test]
fn a_mount_made_in_the_box_stays_inside() {
    needs_root!();
    for options in ["-m", "-p", "-nicpm"] {
        let outside = SharedMounts::new();
        let directory = scratch(0);
        let script = format!(
            "mount -t tmpfs none {0} && : > {0}/inside && echo ready; read line; :",
            word(&directory)
        );
        let words = [word(program()), options, "sh", "-c", &script];
        let mut held = Held::start(outside.enter(Caller::Root, &words));
        assert!(!outside.has(&directory), "{options}");
        assert!(!directory.join("inside").exists(), "{options}");
        assert!(held.release().success());
    }
}

#[test]
fn a_mount_made_outside_arrives_in_the_box() {
    needs_root!();
    for caller in CALLERS {
        for options in ["-m", "-p", "-nicpm"] {
            let outside = SharedMounts::new();
            let directory = scratch(0);
            let script = "echo ready; read line; cut -d ' ' -f 5 /proc/self/mountinfo | grep -cx \"$1\"; read line";
            let words = [
                word(program()),
                options,
                "sh",
                "-c",
                script,
                "sh",
                word(&directory),
            ];
            let mut held = Held::start(outside.enter(caller, &words));
            outside.mount(&directory);
            assert!(outside.has(&directory));
            assert_eq!(held.next(""), "1", "{caller:?} {options}");
            assert!(!has_mount("self", &directory), "the host's");
        }
    }
}

#[test]
fn a_box_works_inside_a_box() {
    needs_root!();
    let inner = [word(program()), "-nicpm", "sh", "-c"];
    let script = format!("echo $$; {TELL_NAMESPACES}");
    for way in ways() {
        let told = way.ask(&[&inner[..], &[&script]].concat());
        let (pid, namespaces) = told.split_once('\n').unwrap();
        assert_eq!(pid, "2", "{way:?}");
        let kinds = changed(namespaces);
        for kind in ["net", "uts", "ipc", "mnt", "pid"] {
            assert!(kinds.contains(&kind), "{way:?} {kinds:?}");
        }
    }
}

#[test]
fn boxes_nest_three_deep() {
    needs_root!();
    let program = word(program());
    for caller in CALLERS {
        let words = [
            "-nicpm", program, "-nicpm", program, "-nicpm", "sh", "-c", "exit 42",
        ];
        let output = run(phasebox_as(caller, &words));
        assert_eq!(output.status.code(), Some(42), "{caller:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{caller:?}");
    }
}

/// The ways of an ordinary user: in place, below an init, and with a group or what stands in for it.
const USERS: [Way; 3] = [WAYS[4], WAYS[5], WAYS[6]];

#[test]
fn a_users_ids_are_mapped_to_themselves_and_nothing_else_is() {
    needs_root!();
    // Where rights are lent, there is no user namespace and all ids are the host's.
    plain_install_only!();
    for way in USERS {
        for map in ["uid_map", "gid_map"] {
            let told = way.ask(&["cat", &format!("/proc/self/{map}")]);
            let numbers: Vec<&str> = told.split_whitespace().collect();
            assert_eq!(numbers, ["64101", "64101", "1"], "{way:?} {map}");
        }
        let told = way.ask(&["cat", "/proc/self/setgroups"]);
        assert_eq!(told, "deny\n", "{way:?}");
    }
}

#[test]
fn where_rights_are_lent_a_users_ids_are_those_of_the_callers_user_namespace() {
    needs_root!();
    lent_only!();
    for way in USERS {
        for file in ["uid_map", "gid_map", "setgroups"] {
            let path = format!("/proc/self/{file}");
            let outside = fs::read_to_string(&path).unwrap();
            assert_eq!(way.ask(&["cat", &path]), outside, "{way:?} {file}");
        }
    }
}

#[test]
fn a_file_made_in_the_box_belongs_to_the_user() {
    needs_root!();
    for way in ways().into_iter().filter(|way| !way.is_root()) {
        let made = scratch(USER).join("made");
        way.ask(&["sh", "-c", ": > \"$1\"", "sh", word(&made)]);
        let made = fs::metadata(&made).unwrap();
        assert_eq!((made.uid(), made.gid()), (USER, USER), "{way:?}");
    }
}

const ORDINARY_IDS: &str = "64101 64101 64101\n64101 64101 64101\ngroups:\n";

#[test]
fn the_command_of_an_ordinary_user_has_its_ids_and_no_capability() {
    needs_root!();
    for way in ways().into_iter().filter(|way| !way.is_root()) {
        assert_eq!(way.ask(&[probe(), "ids"]), ORDINARY_IDS, "{way:?}");
        let told = way.ask(&["cat", "/proc/self/status"]);
        let value = |field: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap().trim().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(value(set), "0000000000000000", "{way:?} {set}");
        }
        if way.caller == Caller::User {
            assert_eq!(value("NoNewPrivs:"), "1", "{way:?}");
        }
    }
}

#[test]
fn privileges_cannot_be_had_back() {
    needs_root!();
    let expected = "setresuid EPERM\nsetresgid EPERM\nsetgroups EPERM\ncapset EPERM\n\
                    unshare EPERM\nchroot EPERM\n";
    // In a user namespace root's id does not even exist.
    let unmapped = expected.replacen("EPERM", "EINVAL", 2);
    for way in ways().into_iter().filter(|way| !way.is_root()) {
        let expected = match way.caller {
            Caller::User if !lent() => &unmapped,
            _ => expected,
        };
        assert_eq!(way.ask(&[probe(), "regain"]), expected, "{way:?}");
    }
}

#[test]
fn a_set_user_id_program_gives_a_user_nothing_in_the_box() {
    needs_root!();
    let set_id = file("set-id", &fs::read(probe()).unwrap(), 0o6755);
    let mut plain = Command::new(&set_id);
    plain.arg("ids");
    become_user(&mut plain);
    let outside = ask(plain);
    if !outside.starts_with("64101 0 0\n") {
        skip!("set-user-id programs have no effect here");
    }
    for way in USERS {
        assert_eq!(way.ask(&[word(&set_id), "ids"]), ORDINARY_IDS, "{way:?}");
    }
}

#[test]
fn the_groups_of_a_user_stay_its_groups() {
    needs_root!();
    for options in ["-ni", "-nic", "-nicpm"] {
        let ids = phasebox(&[options, probe(), "ids"]);
        let told = ask(as_user(&ids, &["64101", "64103"]));
        // What is not mapped is shown as the overflow group, and still counts (no setgroups).
        let unmapped = if lent() { "64103" } else { "65534" };
        let groups = told.lines().last().unwrap();
        assert_eq!(groups, format!("groups: 64101 {unmapped}"), "{options}");
    }
}

#[test]
fn a_file_that_a_group_may_not_read_stays_unreadable() {
    needs_root!();
    let secret = file("secret", b"secret\n", 0o604);
    std::os::unix::fs::chown(&secret, Some(0), Some(64103)).unwrap();
    for options in ["-ni", "-nic", "-nicpm"] {
        let cat = phasebox(&[options, "cat", word(&secret)]);
        let output = run(as_user(&cat, &["64103"]));
        assert_eq!(output.status.code(), Some(1), "{options}");
        assert_eq!(text(&output.stdout), "", "{options}");
        assert!(text(&output.stderr).contains("Permission denied"));
    }
}

#[test]
fn root_of_a_user_namespace_is_served_as_root_of_it() {
    needs_root!();
    for caller in CALLERS {
        let mut command = Command::new("unshare");
        command
            .args(["-U", "-r"])
            .arg(program())
            .args(["-nipm", "sh", "-c", "id -u; cat /proc/self/uid_map"])
            .stdin(Stdio::null())
            .current_dir("/");
        let outside = match caller {
            Caller::Root => "0",
            Caller::User => {
                become_user(&mut command);
                "64101"
            }
        };
        let told = ask(command);
        let words: Vec<&str> = told.split_whitespace().collect();
        // No further user namespace: the map is the one that was there.
        assert_eq!(words, ["0", "0", outside, "1"], "{caller:?}");
    }
}

#[test]
fn root_of_a_user_namespace_cannot_become_whom_it_does_not_map() {
    needs_root!();
    let mut command = Command::new("unshare");
    command
        .args(["-U", "-r"])
        .arg(program())
        .args(["-n", "--user", "64102", "--group", "64102", "echo", "ran"])
        .current_dir("/");
    become_user(&mut command);
    assert_refused(&run(command), "unable to set ");
}

#[test]
fn root_without_cap_sys_admin_takes_a_user_namespace() {
    needs_root!();
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
        .arg(program())
        .args(["-nip", "sh", "-c", TELL_NAMESPACES])
        .stdin(Stdio::null())
        .current_dir("/");
    let told = ask(command);
    assert_eq!(changed(&told), ["net", "uts", "ipc", "mnt", "pid", "user"]);
}
