//! What cannot be had is refused with the reason and what to do: limits, what a container or a seccomp
//! filter forbids, a control group file system that is read-only or none. What other tests have:
//! cgroup.max.descendants and .depth, a threaded group (cgroup.rs), what cannot be killed
//! (orphans.rs), a machine without IPv6 (net.rs), the same of lent rights (setid_world.rs).
#![allow(missing_docs, unsafe_code)]

mod common;
#[path = "common/isolation.rs"]
mod isolation;

use std::process::{Command, Stdio};

use common::*;
use isolation::*;

/// A shell in new namespaces of unshare(1)'s options, which runs `prepare` and then the program:
/// `words`, as `"$@"`.
fn prepared(caller: Caller, options: &[&str], prepare: &str, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(options)
        .args(["sh", "-ec", &format!("{prepare}; exec \"$@\""), "sh"])
        .args(words)
        .stdin(Stdio::null())
        .current_dir("/");
    if caller == Caller::User {
        become_user(&mut command);
    }
    command
}

fn phasebox_words<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&[word(program())], options, &["--", "echo", "started"]].concat()
}

/// Asserts that both are in the one line of a refusal.
fn assert_reason(command: Command, step: &str, advice: &str) {
    let shown = format!("{command:?}");
    let output = run(command);
    assert_eq!(output.status.code(), Some(125), "{shown}: {output:?}");
    assert_refused(&output, &format!("unable to {step}: "));
    assert!(one_line(&output).contains(advice), "{shown}: {output:?}");
}

#[test]
fn a_limit_on_namespaces_is_named() {
    needs_root!();
    for (option, limit, step) in [
        ("-n", "net", "make a network namespace"),
        ("-n", "uts", "make a network namespace"),
        ("-i", "ipc", "make an IPC namespace"),
        ("-p", "pid", "make a PID namespace"),
        ("-m", "mnt", "make a mount namespace"),
        ("-nim", "ipc", "make an IPC namespace"),
    ] {
        for caller in [Caller::Root, Caller::User] {
            let sysctl = format!("user.max_{limit}_namespaces");
            let prepare = format!("echo 0 >/proc/sys/{}", sysctl.replace('.', "/"));
            let words = phasebox_words(&[option]);
            let command = prepared(caller, &["-U", "-r"], &prepare, &words);
            assert_reason(command, step, &sysctl);
        }
    }
}

#[test]
fn under_a_limit_the_rest_is_had_where_that_will_do() {
    needs_root!();
    let words = [
        word(program()),
        "--best-effort",
        "-nim",
        "sh",
        "-c",
        TELL_NAMESPACES,
    ];
    let prepare = "echo 0 >/proc/sys/user/max_ipc_namespaces";
    let output = run(prepared(Caller::Root, &["-U", "-r"], prepare, &words));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        changed(&text(&output.stdout)),
        ["net", "uts", "mnt", "user"]
    );
    let line = one_line(&output);
    assert!(
        line.contains("user.max_ipc_namespaces") || line.contains("(ENOSPC)"),
        "{line}"
    );
    assert!(line.ends_with("; going on without IPC isolation"), "{line}");
}

/// Whom a container leaves root's uid and not CAP_SYS_ADMIN.
const WITHOUT_RIGHTS: [&str; 3] = [
    "setpriv",
    "--bounding-set=-sys_admin",
    "--inh-caps=-sys_admin",
];

#[test]
fn a_limit_on_user_namespaces_is_named() {
    needs_root!();
    for option in ["-n", "-p", "-nicpm"] {
        let prepare = "echo 0 >/proc/sys/user/max_user_namespaces";
        let words = [&WITHOUT_RIGHTS[..], &phasebox_words(&[option])].concat();
        let command = prepared(Caller::Root, &["-U", "-r"], prepare, &words);
        assert_reason(command, "make a user namespace", "user.max_user_namespaces");
    }
}

#[test]
fn a_container_without_cap_sys_admin_that_forbids_user_namespaces_is_told_so() {
    needs_root!();
    needs_strace!();
    for (option, injection) in [("-n", "unshare:error=EPERM"), ("-p", "clone:error=EPERM")] {
        let mut plain = Command::new(WITHOUT_RIGHTS[0]);
        plain
            .args(&WITHOUT_RIGHTS[1..])
            .args(phasebox_words(&[option]));
        let command = injected(&plain, &[injection]).unwrap();
        assert_reason(command, "make a user namespace", "allow user namespaces");
    }
}

#[test]
fn what_a_seccomp_filter_forbids_is_named() {
    needs_root!();
    needs_strace!();
    let denied = "CAP_SYS_ADMIN is missing, or seccomp forbids it";
    // To an ordinary user all is forbidden with the user namespace; unless rights are lent.
    let ([users_net, users_pid], users) = if lent() {
        (["make a network namespace", "make a PID namespace"], denied)
    } else {
        (["make a user namespace"; 2], "run as root")
    };
    for (caller, option, call, step, advice) in [
        (
            Caller::Root,
            "-n",
            "unshare",
            "make a network namespace",
            denied,
        ),
        (
            Caller::Root,
            "-i",
            "unshare",
            "make an IPC namespace",
            denied,
        ),
        (
            Caller::Root,
            "-m",
            "unshare",
            "make a mount namespace",
            denied,
        ),
        (Caller::Root, "-p", "clone", "make a PID namespace", denied),
        (Caller::Root, "-n", "socket", "set the loopback up", ""),
        (Caller::Root, "-n", "sethostname", "set the host name", ""),
        (Caller::Root, "-m", "mount", "make mounts slaves", ""),
        (
            Caller::Root,
            "-c",
            "mkdirat",
            "make a control group",
            "or use --pid",
        ),
        (Caller::User, "-n", "unshare", users_net, users),
        (Caller::User, "-p", "clone", users_pid, users),
    ] {
        for errno in ["EPERM", "ENOSYS"] {
            let injection = format!("{call}:error={errno}");
            let output = run_injected(caller, &[&injection], &phasebox_words(&[option])[1..]);
            assert_refused(&output, &format!("unable to {step}: "));
            let line = one_line(&output);
            assert!(line.contains(&format!("({errno})")), "{injection}: {line}");
            // Of what the kernel does not know, that is reason enough.
            let wanted = if errno == "ENOSYS" && (caller == Caller::Root || lent()) {
                ""
            } else {
                advice
            };
            assert!(line.contains(wanted), "{injection}: {line}");
        }
    }
}

/// Makes the cgroup2 file system read-only, where nobody else sees it.
fn read_only() -> String {
    let mount = cgroup_mount().display().to_string();
    format!("mount --bind {mount} {mount}; mount -o remount,ro,bind {mount}")
}

#[test]
fn a_read_only_control_group_file_system_is_named() {
    needs_root!();
    let words = phasebox_words(&["-c"]);
    let command = prepared(Caller::Root, &["-m"], &read_only(), &words);
    assert_reason(
        command,
        "make a control group",
        "make the cgroup file system writable",
    );
    // What the message says to do works.
    let words = phasebox_words(&["-p"]);
    assert_eq!(
        ask(prepared(Caller::Root, &["-m"], &read_only(), &words)),
        "started\n"
    );
}

#[test]
fn with_a_read_only_control_group_file_system_the_command_runs_where_that_will_do() {
    needs_root!();
    let words = phasebox_words(&["-nc", "--best-effort"]);
    let output = run(prepared(Caller::Root, &["-m"], &read_only(), &words));
    assert_eq!(text(&output.stdout), "started\n");
    let line = one_line(&output);
    assert!(line.contains("(EROFS)"), "{line}");
    assert!(
        line.ends_with("; going on without control group isolation"),
        "{line}"
    );
}

/// Mounts a tmpfs where cgroup2 is expected, with directories and files as the real thing has them, in
/// which everyone may write; and shows afterwards what is in it.
fn forged() -> String {
    let mount = cgroup_mount().display().to_string();
    let own = own_group();
    let own = own.strip_prefix(cgroup_mount()).unwrap().display();
    format!(
        "mount -t tmpfs -o mode=777 none {mount}; g={mount}/{own}; umask 0; mkdir -p $g
        for f in controllers procs threads kill freeze events subtree_control type; do
            echo populated 0 >$g/cgroup.$f; done"
    )
}

/// What is boxed: shows the group that it is in, and the forged directory.
fn look() -> String {
    format!(
        "grep ^0: /proc/self/cgroup; find {} | grep phasebox:",
        cgroup_mount().display()
    )
}

#[test]
fn a_forged_control_group_directory_is_not_believed() {
    needs_root!();
    let words = [word(program()), "-c", "sh", "-c", &look()].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The real one is reached by a mount that nobody sees.
    let output = run(prepared(Caller::Root, &["-m"], &forged(), &words));
    let told = text(&output.stdout);
    assert!(
        told.lines().count() == 1 && told.contains("/phasebox:sh."),
        "{output:?}"
    );

    // An ordinary user cannot make that mount, and has a PID namespace instead; unless the right to
    // make it is lent.
    let identity = [
        "setpriv",
        "--reuid=64101",
        "--regid=64101",
        "--clear-groups",
    ];
    let words = [&identity[..], &words].concat();
    let output = run(prepared(Caller::Root, &["-m"], &forged(), &words));
    let told = text(&output.stdout);
    assert!(
        told.lines().count() == 1 && told.contains("/phasebox:sh.") == lent(),
        "{output:?}"
    );
}

#[test]
fn a_forged_parent_is_refused() {
    needs_root!();
    let option = format!("--cgroup-parent={}", cgroup_mount().display());
    let words = phasebox_words(&["-c", &option]);
    let command = prepared(Caller::Root, &["-m"], &forged(), &words);
    assert_reason(
        command,
        "find a control group",
        "mount cgroup2, or use --pid",
    );
}
