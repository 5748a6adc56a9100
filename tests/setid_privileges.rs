//! What the installed program does with what it is lent: who may have what of it done, what COMMAND
//! gets of it (nothing), and what everyone else can get out of its processes (nothing).
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use boxes::Live;
use common::installed::*;
use common::*;
use hostile::*;

/// Everything in force of the kernel's sets of capabilities, and what is kept for later.
const SETS: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];

const NO_CAPABILITY: &str = "0000000000000000";

/// For setpriv(1): all that the program would be lent.
const INHERITABLE: &str =
    "--inh-caps=+dac_override,+setgid,+setuid,+net_admin,+sys_chroot,+sys_admin";
const AMBIENT: &str =
    "--ambient-caps=+dac_override,+setgid,+setuid,+net_admin,+sys_chroot,+sys_admin";

/// Runs `body` for both installs at the same time.
fn for_each_install(body: impl Fn(Install) + Sync) {
    std::thread::scope(|scope| {
        let threads = INSTALLS.map(|install| {
            let body = &body;
            scope.spawn(move || body(install))
        });
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Asserts that a text like /proc/PID/status is that of a process without any privilege.
fn assert_unprivileged(status: &str, uid: u32) {
    assert_eq!(field_of(status, "Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(
        field_of(status, "Gid"),
        format!("{USER} {USER} {USER} {USER}")
    );
    for set in SETS {
        assert_eq!(field_of(status, set), NO_CAPABILITY, "{set}");
    }
    assert_eq!(field_of(status, "NoNewPrivs"), "1");
}

/// A file that COMMAND can make.
fn log() -> PathBuf {
    scratch(USER).join("log")
}

/// What the log says, none where COMMAND did not run.
fn told(log: &Path) -> Option<String> {
    fs::read_to_string(log).ok()
}

fn assert_not_run(log: &Path) {
    assert_eq!(told(log), None);
}

/// Whether a text that ends as /proc/PID/cgroup does tells of a box's group.
fn is_in_group(text: &str) -> bool {
    text.contains("/phasebox:hostile")
}

// ---- Giving up.

/// One injection: what strace has happen, and what became of it.
struct Injected {
    output: Output,
    trace: String,
    log: PathBuf,
}

impl Injected {
    fn run(install: Install, injection: &str, options: &[&str]) -> Injected {
        let ground = Ground::new(USER);
        let log = log();
        let trace = scratch(0).join("trace");
        let call = injection.split(':').next().unwrap();
        // Only the guard sets groups.
        let traced = format!("trace={call},execve,setgroups");
        let inject = format!("inject={injection}");
        let strace = ["-o", word(&trace), "-e", &traced, "-e", &inject];
        let words = [hostile(), "tell", word(&log)];
        let output = run(ground.traced(install, &strace, options, &words));
        ground.until_gone();
        Injected {
            output,
            trace: fs::read_to_string(trace).unwrap(),
            log,
        }
    }

    /// The guard's pid, as it begins its lines.
    fn guard(&self) -> String {
        let line = self.trace.lines().find(|line| line.contains("setgroups("));
        let pid = line.and_then(|line| line.split(' ').next());
        format!("{} ", pid.unwrap_or("none"))
    }

    /// The calls that were tampered with, each behind its process; all after the program had been
    /// executed.
    fn tampered(&self, install: Install) -> Vec<String> {
        let start = format!("execve(\"{}\"", word(install.program()));
        let calls = calls(&self.trace);
        let (before, after) = calls.split_at(
            calls
                .iter()
                .position(|(_, call)| call.starts_with(&start))
                .unwrap_or_else(|| panic!("not executed: {}", self.trace)),
        );
        let is_tampered = |(_, call): &&(String, String)| call.contains("(INJECTED)");
        assert!(!before.iter().any(|call| is_tampered(&call)));
        let tampered = after.iter().filter(is_tampered);
        tampered
            .map(|(pid, call)| format!("{pid} {call}"))
            .collect()
    }
}

/// The calls that privileges are given up by, and those that prove it.
const GIVING_UP: [&str; 8] = [
    "setresuid",
    "setresgid",
    "setgroups",
    "capset",
    "prctl",
    "getresuid",
    "getresgid",
    "capget",
];

/// A call whose failure changes nothing: the name in ps(1), and the proof that root's id cannot be
/// had back, which consists in its failure.
fn may_fail(call: &str) -> bool {
    call.contains("PR_SET_NAME") || call.contains("setresuid(0, 0, 0)")
}

/// Has each of the calls answer `answer`, one at a time, until there is none left to tamper with.
fn tamper(install: Install, answer: &str, check: impl Fn(&Injected, &str, &[String])) {
    for options in ["-nic", "-nicp", "-ni", "-nip"] {
        for call in GIVING_UP {
            let mut met = 0;
            for number in 1.. {
                let injection = format!("{call}:{answer}:when={number}");
                let injected = Injected::run(install, &injection, &[options]);
                let tampered = injected.tampered(install);
                if tampered.is_empty() {
                    break;
                }
                met += 1;
                check(&injected, options, &tampered);
            }
            // Of groups there is only the guard's business.
            let is_made = options.contains('c') || !["setgroups", "setresgid"].contains(&call);
            assert_eq!(met > 0, is_made, "{options} {call}");
        }
    }
}

#[test]
fn every_call_that_gives_up_privileges_is_checked() {
    needs_root!();
    for_each_install(|install| {
        tamper(install, "error=EPERM", |injected, options, tampered| {
            let shown = format!("{install:?} {options:?} {tampered:#?}");
            if tampered.iter().all(|call| may_fail(call)) {
                assert!(injected.output.status.success(), "{shown}");
                return;
            }
            let errors = text(&injected.output.stderr);
            assert_eq!(
                injected.output.status.code(),
                Some(125),
                "{shown} {errors} {}",
                injected.trace
            );
            // An init gives up once more what it has given up before.
            if let Some(status) = told(&injected.log) {
                assert!(options.contains('p'), "{shown} {}", injected.trace);
                assert_unprivileged(&status, USER);
                assert_eq!(is_in_group(&status), options.contains('c'), "{shown}");
            }
        });
    });
}

/// A call that says it has done what it has not: what is read back afterwards does not agree, or it
/// is made up for.
#[test]
fn what_is_only_said_to_be_given_up_is_noticed() {
    needs_root!();
    for_each_install(|install| {
        tamper(install, "retval=0", |injected, options, tampered| {
            let shown = format!("{install:?} {options:?} {tampered:#?}");
            match told(&injected.log) {
                Some(status) => {
                    assert_unprivileged(&status, USER);
                    // Where it looks as if nothing were lent, a PID namespace does.
                    let is_boxed =
                        is_in_group(&status) || field_of(&status, "Pid") == "2" || options == "-ni";
                    assert!(is_boxed, "{shown} {status}");
                }
                None => assert_eq!(injected.output.status.code(), Some(125), "{shown}"),
            }
            // A guard that is not what it should be is no guard.
            let guard = injected.guard();
            let proven = ["setresuid(0, 0, 0)", "setresgid(", "capset("];
            for call in tampered.iter().filter(|call| call.starts_with(&guard)) {
                if proven.iter().any(|proven| call.contains(proven)) {
                    assert_eq!(told(&injected.log), None, "{shown}");
                }
            }
        });
    });
}

#[test]
fn root_that_names_a_user_passes_on_none_of_its_groups_and_capabilities() {
    needs_root!();
    let log = log();
    let user = USER.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--groups=0,6,10", "--securebits=+no_setuid_fixup"]);
    command.args([INHERITABLE, AMBIENT, word(program())]);
    command.args(["-nic", "--user", &user, "--group", &user]);
    command.args([hostile(), "tell", word(&log)]);
    assert_eq!(text(&run(command).stderr), "");
    let status = told(&log).unwrap();
    assert_eq!(field_of(&status, "Groups"), "");
    assert_eq!(
        field_of(&status, "Uid"),
        format!("{user} {user} {user} {user}")
    );
    assert_eq!(
        field_of(&status, "Gid"),
        format!("{user} {user} {user} {user}")
    );
    for set in SETS {
        assert_eq!(field_of(&status, set), NO_CAPABILITY, "{set}");
    }
}

#[test]
fn ids_that_are_no_ids_are_refused() {
    needs_root!();
    let log = log();
    let many = vec!["1"; 1025].join(",");
    for (option, words) in [
        (
            "--user",
            &[
                "-1",
                "4294967295",
                "4294967296",
                "18446744073709551616",
                "+0",
                "0x0",
                " 0",
                "0 ",
                "",
                "1e3",
                "0\n",
                "-0",
            ][..],
        ),
        ("--group", &["-1", "4294967295", "4294967296", "0x0", ""]),
        ("--groups", &["4294967295", "1,,2", ",", "1,", "1 2", &many]),
    ] {
        for value in words {
            let mut arguments = vec!["-c", option, value];
            if option != "--group" {
                arguments.extend(["--group", "64101"]);
            }
            arguments.extend([hostile(), "tell", word(&log)]);
            // Before anything is done, not by the proof in the end.
            assert_refused(&run(phasebox(&arguments)), "unable to use '");
            assert_not_run(&log);
        }
    }
}

/// The 16-bit calls of 32-bit processors cut it off, or say success and change nothing.
#[test]
fn ids_beyond_16_bits_are_kept() {
    needs_root!();
    for uid in ["65534", "65535", "65536", "131072", "4294967294"] {
        let arguments = ["-c", "--user", uid, "--group", uid, "--groups", uid];
        let output = run(phasebox(
            &[&arguments[..], &["cat", "/proc/self/status"]].concat(),
        ));
        let status = text(&output.stdout);
        assert_eq!(field_of(&status, "Uid"), [uid; 4].join(" "));
        assert_eq!(field_of(&status, "Gid"), [uid; 4].join(" "));
        assert_eq!(field_of(&status, "Groups"), uid);
    }
    for_each_install(|install| {
        let ground = Ground::new(131_072);
        let output = run(ground.boxed(install, &["-nicp"], &["cat", "/proc/self/status"]));
        assert_unprivileged(&text(&output.stdout), 131_072);
    });
}

#[test]
fn the_command_has_the_callers_ids_and_groups_and_no_way_to_more() {
    needs_root!();
    for_each_install(|install| {
        for options in ["-c", "-ni", "-nicpm"] {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={USER}"),
                &format!("--regid={USER}"),
                "--groups=4242,64101",
                word(install.program()),
                options,
            ]);
            let shown = format!("grep . /proc/self/status; {} regain", hostile());
            command.args(["sh", "-c", &shown]).current_dir("/");
            let output = run(command);
            let status = text(&output.stdout);
            assert_eq!(text(&output.stderr), "");
            assert_unprivileged(&status, USER);
            assert_eq!(field_of(&status, "Groups"), "4242 64101");
            for way in [
                "setuid EPERM",
                "seteuid EPERM",
                "setresuid EPERM",
                "setgid EPERM",
                "setgroups EPERM",
                "chroot EPERM",
                "ambient EPERM",
                "setns EBADF",
            ] {
                assert!(status.contains(way), "{way}: {status}");
            }
        }
    });
}

#[test]
fn a_set_user_id_program_gives_the_command_nothing() {
    needs_root!();
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let program = scratch(0).join("set-user-id");
        let copied = Command::new("cp").arg(hostile()).arg(&program).status();
        assert!(copied.unwrap().success());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        fs::set_permissions(&program, mode).unwrap();
        program
    });
    for_each_install(|install| {
        for options in ["-c", "-ni", "-nicpm"] {
            let log = log();
            let ground = Ground::new(USER);
            let words = [word(program), "tell", word(&log)];
            assert!(
                run(ground.boxed(install, &[options], &words))
                    .status
                    .success()
            );
            assert_unprivileged(&told(&log).unwrap(), USER);
            // The box's own program, too.
            let words = [word(install.program()), "-n", hostile(), "tell", word(&log)];
            fs::remove_file(&log).unwrap();
            assert!(
                run(ground.boxed(install, &[options], &words))
                    .status
                    .success()
            );
            assert_unprivileged(&told(&log).unwrap(), USER);
        }
    });
}

// ---- What is lent, and what is not enough.

#[test]
fn securebits_and_ambient_capabilities_do_not_survive() {
    needs_root!();
    let plain = program();
    for program in [plain, INSTALLS[0].program(), INSTALLS[1].program()] {
        for options in ["-c", "-ni", "-nicp"] {
            for kept in [
                &["--securebits=+no_setuid_fixup"][..],
                &[INHERITABLE, AMBIENT],
                &["--inh-caps=+net_admin", "--ambient-caps=+net_admin"],
                &[INHERITABLE, AMBIENT, "--securebits=+no_setuid_fixup"],
            ] {
                let log = log();
                let mut command = Command::new("setpriv");
                command
                    .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
                    .arg("--clear-groups")
                    .args(kept)
                    .arg(program)
                    .args([options, hostile(), "tell", word(&log)])
                    .current_dir("/");
                let output = run(command);
                let shown = format!("{program:?} {options} {kept:?} {}", text(&output.stderr));
                let status = told(&log).expect(&shown);
                assert_unprivileged(&status, USER);
            }
        }
    }
}

/// However it is installed, either all of it is there, or all of it is given back.
#[test]
fn no_install_gives_the_command_anything() {
    needs_root!();
    let all = CAPABILITIES;
    let some = 1 << 12;
    for (name, mode, capabilities, is_enough) in [
        ("4710", 0o4710, None, true),
        ("4755", 0o4755, None, true),
        ("0710-all", 0o710, Some(all), true),
        ("0755-all", 0o755, Some(all), true),
        ("4710-all", 0o4710, Some(all), true),
        ("4710-some", 0o4710, Some(some), false),
        ("0710-some", 0o710, Some(some), false),
        ("0710-one-less", 0o710, Some(all & !(1 << 21)), false),
        ("4710-none", 0o4710, Some(0), false),
        ("2755", 0o2755, None, false),
        ("6755", 0o6755, None, false),
    ] {
        let path = install(name, if mode & 0o2000 == 0 { USER } else { 0 }, mode);
        if let Some(capabilities) = capabilities {
            set_capabilities(&path, capabilities);
        }
        for options in ["-c", "-ni", "-nicp"] {
            let ground = Ground::new(USER);
            let log = log();
            let mut command = ground.outside(word(&path));
            command.args([options, hostile(), "tell", word(&log)]);
            let output = run(command);
            let shown = format!("{name} {options} {}", text(&output.stderr));
            if mode & 0o2000 != 0 {
                assert_refused(&output, "run set-id");
                assert_not_run(&log);
                continue;
            }
            let status = told(&log).expect(&shown);
            assert_unprivileged(&status, USER);
            if options.contains('c') {
                assert_eq!(is_in_group(&status), is_enough, "{shown}");
            }
        }
    }
}

#[test]
fn a_user_namespace_is_only_made_without_privileges() {
    needs_root!();
    for_each_install(|install| {
        // What is lent is not enough: a user namespace, and nothing of what is lent is left there.
        for missing in ["-sys_admin", "-setuid", "-all"] {
            let log = log();
            let mut command = Command::new("setpriv");
            command
                .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
                .arg("--clear-groups")
                .arg(format!("--bounding-set={missing}"))
                .arg(install.program())
                .args([
                    "-n",
                    "sh",
                    "-c",
                    "cat /proc/self/uid_map; exec \"$@\"",
                    "sh",
                ])
                .args([hostile(), "tell", word(&log)])
                .current_dir("/");
            let output = run(command);
            let map: Vec<String> = text(&output.stdout)
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            assert_eq!(
                map,
                [&USER.to_string(), &USER.to_string(), "1"],
                "{install:?} {missing} {}",
                text(&output.stderr)
            );
            assert_unprivileged(&told(&log).unwrap(), USER);
        }
        // It is enough, but namespaces are not to be had: none of a user's instead.
        let ground = Ground::new(USER);
        let (log, trace) = (log(), scratch(0).join("trace"));
        let strace = [
            "-o",
            word(&trace),
            "-e",
            "trace=unshare,clone",
            "-e",
            "inject=unshare:error=ENOSPC",
        ];
        for options in ["-n", "-nic"] {
            let words = [hostile(), "tell", word(&log)];
            let output = run(ground.traced(install, &strace, &[options], &words));
            assert_refused(&output, "network namespace");
            assert_not_run(&log);
            let trace = fs::read_to_string(&trace).unwrap();
            assert!(
                trace.contains("ENOSPC") && !trace.contains("NEWUSER"),
                "{trace}"
            );
        }
        ground.until_gone();
    });
}

// ---- What the caller may ask for.

#[test]
fn only_root_chooses_whom_the_command_runs_as_and_where() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let (log, user) = (log(), USER.to_string());
        for words in [
            &["--user", "0"][..],
            &["--user=root"],
            &["--user", &user],
            &["--group", "0"],
            &["--group", &user],
            &["--groups", "0"],
            &["--umask", "0"],
            &["--cgroup-parent", "/sys/fs/cgroup"],
            &["--cgroup-parent=."],
        ] {
            for options in ["-c", "-ni"] {
                let options = [&[options], words].concat();
                let output = run(ground.boxed(install, &options, &[hostile(), "tell", word(&log)]));
                assert_refused(&output, "only for root");
                assert_not_run(&log);
            }
        }
        ground.until_gone();
    });
}

#[test]
fn what_is_not_on_the_list_is_refused() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let log = log();
        let long = format!("--cgroup={}", "x".repeat(129));
        let entries = || fs::read_dir(&ground.top.0).unwrap().count();
        let before = entries();
        for words in [
            &["--cgroup=../../x"][..],
            &["--cgroup=."],
            &["--cgroup="],
            &["--cgroup=a\nb"],
            &["--cgroup=..", "-n"],
            &["--cgroup=.cgroup.procs"],
            &[&long],
            &["-u"],
            &["-U"],
            &["-T"],
            &["--userns"],
            &["--time"],
            &["--net=host"],
            &["--net=/proc/1/ns/net"],
            &["--pid=1"],
            &["--ipc=4026531839"],
            &["--join", "1"],
            &["--target=1"],
            &["--hostname", "trusted"],
            &["--bind", "/tmp", "/etc"],
            &["--mount=/etc"],
            &["--flags=0x7e020000"],
            &["--ne"],
            &["--netw"],
            &["-c=x"],
            &["-n", "-x"],
            &["--opt=--"],
            &["--=--"],
            &["---"],
            &["--features", "cgroup", "--phase", "src_compil"],
            &["--phase", "compile"],
        ] {
            let output = run(ground.boxed(install, words, &[hostile(), "tell", word(&log)]));
            assert_refused(&output, "");
            assert_not_run(&log);
            assert_eq!(entries(), before, "{words:?}");
        }
        ground.until_gone();
    });
}

#[test]
fn what_follows_the_command_is_the_commands() {
    needs_root!();
    for_each_install(|install| {
        let words = [
            "sh",
            "-c",
            "for word; do echo \"$word\"; done",
            "--net=host",
            "-u",
            "0",
            "--",
            "--user",
            "0",
            "-c",
            "--cgroup-parent=/",
            "--opt=--",
        ];
        for options in [&["-c"][..], &["-ni"], &["-nicpm"]] {
            let ground = Ground::new(USER);
            let output = run(ground.boxed(install, options, &words));
            let expected: Vec<&str> = words[4..].to_vec();
            assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
            // Without `--` they end at the first word that is none.
            let mut command = ground.outside(word(install.program()));
            let output = run({
                command.args(options).args(words);
                command
            });
            assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn arguments_of_any_size_do_no_harm() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let longest = 128 * 1024 - 1;
        let bundle = format!("-{}", "nic".repeat((longest - 1) / 3));
        let output = run(ground.boxed(install, &[&bundle], &["true"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let many = vec!["-c"; 20_000];
        assert!(
            run(ground.boxed(install, &many, &["true"]))
                .status
                .success()
        );
        for option in ["--cgroup=", "--features=", "--phase=", "--", "-\u{7f}"] {
            let option = format!("{option}{}", "\u{fffd}".repeat(longest / 3 - 10));
            let output = run(ground.boxed(install, &["-c", &option], &["true"]));
            assert_refused(&output, "");
            assert!(output.stderr.is_ascii() && output.stderr.len() < 1024);
        }
        let words = vec!["word"; 20_000];
        let output = run(ground.boxed(install, &["-nic"], &[&["echo"], &words[..]].concat()));
        assert_eq!(output.stdout.len(), 5 * words.len());
        ground.until_gone();
    });
}

#[test]
fn without_an_argument_vector_it_refuses() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let mut command = ground.outside(hostile());
        command.args(["bare", word(install.program())]);
        assert_refused(&run(command), "no command to run");
    });
}

#[test]
fn what_the_caller_may_not_see_is_not_told_apart() {
    needs_root!();
    let secret = scratch(0);
    fs::write(secret.join("there"), "").unwrap();
    fs::copy(hostile(), secret.join("program")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&secret, mode).unwrap();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        for options in ["-c", "-ni", "-nicpm"] {
            let answers = ["missing", "there", "program"].map(|name| {
                // By a path, and found in PATH.
                let path = secret.join(name);
                let output = run(ground.boxed(install, &[options], &[word(&path)]));
                let mut searched = ground.boxed(install, &[options], &[name]);
                searched.env("PATH", &secret);
                let found = run(searched);
                let nameless = |output: Output| {
                    assert_eq!(output.status.code(), Some(126));
                    text(&output.stderr).replace(name, "")
                };
                (nameless(output), nameless(found))
            });
            assert_eq!(answers[0], answers[1]);
            assert_eq!(answers[0], answers[2]);
        }
    });
}

#[test]
fn a_file_system_that_only_looks_like_control_groups_is_refused() {
    needs_root!();
    for_each_install(|install| {
        let log = log();
        let ground = Ground::new(USER);
        let mut command = ground.outside("unshare");
        let script = "
            mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/unified || exit 1
            for directory in /sys/fs/cgroup /sys/fs/cgroup/unified; do
                cd $directory
                touch cgroup.procs cgroup.threads cgroup.kill cgroup.freeze cgroup.events
            done
            mkdir -p /sys/fs/cgroup/unified$(sed -n s/^0:://p /proc/self/cgroup)
            find /sys/fs/cgroup | sort >/sys/fs/cgroup/before
            \"$@\" && exit 2
            status=$?
            rm /sys/fs/cgroup/before
            find /sys/fs/cgroup | sort
            exit $status";
        command.args(["-Urm", "sh", "-c", script, "sh", word(install.program())]);
        command.args(["-c", hostile(), "tell", word(&log)]);
        let output = run(command);
        let listing = text(&output.stdout);
        assert!(!listing.contains("phasebox:"), "{listing}");
        assert!(listing.contains("cgroup.procs"), "{listing}");
        assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
        assert_not_run(&log);
        ground.until_gone();
    });
}

// ---- Descriptors.

#[test]
fn the_command_has_the_callers_descriptors_and_no_other() {
    needs_root!();
    for_each_install(|install| {
        for set in [
            "",
            "exec 3</etc/passwd 7>/dev/null 63</dev/null 250</",
            "exec 4</etc/passwd 5</dev/null 6</dev/null 8</dev/null 9</dev/null 10</dev/null",
            "exec 0<&-",
            "exec 1>&-",
            "exec 2>&-",
            "exec 0<&- 1>&-",
            "exec 0<&- 2>&-",
            "exec 1>&- 2>&-",
            "exec 0<&- 1>&- 2>&-",
            "exec 0<&- 1>&- 2>&- 3</etc/passwd 1023</dev/null",
        ] {
            let told = ["", "-c", "-ni", "-nicpm"].map(|options| {
                let log = log();
                let ground = Ground::new(USER);
                let mut command = ground.outside("bash");
                let script = format!("{set}\nexec \"$@\"");
                command.args(["-c", &script, "bash"]);
                if !options.is_empty() {
                    command.arg(install.program()).args([options, "--"]);
                }
                command.args([hostile(), "fds", word(&log)]);
                assert!(run(command).status.success());
                fs::read_to_string(&log).unwrap()
            });
            assert_eq!(told, [(); 4].map(|()| told[0].clone()), "{set}");
        }
    });
}

/// Whether it works or fails, descriptors 0 to 2 are the caller's or a filler that nothing can be
/// written to: never a file that the program opened.
#[test]
fn no_file_takes_the_place_of_a_closed_standard_descriptor() {
    needs_root!();
    for_each_install(|install| {
        for closed in 1u32..8 {
            let closing: String = (0..3)
                .filter(|fd| closed & (1 << fd) != 0)
                .map(|fd| format!("exec {fd}>&-; "))
                .collect();
            for options in [&["-nicpm"][..], &["-nic", "--cgroup=.."]] {
                let ground = Ground::new(USER);
                let trace = scratch(0).join("trace");
                let mut command = ground.as_root("strace");
                let traced = "trace=openat,open,socket,socketpair,signalfd4,pidfd_open,dup,dup2,fcntl,execve";
                command.args(["-f", "-qq", "-o", word(&trace), "-e", traced]);
                command.args(["setpriv", "--clear-groups"]);
                command.args([format!("--reuid={USER}"), format!("--regid={USER}")]);
                command.args(["bash", "-c", &format!("{closing} exec \"$@\""), "bash"]);
                command.arg(install.program()).args(options).arg("true");
                run(command);
                let trace = fs::read_to_string(trace).unwrap();
                let start = format!("execve(\"{}\"", word(install.program()));
                let mut fillers = 0;
                let mut in_program: HashMap<&str, bool> = HashMap::new();
                let mut seen = false;
                let calls = calls(&trace);
                for (pid, call) in &calls {
                    let pid = pid.as_str();
                    if call.starts_with("execve(") {
                        seen |= call.starts_with(&start);
                        in_program.insert(pid, call.starts_with(&start));
                    }
                    if !seen || !in_program.get(pid).unwrap_or(&true) {
                        continue;
                    }
                    if call.ends_with("= 0") || call.ends_with("= 1") || call.ends_with("= 2") {
                        if call.contains("\"/\", O_RDONLY|") && call.contains("O_PATH") {
                            fillers += 1;
                        } else {
                            assert!(!call.starts_with("open"), "{call}");
                        }
                    }
                    if call.starts_with("socketpair") && call.contains("= 0") {
                        let pair = call.split('[').nth(1).unwrap();
                        let first = pair.split([',', ']']).next().unwrap();
                        assert!(first.parse::<u32>().unwrap() > 2, "{call}");
                    }
                }
                assert!(fillers >= closed.count_ones(), "{trace}");
            }
        }
    });
}

// ---- Messages.

/// The calls of a trace, each with its process; those that others interrupted put together again.
fn calls(trace: &str) -> Vec<(String, String)> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, first);
        } else if let Some((_, last)) = call.split_once(" resumed>") {
            let first = begun.remove(pid).unwrap_or_default();
            found.push((pid.to_owned(), format!("{first}{last}")));
        } else {
            found.push((pid.to_owned(), call.to_owned()));
        }
    }
    found
}

/// Asserts that in a trace of `write`, `setresuid` and `capset` every process that writes to
/// descriptor 1 or 2 has given up, for good, what is lent.
fn assert_told_without_privileges(trace: &str, install: Install, uid: u32) -> usize {
    let start = format!("execve(\"{}\"", word(install.program()));
    let dropped = format!("setresuid({uid}, {uid}, {uid})");
    let mut is_started = false;
    // By pid: ids given up, capabilities given up.
    let mut given_up: HashMap<&str, (bool, bool)> = HashMap::new();
    let mut writes = 0;
    for (pid, call) in &calls(trace) {
        let pid = pid.as_str();
        if call.starts_with(&start) {
            is_started = true;
            given_up.insert(pid, (false, false));
        } else if call.starts_with("execve(") && call.ends_with("= 0") && is_started {
            // COMMAND's own business from here on.
            given_up.insert(pid, (true, true));
        }
        if !is_started {
            continue;
        }
        let state = given_up.entry(pid).or_default();
        if call.starts_with("setresuid(") && call.ends_with("= 0") {
            *state = (call.starts_with(&dropped), false);
        }
        if call.starts_with("capset(") && call.ends_with("= 0") {
            state.1 = call.contains("effective=0, permitted=0, inheritable=0");
        }
        if call.starts_with("write(1,") || call.starts_with("write(2,") {
            writes += 1;
            assert_eq!(*state, (true, true), "{pid} {call}\n{trace}");
        }
    }
    assert!(is_started, "{trace}");
    writes
}

#[test]
fn nothing_is_written_to_the_callers_descriptors_before_privileges_are_gone() {
    needs_root!();
    for_each_install(|install| {
        let trace = scratch(0).join("trace");
        for (injection, options, words) in [
            ("", &["--help"][..], &["true"][..]),
            ("", &["--version"], &["true"]),
            ("", &["--bad"], &["true"]),
            ("", &["-c", "--cgroup=.."], &["true"]),
            ("", &["-nicp"], &["/nonexistent"]),
            ("", &["-ni"], &["/nonexistent"]),
            ("", &["-nic"], &["/dev/null"]),
            ("", &["-c"], &["sh", "-c", "sleep 100000 & :"]),
            ("", &["-cp"], &["sh", "-c", "sleep 100000 & :"]),
            ("ppoll:error=ENOMEM:when=1", &["-c"], &["true"]),
            ("openat:error=EMFILE:when=1", &["-nc"], &["true"]),
            ("write:error=EBUSY:when=1", &["-c"], &["true"]),
            ("fstatfs:error=EIO", &["-c"], &["true"]),
            ("fstatfs:error=EIO", &["-c", "--best-effort"], &["true"]),
            ("unshare:error=EPERM", &["-n"], &["true"]),
            ("unshare:error=EPERM", &["-nic"], &["true"]),
            (
                "unshare:error=EPERM",
                &["-nicpm", "--best-effort"],
                &["true"],
            ),
            ("mkdirat:error=EACCES", &["-c"], &["true"]),
            ("mkdirat:error=EACCES", &["-cp", "--best-effort"], &["true"]),
            ("unlinkat:error=EIO", &["-c"], &["true"]),
            ("setgroups:error=EPERM:when=1", &["-nic"], &["true"]),
            ("flock:error=EIO", &["-c"], &["true"]),
            ("socketpair:error=EMFILE", &["-c"], &["true"]),
            ("signalfd4:error=EMFILE", &["-c"], &["true"]),
            ("socket:error=EPERM", &["-nicp"], &["true"]),
            ("socket:error=ENOMEM", &["-n"], &["true"]),
            ("sethostname:error=EPERM", &["-n"], &["true"]),
            ("mount:error=EPERM", &["-pm"], &["true"]),
            ("clone:error=EAGAIN", &["-c"], &["true"]),
            ("clone:error=EAGAIN", &["-p"], &["true"]),
            ("close_range:error=ENOSYS", &["-cp"], &["true"]),
            ("chdir:error=EACCES:when=1", &["-nicp"], &["true"]),
            ("rt_sigprocmask:error=EINVAL:when=1", &["-c"], &["true"]),
        ] {
            let ground = Ground::new(USER);
            let call = injection.split(':').next().unwrap();
            let comma = if call.is_empty() { "" } else { "," };
            let calls = format!("trace=write,setresuid,capset,execve{comma}{call}");
            let injection = format!("inject={injection}");
            let mut strace = vec!["-s", "200", "-o", word(&trace), "-e", &calls];
            if injection != "inject=" {
                strace.extend(["-e", &injection]);
            }
            let output = run(ground.traced(install, &strace, options, words));
            let trace = fs::read_to_string(&trace).unwrap();
            if !trace.contains(word(install.program())) {
                // The tracer's way there has failed.
                panic!("{injection}: {}", text(&output.stderr));
            }
            let writes = assert_told_without_privileges(&trace, install, USER);
            assert!(
                writes > 0,
                "{injection} {options:?}: nothing was said: {trace}"
            );
            // What could not be removed is.
            for group in ground.groups() {
                let _ = fs::remove_dir(group);
            }
        }
    });
}

/// The guard cannot remove the group and says so while the stub gives up starting the command.
#[test]
fn what_the_guard_says_of_a_start_that_failed_is_written_without_privileges() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let trace = scratch(0).join("trace");
        let strace = [
            "-o",
            word(&trace),
            "-e",
            "trace=write,setresuid,capset,execve,unlinkat",
            "-e",
            "inject=unlinkat:error=EBUSY",
            // The stub's retirement, behind what it was narrowed by and what it forked within.
            "-e",
            "inject=capset:error=EPERM:when=5",
        ];
        let output = run(ground.traced(install, &strace, &["-c"], &["true"]));
        assert_eq!(output.status.code(), Some(125));
        let errors = text(&output.stderr);
        let trace = fs::read_to_string(&trace).unwrap();
        assert!(
            errors.contains("kill everything") && errors.contains("give up capabilities"),
            "{errors} {trace}"
        );
        assert!(assert_told_without_privileges(&trace, install, USER) >= 2);
        for group in ground.groups() {
            fs::remove_dir(group).unwrap();
        }
    });
}

#[test]
fn the_programs_own_name_is_not_in_its_messages() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let mut command = ground.outside("bash");
        let script = "exec -a $'root::0:0::/:\\e]0;x\\a\\n' \"$@\"";
        command.args(["-c", script, "bash", word(install.program()), "--bad"]);
        let output = run(command);
        assert_refused(&output, "no such option");
        assert!(!text(&output.stderr).contains("root"));
    });
}

// ---- What can be got out of the program's processes.

/// The processes of a box that is running.
struct Crew {
    ground: Ground,
    live: Live,
}

impl Crew {
    fn new(ground: Ground, install: Install, options: &str) -> Crew {
        let words = ["sh", "-c", "echo ready; read line; :"];
        let live = Live::ready(ground.boxed(install, &[options], &words));
        Crew { ground, live }
    }

    fn guard(&self) -> u32 {
        guard_of(self.live.stub())
    }

    fn init(&self) -> u32 {
        let children = children(self.live.stub());
        let init = children
            .into_iter()
            .find(|pid| name(*pid) == "phasebox-init");
        init.unwrap()
    }

    fn end(mut self) {
        let (status, _, errors) = self.live.end();
        assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
        self.ground.until_gone();
    }
}

/// Where descriptors lead, their numbers left out.
fn descriptors(pid: u32) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap();
            let target = target.to_string_lossy().into_owned();
            target.split(':').next().unwrap().to_owned()
        })
        .collect();
    found.sort();
    found
}

/// Whether a process's files in /proc are root's: not dumpable. proc(5).
fn is_closed(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/maps")).unwrap().uid() == 0
        && status_of(pid, "CoreDumping") == "0"
}

fn working_directory(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).unwrap()
}

fn status_text(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

#[test]
fn what_waits_holds_the_least() {
    needs_root!();
    for_each_install(|install| {
        for is_delegated in [false, true] {
            let ground = if is_delegated {
                Ground::delegated(USER)
            } else {
                Ground::new(USER)
            };
            let crew = Crew::new(ground, install, "-nicpm");
            let (stub, guard, init) = (crew.live.stub(), crew.guard(), crew.init());
            eventually("all are settled", || {
                state(stub) == Some('S') && state(guard) == Some('S') && state(init) == Some('S')
            });
            let group = crew.ground.groups().remove(0);
            assert_eq!(group.parent().unwrap(), crew.ground.top.0);
            let metadata = fs::metadata(&group).unwrap();
            assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o700));

            // The stub and the init have nothing but what is open.
            for pid in [stub, init] {
                assert_unprivileged(&status_text(pid), USER);
                assert_eq!(status_of(pid, "Groups"), "");
                assert!(is_closed(pid));
                assert_eq!(working_directory(pid), Path::new("/"));
            }
            let below = |name: &str| {
                let path = crew.ground.top.0.join(name);
                path.to_string_lossy().into_owned()
            };
            // Its own: standard error; signals; links to the command's process and the guard; the
            // parent, the group and four files of it.
            let found = descriptors(stub);
            assert_eq!(found.len(), 10, "{found:?}");
            let count = |kind: &str| found.iter().filter(|target| *target == kind).count();
            assert_eq!(count("socket"), 2, "{found:?}");
            assert_eq!(count("anon_inode"), 1, "{found:?}");
            assert_eq!(count(&below("phasebox")), 5, "{found:?}");
            assert_eq!(count(word(&crew.ground.top.0)), 1, "{found:?}");
            let found = descriptors(init);
            assert_eq!(found.len(), 3, "{found:?}");

            // The guard is root's alone, with one capability.
            let status = status_text(guard);
            assert_eq!(field_of(&status, "Uid"), "0 0 0 0");
            assert_eq!(field_of(&status, "Gid"), "0 0 0 0");
            assert_eq!(field_of(&status, "Groups"), "");
            for (set, expected) in [
                ("CapInh", NO_CAPABILITY),
                ("CapPrm", "0000000000000002"),
                ("CapEff", "0000000000000002"),
                ("CapAmb", NO_CAPABILITY),
            ] {
                assert_eq!(field_of(&status, set), expected, "{set}");
            }
            assert_eq!(field_of(&status, "NoNewPrivs"), "1");
            assert_eq!(working_directory(guard), Path::new("/"));
            // Not even for another process of root's that is in no way special.
            assert!(is_closed(guard));
            let fields = fs::read_to_string(format!("/proc/{guard}/stat")).unwrap();
            let fields: Vec<&str> = fields.rsplit_once(") ").unwrap().1.split(' ').collect();
            assert_eq!(fields[3], guard.to_string(), "its session");
            assert_eq!(fields[4], "0", "its terminal");
            let place = if is_delegated {
                crew.ground.top.0.join("phasebox:guards")
            } else {
                crew.ground.top.0.clone()
            };
            assert_eq!(group_of(guard), place);
            let found = descriptors(guard);
            let count = |kind: &str| found.iter().filter(|target| *target == kind).count();
            // Fillers of 0 to 2; the link; the parent, the group and four files of it.
            assert_eq!(count("/"), 3, "{found:?}");
            assert_eq!(count("socket"), 1, "{found:?}");
            assert_eq!(found.len(), 10, "{found:?}");
            crew.end();
        }
    });
}

/// Asserts that a user gets nothing out of a process but that it is there.
fn assert_tight(uid: u32, pid: u32) {
    let mut command = Command::new(hostile());
    command.args(["peep", &pid.to_string()]);
    become_in_group(&mut command, uid);
    let answer = text(&run(command).stdout);
    for line in answer.lines() {
        let (what, result) = line.split_once(' ').unwrap();
        match what {
            "pidfd" => assert_eq!(result, "done"),
            _ => assert!(["EPERM", "EACCES"].contains(&result), "{line}"),
        }
    }
    assert_eq!(answer.lines().count(), 10, "{answer}");
}

#[test]
fn nothing_can_be_got_out_of_the_processes_that_wait() {
    needs_root!();
    for_each_install(|install| {
        let crew = Crew::new(Ground::delegated(USER), install, "-nicpm");
        for pid in [crew.live.stub(), crew.guard(), crew.init()] {
            assert_tight(USER, pid);
        }
        // The box's group is root's alone.
        let group = crew.ground.groups().remove(0);
        for file in ["cgroup.procs", "cgroup.kill", "cgroup.freeze"] {
            assert!(!write_as(USER, &group.join(file), "1"), "{file}");
        }
        crew.end();
    });
}

/// Between the drop and execve(2): a tracer of root's holds it there.
#[test]
fn nothing_can_be_got_out_of_the_commands_process_before_it_is_the_command() {
    needs_root!();
    for_each_install(|install| {
        let ground = Ground::new(USER);
        let strace = [
            "-o",
            "/dev/null",
            "-e",
            "trace=execve",
            "-e",
            "inject=execve:delay_enter=3000000",
        ];
        let mut traced = ground.traced(install, &strace, &["-nic"], &["true"]);
        let mut child = traced.spawn().unwrap();
        let mut command = 0;
        eventually("the command's process is about to execute it", || {
            let Some(group) = ground.groups().pop() else {
                return false;
            };
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            command = members.lines().next().map_or(0, |pid| pid.parse().unwrap());
            let status = fs::read_to_string(format!("/proc/{command}/status"));
            command != 0
                && status.is_ok_and(|status| {
                    field_of(&status, "NoNewPrivs") == "1"
                        && field_of(&status, "Name").starts_with("phasebox")
                })
        });
        assert_unprivileged(&status_text(command), USER);
        assert_tight(USER, command);
        assert!(wait_for(&mut child).success());
        ground.until_gone();
    });
}

// ---- Signals.

/// Leftovers are killed through the group. By number only the command is signalled, while it is
/// the stub's child and not yet waited for.
#[test]
fn no_process_is_killed_by_its_number() {
    needs_root!();
    for_each_install(|install| {
        for options in ["-c", "-cp"] {
            let ground = Ground::new(USER);
            let trace = scratch(0).join("trace");
            let calls = "trace=kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo,execve,write";
            let strace = ["-o", word(&trace), "-e", calls];
            let script = "sleep 100000 & sleep 100000 & exit 3";
            let words = ["sh", "-c", script];
            let output = run(ground.traced(install, &strace, &[options], &words));
            assert_eq!(output.status.code(), Some(3));
            ground.until_gone();
            let trace = fs::read_to_string(trace).unwrap();
            let signalled: Vec<&str> = trace
                .lines()
                .filter(|line| {
                    line.contains("kill(")
                        || line.contains("signal(")
                        || line.contains("queueinfo(")
                })
                .collect();
            // The init, by its parent, which has not waited for it.
            let expected = usize::from(options == "-cp");
            assert_eq!(signalled.len(), expected, "{signalled:?}");
            for line in signalled {
                let pid = line
                    .split("kill(")
                    .nth(1)
                    .unwrap()
                    .split(',')
                    .next()
                    .unwrap();
                assert!(pid.parse::<i32>().unwrap() > 1, "{line}");
            }
        }
    });
}
