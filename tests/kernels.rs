//! What holds on every kernel, however control groups are mounted: v2, v1, both, or none at all.
//!
//! `make kernels` runs this in other kernels, by one caller at a time (PHASEBOX_CALLER=root, user or
//! set-id). The tests look at cgroup v2 through a mount that nobody else sees, so that the program
//! meets what the machine has.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use boxes::*;
use common::installed::Install;
use common::*;

/// Who calls the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Root,
    User,
    SetId,
}

impl By {
    /// All, or the one that is asked for.
    fn all() -> Vec<By> {
        match std::env::var("PHASEBOX_CALLER").as_deref() {
            Ok("root") => vec![By::Root],
            Ok("user") => vec![By::User],
            Ok("set-id") => vec![By::SetId],
            Ok(other) => panic!("PHASEBOX_CALLER={other}"),
            Err(_) => vec![By::Root, By::User, By::SetId],
        }
    }

    /// Those whose box has a control group; to the user here nothing is delegated.
    fn with_group() -> Vec<By> {
        By::all().into_iter().filter(|by| by.has_group()).collect()
    }

    fn has_group(self) -> bool {
        self != By::User
    }

    /// The program with these words.
    fn call(self, words: &[&str]) -> Command {
        self.call_in(None, words)
    }

    /// A shell script with a control group, or what stands in for it.
    fn script(self, label: &str, script: &str) -> Command {
        self.call(&[&format!("--cgroup={label}"), "sh", "-c", script])
    }

    /// The program with these words, started in a group with a limit.
    fn call_in(self, limited: Option<&Limited>, words: &[&str]) -> Command {
        let mut command = Command::new(match self {
            By::Root | By::User => plain_program(),
            By::SetId => Install::SetUserId.program(),
        });
        command.args(words).stdin(Stdio::null()).current_dir("/");
        if let Some(limited) = limited {
            start_in(&mut command, &limited.path);
        }
        if self != By::Root {
            become_user(&mut command);
        }
        command
    }
}

/// The root of the v2 hierarchy, of a mount of this process's own: fsopen(2), fsmount(2).
fn hierarchy() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let checked = |result: libc::c_long| {
            assert!(result >= 0, "{}", std::io::Error::last_os_error());
            result
        };
        const CLOEXEC: u32 = 1;
        const CREATE: u32 = 6;
        // SAFETY: a NUL-ended string, numbers and null pointers.
        let root = unsafe {
            let context = checked(libc::syscall(
                libc::SYS_fsopen,
                c"cgroup2".as_ptr(),
                CLOEXEC,
            ));
            let null = std::ptr::null::<u8>();
            checked(libc::syscall(
                libc::SYS_fsconfig,
                context,
                CREATE,
                null,
                null,
                0,
            ));
            let root = checked(libc::syscall(libc::SYS_fsmount, context, CLOEXEC, 0));
            libc::close(context as i32);
            root
        };
        PathBuf::from(format!("/proc/{}/fd/{root}", std::process::id()))
    })
}

/// The directories of the box called `label`, wherever in the hierarchy they are.
fn groups_of(label: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![hierarchy().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("phasebox:{label}.")) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
        }
    }
    found
}

/// The directory of the only one.
fn group_of_box(label: &str) -> PathBuf {
    let mut found = groups_of(label);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn assert_nothing_left(by: By, label: &str, token: &str) {
    assert_eq!(alive(token), [], "{by:?}");
    assert_eq!(groups_of(label), [] as [PathBuf; 0], "{by:?}");
}

/// Two daemons: in sessions of their own, without a parent, deaf to what asks them to end.
fn daemons(token: &str) -> String {
    let daemon = format!(
        "(setsid sh -c 'trap \"\" HUP INT TERM; sleep 100000; :' {token} </dev/null >/dev/null 2>&1 &)"
    );
    format!("{daemon}; {daemon}; echo ready; read x; exit 5")
}

/// A box with its daemons at work.
fn with_daemons(by: By, label: &str, token: &str) -> Live {
    let live = Live::ready(by.script(label, &daemons(token)));
    eventually("the daemons are at work", || alive(token).len() == 2);
    assert_eq!(
        groups_of(label).len(),
        usize::from(by.has_group()),
        "{by:?}"
    );
    live
}

#[test]
fn daemons_are_killed_and_the_group_goes() {
    needs_root!();
    for by in By::all() {
        let (label, token) = (label(), token("daemons"));
        let mut live = with_daemons(by, &label, &token);
        let (status, _, said) = live.end();
        assert_nothing_left(by, &label, &token);
        assert_eq!(status.code(), Some(5), "{by:?}: {said}");
        assert!(said.contains("killed"), "{by:?}: {said}");
    }
}

#[test]
fn daemons_are_killed_when_the_stub_is() {
    needs_root!();
    for by in By::all() {
        let (label, token) = (label(), token("orphans"));
        let mut live = with_daemons(by, &label, &token);
        let killed = std::time::Instant::now();
        kill(live.stub(), libc::SIGKILL);
        live.status();
        eventually("nothing is left", || {
            alive(&token).is_empty() && groups_of(&label).is_empty()
        });
        assert!(killed.elapsed() < ONE_SECOND, "{by:?}");
    }
}

#[test]
fn nothing_is_mounted_where_others_see_it() {
    needs_root!();
    let mounts = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let before = [mounts("self"), mounts("1")];
    for by in By::all() {
        // Not to be seen in the program itself either.
        let mut live = Live::ready(by.script(&label(), "echo ready; read x; cat /proc/mounts"));
        assert_eq!([mounts("self"), mounts("1")], before, "{by:?}");
        assert_eq!(mounts(&live.stub().to_string()), before[0], "{by:?}");
        live.say("go on");
        let (status, seen, said) = live.end();
        assert!(status.success(), "{by:?}: {said}");
        // A PID namespace has a /proc of its own.
        let expected = before[0].lines().count() + usize::from(!by.has_group());
        assert_eq!(seen.lines().count(), expected, "{by:?}: {seen}");
        assert_eq!([mounts("self"), mounts("1")], before, "{by:?}");
    }
}

/// What a process's line of the v2 hierarchy says, and its other lines.
fn split_groups(text: &str) -> (String, Vec<&str>) {
    let (v2, v1): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("0::"));
    (v2.concat(), v1)
}

#[test]
fn the_callers_groups_of_v1_stay_the_commands() {
    needs_root!();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let (_, own) = split_groups(&own);
    for by in By::all() {
        let label = label();
        let output = run(by.script(&label, "cat /proc/self/cgroup"));
        assert!(output.status.success(), "{by:?}: {}", text(&output.stderr));
        let seen = text(&output.stdout);
        let (v2, v1) = split_groups(&seen);
        assert_eq!(v1, own, "{by:?}");
        assert_eq!(v2.contains(&label), by.has_group(), "{by:?}: {v2}");
    }
}

/// A group with a limit on processes: of v1 where that has the controller, else of v2.
struct Limited {
    path: PathBuf,
    is_v1: bool,
}

impl Limited {
    fn new(limit: u32) -> Limited {
        let v1 = Path::new("/sys/fs/cgroup/pids");
        let is_v1 = v1.join("tasks").exists();
        let top = if is_v1 { v1 } else { hierarchy() };
        if !is_v1 {
            // Where this process's own group has processes and is not the root this is refused.
            let _ = fs::write(top.join("cgroup.subtree_control"), "+pids");
        }
        let path = top.join(token("limited"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pids.max"), limit.to_string()).unwrap();
        Limited { path, is_v1 }
    }

    fn processes(&self) -> u32 {
        let text = fs::read_to_string(self.path.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // What is dead still counts until its new parent has reaped it.
        eventually("the group is empty", || fs::remove_dir(&self.path).is_ok());
    }
}

/// COMMAND's program for a limit: starts more than it allows.
const TOO_MANY: &str =
    "for i in $(seq 60); do sleep 100000 & done 2>/dev/null; echo 'not limited'; exit 9";

#[test]
fn the_callers_limit_on_processes_binds_the_command() {
    needs_root!();
    for by in By::all() {
        let limited = Limited::new(30);
        let label = label();
        let script = format!("({TOO_MANY}); echo ready; read x; exit 4");
        let option = format!("--cgroup={label}");
        let command = by.call_in(Some(&limited), &[&option, "sh", "-c", &script]);
        let mut live = Live::ready(command);
        let processes = limited.processes();
        assert!((20..=30).contains(&processes), "{by:?}: {processes}");
        if by.has_group() && !limited.is_v1 {
            // Below the group that has the limit.
            let group = group_of_box(&label);
            assert_eq!(group.parent().unwrap(), limited.path, "{by:?}");
        }
        let (status, _, said) = live.end();
        assert_eq!(status.code(), Some(4), "{by:?}: {said}");
        assert_eq!(groups_of(&label), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_fork_bomb_is_killed() {
    needs_root!();
    for by in By::all() {
        let limited = Limited::new(200);
        let (label, token) = (label(), token("bomb"));
        // Each starts two more like itself, over and over, and waits for none.
        let bomb = r#"while :; do sh -c "$1" "$0" "$1" & sh -c "$1" "$0" "$1" & sleep 0.01; done"#;
        let script =
            format!("exec 2>/dev/null; (setsid sh -c '{bomb}' {token} '{bomb}' &); read x; exit 6");
        let option = format!("--cgroup={label}");
        let command = by.call_in(Some(&limited), &[&option, "sh", "-c", &script]);
        let mut live = Live::start(command);
        eventually("the bomb goes off", || limited.processes() > 100);
        let (status, _, said) = live.end();
        assert_nothing_left(by, &label, &token);
        assert_eq!(status.code(), Some(6), "{by:?}: {said}");
    }
}

/// With something alive in each, and some of them frozen.
#[test]
fn groups_nested_30_deep_are_emptied_and_removed() {
    needs_root!();
    for by in By::with_group() {
        for frozen in [&[][..], &[1, 15, 30]] {
            let (label, token) = (label(), token("nested"));
            let script = format!(
                "for i in $(seq 30); do {} >/dev/null & echo $!; done; echo ready; read x; exit 7",
                sleeper(&token)
            );
            let mut live = Live::start(by.script(&label, &script));
            let mut group = None;
            for depth in 1..=30 {
                let pid = live.line();
                let path = group.unwrap_or_else(|| group_of_box(&label)).join("d");
                fs::create_dir(&path).unwrap();
                fs::write(path.join("cgroup.procs"), pid).unwrap();
                if frozen.contains(&depth) {
                    fs::write(path.join("cgroup.freeze"), "1").unwrap();
                }
                group = Some(path);
            }
            assert_eq!(live.line(), "ready");
            let (status, _, said) = live.end();
            assert_nothing_left(by, &label, &token);
            assert_eq!(status.code(), Some(7), "{by:?} {frozen:?}: {said}");
        }
    }
}

#[test]
fn a_box_that_is_stopped_is_frozen_and_goes_on() {
    needs_root!();
    for by in By::all() {
        let (label, token) = (label(), token("stopped"));
        let script = format!(
            "({} </dev/null >/dev/null 2>&1 &); echo ready; kill -STOP $$; echo on; exit 8",
            sleeper(&token)
        );
        let mut live = Live::ready(by.script(&label, &script));
        eventually("it is stopped", || state(live.stub()) == Some('T'));
        if by.has_group() {
            let events = fs::read_to_string(group_of_box(&label).join("cgroup.events")).unwrap();
            assert!(events.contains("frozen 1"), "{by:?}: {events}");
        }
        kill(live.stub(), libc::SIGCONT);
        assert_eq!(live.line(), "on");
        let (status, _, said) = live.end();
        assert_nothing_left(by, &label, &token);
        assert_eq!(status.code(), Some(8), "{by:?}: {said}");
    }
}

/// All at once, so that none stands in another's way.
#[test]
fn the_network_is_loopback_alone() {
    needs_root!();
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    // Nothing listens there, but it is there.
    let try_one = |address| {
        format!(
            "(exec 3<>/dev/tcp/{address}/9) 2>&1 | grep -m1 -o 'Connection refused\\|Network is unreachable'; "
        )
    };
    let mut script = "hostname; grep -c : /proc/net/dev; ".to_owned();
    for address in ["127.0.0.1", "10.0.0.1", "10.0.0.2", "192.0.2.1"] {
        script.push_str(&try_one(address));
    }
    let mut expected = vec![
        "localhost",
        "1",
        "Connection refused",
        "Connection refused",
        "Network is unreachable",
        "Network is unreachable",
    ];
    if has_ipv6 {
        for address in ["::1", "fd::1", "2001:db8::1"] {
            script.push_str(&try_one(address));
        }
        expected.extend([
            "Connection refused",
            "Connection refused",
            "Network is unreachable",
        ]);
    } else {
        script.push_str("ls /proc/net/if_inet6 2>/dev/null; ");
    }
    script.push_str("exit 3");
    for by in By::all() {
        for options in ["-n", "-nic", "-nicpm"] {
            let output = run(by.call(&[options, "bash", "-c", &script]));
            let seen = text(&output.stdout);
            assert_eq!(
                seen.lines().collect::<Vec<_>>(),
                expected,
                "{by:?} {options} {}",
                text(&output.stderr)
            );
            assert_eq!(text(&output.stderr), "", "{by:?} {options}");
            assert_eq!(output.status.code(), Some(3), "{by:?} {options}");
        }
    }
}

#[test]
fn every_option_gives_what_it_says() {
    needs_root!();
    let ask = "for kind in net uts ipc pid mnt user; do readlink /proc/self/ns/$kind; done";
    let own: Vec<String> = ["net", "uts", "ipc", "pid", "mnt", "user"]
        .map(|kind| {
            let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            link.to_str().unwrap().to_owned()
        })
        .to_vec();
    for by in By::all() {
        for (options, changed) in [
            ("-n", "net uts"),
            ("-i", "ipc"),
            ("-m", "mnt"),
            ("-p", "pid mnt"),
            ("-nim", "net uts ipc mnt"),
            ("-nicpm", "net uts ipc pid mnt"),
        ] {
            let output = run(by.call(&[options, "sh", "-c", ask]));
            let seen = text(&output.stdout);
            let kinds: Vec<&str> = seen
                .lines()
                .zip(&own)
                .filter(|(seen, own)| seen != own)
                .map(|(seen, _)| seen.split(':').next().unwrap())
                .filter(|kind| *kind != "user" || by != By::User)
                .collect();
            assert_eq!(
                kinds.join(" "),
                changed,
                "{by:?} {options}: {seen}{}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn the_exit_status_is_the_commands() {
    needs_root!();
    for by in By::all() {
        for options in ["-ni", "-c", "-nicpm"] {
            let status = |words: &[&str]| run(by.call(&[&[options, "--"], words].concat())).status;
            for code in [0, 1, 125, 255] {
                let script = format!("exit {code}");
                assert_eq!(status(&["sh", "-c", &script]).code(), Some(code));
            }
            for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV] {
                let script = format!("kill -{signal} $$");
                let ending = status(&["sh", "-c", &script]);
                assert_eq!(signal_of(ending), Some(signal), "{by:?} {options}");
            }
            assert_eq!(status(&["/nothing/here"]).code(), Some(127));
            assert_eq!(status(&["/etc/passwd"]).code(), Some(126));
        }
    }
}

#[test]
fn the_command_has_the_callers_ids_and_no_way_back() {
    needs_root!();
    let script = "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapAmb|NoNewPrivs):' /proc/self/status";
    let ids = |uid: u32| format!("{uid} {uid} {uid} {uid}");
    for by in By::all() {
        for options in ["-ni", "-c", "-nicpm"] {
            let output = run(by.call(&[options, "sh", "-c", script]));
            let seen = text(&output.stdout);
            let value = |name: &str| {
                let line = seen.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("{by:?} {options}: {seen}{}", text(&output.stderr)))
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let uid = if by == By::Root { 0 } else { USER };
            assert_eq!(value("Uid:"), ids(uid), "{by:?} {options}");
            assert_eq!(value("Gid:"), ids(uid), "{by:?} {options}");
            if by != By::Root {
                let none = "0000000000000000";
                assert_eq!(value("Groups:"), "", "{by:?} {options}");
                assert_eq!(value("CapEff:"), none, "{by:?} {options}");
                assert_eq!(value("CapPrm:"), none, "{by:?} {options}");
                assert_eq!(value("CapAmb:"), none, "{by:?} {options}");
                assert_eq!(value("NoNewPrivs:"), "1", "{by:?} {options}");
            }
        }
    }
}
