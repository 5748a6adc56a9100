//! The world around the installed program: what takes its privileges away, Gentoo's sandbox, the
//! power that COMMAND has not, other users and their runs, messages, installation.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;
#[path = "common/ground.rs"]
mod ground;
#[path = "common/isolation.rs"]
mod isolation;

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use boxes::Live;
use caller::{check, in_child};
use common::installed::*;
use common::*;
use ground::{DAEMON, Ground, call_in_child, for_each_ground};
use isolation::{TELL_NAMESPACES, ask, change_root, changed, namespaces_of, word};

// ---- Installed to lend privileges, and nothing is lent.

/// What takes the privileges of set-id files away, as words before the program, and what is said
/// where the box cannot be had without.
const TAKEN: [(&[&str], &str); 9] = [
    (&["setpriv", "--no-new-privs"], "no_new_privs is set"),
    (
        &["strace", "-f", "-o", "/dev/null", "-e", "trace=none"],
        "it is traced",
    ),
    (
        &["setpriv", "--bounding-set=-all"],
        "CAP_DAC_OVERRIDE is missing",
    ),
    (
        &["setpriv", "--bounding-set=-dac_override"],
        "CAP_DAC_OVERRIDE is missing",
    ),
    (
        &["setpriv", "--bounding-set=-setgid"],
        "CAP_SETGID is missing",
    ),
    (
        &["setpriv", "--bounding-set=-setuid"],
        "CAP_SETUID is missing",
    ),
    (
        &["setpriv", "--bounding-set=-net_admin"],
        "CAP_NET_ADMIN is missing",
    ),
    (
        &["setpriv", "--bounding-set=-sys_chroot"],
        "CAP_SYS_CHROOT is missing",
    ),
    (
        &["setpriv", "--bounding-set=-sys_admin"],
        "CAP_SYS_ADMIN is missing",
    ),
];

const BECOME_USER: [&str; 5] = [
    "setpriv",
    "--reuid=64101",
    "--regid=64101",
    "--clear-groups",
    "--inh-caps=-all",
];

/// `words`, called by the user when this has taken effect. A bounding set is root's to change; the
/// others are not to begin before the last of root's capabilities is gone.
fn without_privileges(taken: &[&str], words: &[&str]) -> Vec<String> {
    let all = if taken[1].starts_with("--b") || taken[1].starts_with("--s") {
        [&BECOME_USER[..], &taken[1..], &["--"], words].concat()
    } else {
        [&BECOME_USER[..], &["--"], taken, &["--"], words].concat()
    };
    all.into_iter().map(str::to_owned).collect()
}

fn command_of(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .current_dir("/");
    command
}

/// Nothing in force or to be had, ids, the namespaces.
const TELL_ALL: &str =
    "grep -c '^Cap....*0000000000000000$' /proc/self/status | grep -x '[45]' >/dev/null &&
    grep -q '^NoNewPrivs:.1' /proc/self/status && id -u && id -g && ";

#[test]
fn where_nothing_is_lent_the_box_is_one_of_a_user_namespace() {
    needs_root!();
    for install in INSTALLS {
        for (taken, _) in TAKEN {
            let script = [TELL_ALL, TELL_NAMESPACES].concat();
            let program = word(install.program());
            let words = without_privileges(taken, &[program, "-nipm", "sh", "-c", &script]);
            let told = ask(command_of(&words));
            let (ids, namespaces) = told.split_at("64101\n64101\n".len());
            assert_eq!(ids, "64101\n64101\n", "{install:?}, {taken:?}");
            let expected = ["net", "uts", "ipc", "mnt", "pid", "user"];
            assert_eq!(changed(namespaces), expected, "{install:?}, {taken:?}");
        }
    }
}

#[test]
fn where_nothing_is_lent_leftovers_die_with_a_pid_namespace() {
    needs_root!();
    for ground in INSTALLS.map(Ground::new) {
        for (taken, _) in TAKEN {
            let program = word(ground.install.program());
            let script = format!("{DAEMON}; setsid sleep 100000 & exit 5");
            let words =
                without_privileges(taken, &[program, "--quiet", "-nic", "sh", "-c", &script]);
            let mut command = ground.outside_as_root(&words[0]);
            command.args(&words[1..]);
            assert_eq!(run(command).status.code(), Some(5), "{ground}, {taken:?}");
            ground.assert_nothing_left(taken[1]);
        }
    }
}

/// Runs `words` in a mount namespace of their own, in a chroot that shows all there is: user
/// namespaces cannot be made there. `mounts` is done before.
fn chrooted(mounts: &str, words: &[String]) -> Command {
    let root = scratch(0);
    let script = format!("mount --rbind / $0 && {mounts} exec chroot $0 \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .arg(root)
        .args(words)
        .stdin(Stdio::null())
        .current_dir("/");
    command
}

#[test]
fn why_nothing_was_lent_is_told_where_the_box_cannot_be_had() {
    needs_root!();
    for install in INSTALLS {
        let program = word(install.program());
        for (taken, reason) in TAKEN {
            for options in ["-n", "-nip", "-nic"] {
                let words = without_privileges(taken, &[program, options, "echo", "ran"]);
                let output = run(chrooted("", &words));
                let line = format!("; its set-id bit or capabilities had no effect: {reason}\n");
                assert_refused(&output, "unable to make a user namespace: ");
                assert!(
                    text(&output.stderr).ends_with(&line),
                    "{install:?} {taken:?} {output:?}"
                );
            }
        }
        let directory = install.program().parent().unwrap().display();
        let directory = format!("$0{directory}");
        let nosuid = format!(
            "mount --bind {directory} {directory} && mount -o remount,bind,nosuid {directory} &&"
        );
        let words = [&BECOME_USER[..], &["--", program, "-n", "echo", "ran"]].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let output = run(chrooted(&nosuid, &words));
        assert_refused(
            &output,
            "; its set-id bit or capabilities had no effect: its file system is mounted nosuid",
        );
        // And there it is lent.
        let output = run(chrooted("", &words));
        assert_eq!(text(&output.stdout), "ran\n", "{install:?}: {output:?}");
    }
}

/// With root's uid and none of root's rights (SECBIT_NOROOT) nothing is half lent: a set-id bit
/// gives no capabilities then, and file capabilities are given all the same.
#[test]
fn a_set_id_bit_that_lends_no_capabilities_leaves_no_uid_of_roots() {
    needs_root!();
    let script = [TELL_ALL, "grep '^Uid' /proc/self/status; ", TELL_NAMESPACES].concat();
    for install in INSTALLS {
        let taken = ["setpriv", "--securebits=+noroot"];
        let program = word(install.program());
        let words = without_privileges(&taken, &[program, "-nip", "sh", "-c", &script]);
        let told = ask(command_of(&words));
        let ids = "64101\n64101\nUid:\t64101\t64101\t64101\t64101\n";
        let namespaces = changed(told.strip_prefix(ids).unwrap());
        assert_eq!(
            namespaces.contains(&"user"),
            install == Install::SetUserId,
            "{install:?}"
        );
    }
}

/// execve(2): with a file system state that another process shares, set-id bits have no effect.
#[test]
fn with_a_shared_working_directory_the_box_is_one_of_a_user_namespace() {
    needs_root!();
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let share = boxes::compiled(
        &PROGRAM,
        r#"
        #define _GNU_SOURCE
        #include <sched.h>
        #include <signal.h>
        #include <sys/syscall.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            int status, pid = syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
            if (pid == 0) {
                execv(argv[1], argv + 1);
                return 99;
            }
            waitpid(pid, &status, 0);
            return WEXITSTATUS(status);
        }
        "#,
    );
    for install in INSTALLS {
        let mut command = Command::new(share);
        command
            .arg(install.program())
            .args(["-nip", "sh", "-c", TELL_NAMESPACES])
            .current_dir("/");
        become_user(&mut command);
        assert!(changed(&ask(command)).contains(&"user"), "{install:?}");
    }
}

// ---- Inside a user namespace.

/// Has `command` start as root of a new user namespace that maps every id to itself, with these
/// words written to a file of /proc there.
fn enter_user_namespace(command: &mut Command, file: &'static std::ffi::CStr, limit: &'static str) {
    fn write(path: &std::ffi::CStr, bytes: &[u8]) -> std::io::Result<()> {
        // SAFETY: a NUL-ended path.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        check(fd)?;
        // SAFETY: as many bytes as there are.
        check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as i64)?;
        // SAFETY: numbers only.
        check(unsafe { libc::close(fd) })
    }
    in_child(command, move || {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
        // SAFETY: the new process makes system calls only. It stays outside and writes the maps.
        let writer = unsafe { libc::fork() };
        check(writer)?;
        if writer == 0 {
            let mut byte = [0u8];
            // SAFETY: one byte.
            unsafe { libc::read(ends[0], byte.as_mut_ptr().cast(), 1) };
            // SAFETY: numbers only.
            let parent = unsafe { libc::getppid() };
            let mut done = true;
            for kind in [b"u", b"g"] {
                let mut path = [0u8; 64];
                let mut at = 0;
                let mut push = |bytes: &[u8]| {
                    path[at..at + bytes.len()].copy_from_slice(bytes);
                    at += bytes.len();
                };
                push(b"/proc/");
                let mut digits = [0u8; 10];
                let (mut number, mut first) = (parent, 10);
                while number > 0 {
                    first -= 1;
                    digits[first] = b'0' + (number % 10) as u8;
                    number /= 10;
                }
                push(&digits[first..]);
                push(b"/");
                push(kind);
                push(b"id_map\0");
                let path = std::ffi::CStr::from_bytes_until_nul(&path).unwrap();
                done &= write(path, b"0 0 4294967295").is_ok();
            }
            // SAFETY: no handlers of the test program's may run.
            unsafe { libc::_exit(i32::from(!done)) };
        }
        // SAFETY: numbers only.
        check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
        // SAFETY: one byte.
        check(unsafe { libc::write(ends[1], c"x".as_ptr().cast(), 1) } as i64)?;
        let mut status = 0;
        // SAFETY: writes one status.
        check(unsafe { libc::waitpid(writer, &raw mut status, 0) })?;
        if status != 0 {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        // SAFETY: numbers only.
        check(unsafe { libc::setresuid(0, 0, 0) })?;
        write(file, limit.as_bytes())
    });
}

fn become_uid(command: &mut Command, uid: u32) {
    in_child(command, move || {
        // SAFETY: no groups are read.
        check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
        // SAFETY: numbers only.
        check(unsafe { libc::setresgid(USER, USER, USER) })?;
        // SAFETY: numbers only.
        check(unsafe { libc::setresuid(uid, uid, uid) })
    });
}

/// The kernel counts namespaces by who makes them: the caller, not root.
#[test]
fn namespaces_are_charged_to_the_caller() {
    needs_root!();
    for install in INSTALLS {
        let mut shell = Command::new("sh");
        let uid = USER + 40 + install as u32;
        // The two that are held have nobody's input: a line that the shell waits for is its own.
        let script = format!(
            "as() {{ u=$1; shift; exec setpriv --reuid $u --regid {USER} --clear-groups \"$@\"; }}
            as {uid} \"$@\" sh -c 'echo one; exec tail -f /dev/null' & one=$!
            as {uid} \"$@\" sh -c 'echo two; exec tail -f /dev/null' & two=$!
            read x; (as {uid} \"$@\" echo three); echo $?
            (as {} \"$@\" echo other); \"$@\" echo root
            kill $one $two; wait",
            uid + 10
        );
        shell
            .args(["-c", &script, "sh"])
            .arg(install.program())
            .args(["-n", "--"]);
        shell.current_dir("/");
        enter_user_namespace(&mut shell, c"/proc/sys/user/max_net_namespaces", "2");
        let mut live = Live::start(shell);
        let mut first = [live.line(), live.line()];
        first.sort();
        assert_eq!(first, ["one", "two"], "{install:?}");
        live.say("");
        assert_eq!(live.line(), "125", "{install:?}");
        assert_eq!(live.line(), "other", "{install:?}");
        assert_eq!(live.line(), "root", "{install:?}");
        let (_, _, errors) = live.end();
        let line = "phasebox: unable to make a network namespace: ";
        assert!(
            errors.contains(line) && errors.contains("user.max_net_namespaces"),
            "{errors}"
        );
    }
}

#[test]
fn a_switch_that_forbids_user_namespaces_is_named() {
    needs_root!();
    for install in INSTALLS {
        for options in ["-n", "-nic", "-nip"] {
            let mut command = Command::new("setpriv");
            command
                .args(["--no-new-privs", "--"])
                .arg(install.program())
                .args([options, "echo", "ran"])
                .stdin(Stdio::null())
                .current_dir("/");
            enter_user_namespace(&mut command, c"/proc/sys/user/max_user_namespaces", "0");
            become_uid(&mut command, USER);
            let output = run(command);
            assert_refused(&output, "unable to make a user namespace: ");
            assert_refused(&output, "user.max_user_namespaces");
            assert_refused(&output, "no_new_privs is set");
        }
    }
}

#[test]
fn root_of_a_users_namespace_is_root_of_nothing_else() {
    needs_root!();
    for install in INSTALLS {
        let start = |words: &[&str]| {
            let mut command = Command::new("unshare");
            command
                .args(["-U", "-r"])
                .arg(install.program())
                .args(words)
                .stdin(Stdio::null())
                .current_dir("/");
            become_user(&mut command);
            command
        };
        let told = ask(start(&[
            "-nip",
            "sh",
            "-c",
            "cat /proc/self/uid_map; cat /etc/shadow 2>/dev/null || echo no",
        ]));
        let words: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(words, ["0", "64101", "1", "no"], "{install:?}");
        for id in ["250", "64102"] {
            let output = run(start(&["-n", "--user", id, "--group", id, "echo", "ran"]));
            assert_refused(&output, "unable to set ");
        }
    }
}

#[test]
fn in_a_user_namespace_no_group_that_denies_can_be_left() {
    needs_root!();
    let secret = file("secret", b"secret\n", 0o604);
    chown(&secret, Some(0), Some(64103)).unwrap();
    for install in INSTALLS {
        for options in ["-ni", "-nip"] {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=64101", "--regid=64101", "--groups=64103", "--inh-caps=-all", "setpriv", "--no-new-privs",])
                .arg(install.program())
                .args([options, "sh", "-c"])
                .arg("cat $0 2>/dev/null || echo closed; cat /proc/self/setgroups /proc/self/gid_map")
                .arg(&secret)
                .stdin(Stdio::null())
                .current_dir("/");
            let told = ask(command);
            let words: Vec<&str> = told.split_whitespace().collect();
            assert_eq!(
                words,
                ["closed", "deny", "64101", "64101", "1"],
                "{install:?}, {options}"
            );
        }
    }
}

/// A filter that makes calls seem to succeed takes no_new_privs: what it can fool has no privileges,
/// and finds that nothing has changed.
#[test]
fn a_filter_that_fakes_namespaces_is_seen_through() {
    needs_root!();
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let fake = boxes::compiled(
        &PROGRAM,
        r#"
        #include <stddef.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {4, code};
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program))
                return 98;
            execv(argv[1], argv + 1);
            return 99;
        }
        "#,
    );
    for install in INSTALLS {
        for options in ["-n", "-i", "-m", "-nip", "-nic"] {
            let mut command = Command::new(fake);
            command
                .arg(install.program())
                .args([options, "echo", "ran"])
                .stdin(Stdio::null())
                .current_dir("/");
            become_user(&mut command);
            assert_refused(&run(command), "unable to ");
        }
    }
}

// ---- Gentoo's sandbox, by its effects: no_new_privs, an environment, and an eye for files that can
// be read.

/// Variables that libraries obey, that sandbox sets, and that no loader would pass to a set-id
/// program; some are no text.
fn environment() -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs: [(&[u8], &[u8]); 16] = [
        (b"LD_PRELOAD", b""),
        (b"LD_LIBRARY_PATH", b"/nowhere:/usr/lib"),
        (b"LD_DEBUG_OUTPUT", b"/nowhere/x"),
        (b"SANDBOX_ON", b"1"),
        (b"SANDBOX_ACTIVE", b"armedandready"),
        (
            b"SANDBOX_WRITE",
            b"/dev/null:/var/tmp/portage/sys-apps/a b\xff",
        ),
        (b"SANDBOX_LIB", b"libsandbox.so"),
        (b"SANDBOX_LOG", b"/nowhere/sandbox-1.log"),
        (b"TMPDIR", b"/nowhere/temp"),
        (b"MALLOC_CHECK_", b"3"),
        (b"MALLOC_PERTURB_", b"17"),
        (b"GCONV_PATH", b"/nowhere"),
        (b"HOSTALIASES", b"/nowhere"),
        (b"LOCALDOMAIN", b"x"),
        (b"PATH", b"/nowhere:/bin:/usr/bin"),
        (b"EMPTY", b""),
    ];
    pairs
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .into()
}

/// Says AT_SECURE and then every variable as it is, with NUL bytes between them.
fn tell_environment() -> &'static str {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    boxes::compiled(
        &PROGRAM,
        r#"
        #include <stdio.h>
        #include <string.h>
        #include <sys/auxv.h>
        extern char **environ;
        int main(void) {
            printf("secure %lu", getauxval(AT_SECURE));
            putchar(0);
            for (char **variable = environ; *variable; variable++)
                fwrite(*variable, 1, strlen(*variable) + 1, stdout);
            return 0;
        }
        "#,
    )
}

#[test]
fn the_environment_reaches_a_sandboxed_command_byte_for_byte() {
    needs_root!();
    let preload = file("libpreloaded.so", &shared_library(), 0o755);
    for install in INSTALLS {
        for options in [&[][..], &["-ni"], &["-nic"], &["-nicpm"]] {
            for empty in [false, true] {
                let start = |program: Option<&Path>| {
                    let mut command =
                        Command::new(program.unwrap_or(Path::new(tell_environment())));
                    if program.is_some() {
                        command.args(options).arg(tell_environment());
                    }
                    command.env_clear().stdin(Stdio::null()).current_dir("/");
                    for (name, value) in environment().into_iter().filter(|_| !empty) {
                        let value = if name == b"LD_PRELOAD" {
                            word(&preload).into()
                        } else {
                            value
                        };
                        let text = std::ffi::OsString::from_vec;
                        command.env(text(name), text(value));
                    }
                    become_user(&mut command);
                    let output = run(command);
                    assert!(
                        output.status.success(),
                        "{install:?}, {options:?}: {output:?}"
                    );
                    output.stdout
                };
                let told = start(Some(install.program()));
                assert_eq!(text(&told), text(&start(None)), "{install:?}, {options:?}");
                assert_eq!(told, start(None));
                let first = if empty {
                    &b"secure 0\0"[..]
                } else {
                    b"preloaded\nsecure 0\0"
                };
                assert!(
                    told.starts_with(first),
                    "{install:?}, {options:?}: {}",
                    text(&told)
                );
            }
        }
    }
}

/// A library that says so when it is loaded.
fn shared_library() -> Vec<u8> {
    let source = "#include <unistd.h>\n__attribute__((constructor)) static void loaded(void)\n\
                  { (void)!write(1, \"preloaded\\n\", 10); }\n";
    let path = isolation::compile_with("libpreloaded.so", source, &["-shared", "-fPIC"]);
    fs::read(path).unwrap()
}

/// libsandbox looks into a file before it is executed, and traces what is static or set-id.
#[test]
fn who_may_call_the_program_cannot_read_it() {
    needs_root!();
    for install in INSTALLS {
        let mut command = Command::new("cat");
        command.arg(install.program());
        become_user(&mut command);
        let output = run(command);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{install:?}"
        );
    }
}

#[test]
fn below_a_sandbox_the_environment_is_as_it_was_and_the_box_complete() {
    needs_root!();
    for install in INSTALLS {
        for options in ["-ni", "-nic", "-nicpm"] {
            let start = |boxed: bool| {
                let mut command = Command::new("setpriv");
                command.args(["--no-new-privs", "--"]);
                if boxed {
                    command.arg(install.program()).args([options, "--"]);
                }
                command.arg(tell_environment());
                command.env_clear().stdin(Stdio::null()).current_dir("/");
                let text = std::ffi::OsString::from_vec;
                let all = environment().into_iter();
                command.envs(all.map(|(name, value)| (text(name), text(value))));
                become_user(&mut command);
                let output = run(command);
                assert_eq!(text_of(&output.stderr), "", "{install:?}, {options}");
                output.stdout
            };
            assert_eq!(start(true), start(false), "{install:?}, {options}");
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes)
}

// ---- What COMMAND cannot do.

#[test]
fn the_network_the_host_name_and_the_mounts_are_not_the_commands_to_change() {
    needs_root!();
    let probe = compile("net", include_str!("helpers/net.c"));
    let expected = "down EPERM\nroute EPERM\npacket EPERM\nraw EPERM\nhostname EPERM\n\
                    port EACCES\nsysctl EACCES\n";
    for install in INSTALLS {
        for options in ["-ni", "-nic", "-nicpm"] {
            for verb in ["powers", "powers-of-own"] {
                let mut command = install.command(&[options, word(&probe), verb]);
                command.env("HOST_NETWORK", &namespaces_of("self")["net"]);
                assert_eq!(ask(command), expected, "{install:?}, {options}, {verb}");
            }
        }
        let script = "mount -t tmpfs x /mnt 2>/dev/null && echo mounted
            mount --bind /tmp /mnt 2>/dev/null && echo bound; umount /proc 2>/dev/null && echo gone
            echo x >/proc/sys/kernel/shmmax && echo written; hostname";
        let mut command = install.command(&["-nicpm", "sh", "-c", script]);
        command.stderr(Stdio::null());
        assert_eq!(text(&run(command).stdout), "localhost\n", "{install:?}");
    }
}

#[test]
fn nobody_enters_a_box_from_outside() {
    needs_root!();
    for ground in INSTALLS.map(Ground::new) {
        let script = "echo ready; echo $$; read x";
        let mut live = Live::ready(ground.phasebox(&["-nicm", "sh", "-c", script]));
        let inside = live.line();
        for kind in ["-n", "-i", "-m", "-u"] {
            for before in [&[][..], &["unshare", "-U", "-r"]] {
                let words = [before, &["nsenter", "-t", &inside, kind, "true"]].concat();
                let mut command = ground.outside(words[0]);
                command.args(&words[1..]);
                assert!(!run(command).status.success(), "{ground}: {words:?}");
            }
        }
        live.end();
        ground.assert_nothing_left("nsenter");
    }
}

// ---- Cores.

#[test]
fn no_core_is_dumped_of_the_stub_and_the_commands_limit_is_the_callers() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in ["-nic", "-nicp"] {
            for signal in [libc::SIGQUIT, libc::SIGABRT, libc::SIGSEGV] {
                let script = "ulimit -c; trap '' HUP; echo ready; while :; do sleep 0.01; done";
                let mut command = ground.phasebox(&["--quiet", options, "sh", "-c", script]);
                let all = libc::RLIM_INFINITY;
                ground::limit(&mut command, libc::RLIMIT_CORE, all, all);
                command.current_dir(scratch(ground.uid));
                let mut live = Live::start(command);
                assert_eq!(live.line(), "unlimited");
                assert_eq!(live.line(), "ready");
                // To the stub, which passes it on, and dies of it.
                kill(live.stub(), signal);
                let status = live.status();
                assert_eq!(signal_of(status), Some(signal), "{ground}, {options}");
                let dumped = std::os::unix::process::ExitStatusExt::core_dumped(&status);
                assert!(!dumped, "{ground}, {options}: {status}");
                ground.assert_nothing_left("core");
            }
        }
        assert!(!Path::new("/core").exists());
    });
}

// ---- Names of the program.

#[test]
fn nothing_depends_on_the_name_that_the_program_is_called_by() {
    needs_root!();
    for install in INSTALLS {
        let place = scratch(USER);
        let link = place.join("link\u{1b}]0;x");
        symlink(install.program(), &link).unwrap();
        let mut command = Command::new(&link);
        command
            .arg0("/etc/shadow\n\u{1b}]0;x\u{7}")
            .args(["-nic", "sh", "-c", "exit 5"])
            .current_dir("/");
        become_user(&mut command);
        let output = run(command);
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(5), "")
        );

        let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").unwrap();
        if protected.trim() == "1" {
            let mut command = Command::new("ln");
            command.arg(install.program()).arg(place.join("hard"));
            become_user(&mut command);
            assert!(!run(command).status.success(), "{install:?}");
        }
        assert_eq!(fs::metadata(install.program()).unwrap().nlink(), 1);
    }
}

#[test]
fn messages_are_one_line_of_ascii_whatever_the_words() {
    needs_root!();
    let wild = "\u{1b}]0;x\u{7}\n\r\u{9b}31mé";
    let long = "x".repeat(100_000);
    for install in INSTALLS {
        for words in [
            &[wild][..],
            &["--frob", wild],
            &[&format!("--{wild}"), "true"],
            &[&format!("--cgroup={wild}"), "true"],
            &[&format!("--features={wild}"), "--phase", wild, "true"],
            &["-nic", wild],
            &["-nic", &format!("/{wild}")],
            &[&long],
            &["-n", &long],
            &[&format!("--{long}")],
        ] {
            let mut command = Command::new(install.program());
            command.arg0(wild).args(words).current_dir("/");
            become_user(&mut command);
            let output = run(command);
            assert!(
                matches!(output.status.code(), Some(125..=127)),
                "{words:?}: {output:?}"
            );
            let line = one_line(&output);
            assert!(line.starts_with("phasebox: unable to "), "{line}");
            assert!(line.len() < 1024, "{line}");
            assert!(
                line.bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic()),
                "{line:?}"
            );
        }
    }
}

#[test]
fn a_leftovers_name_is_shown_harmless() {
    needs_root!();
    for ground in Ground::all() {
        let place = scratch(USER);
        // proc(5), comm: what a parser of /proc/PID/stat would stumble over.
        let tool = place.join("a) R (\n\u{1b}[b");
        fs::copy("/bin/sleep", &tool).unwrap();
        let script = "setsid \"$0\" 100000 & echo ready; read x; exit 5";
        let mut live = Live::ready(ground.phasebox(&["-c", "sh", "-c", script, word(&tool)]));
        let leftover = |ground: &Ground| {
            let names: Vec<String> = ground.alive().into_iter().map(name).collect();
            names.iter().any(|name| name.starts_with("a) R ("))
        };
        eventually("the leftover runs", || leftover(&ground));
        let (status, _, errors) = live.end();
        assert_eq!(status.code(), Some(5));
        assert!(
            errors.starts_with("phasebox: killed 1 leftover: a) R (??[b ("),
            "{errors:?}"
        );
        assert_eq!(errors.matches('\n').count(), 1, "{errors:?}");
        ground.assert_nothing_left("named");
    }
}

// ---- Other users, other runs.

#[test]
fn the_boxs_group_is_closed_to_everybody_but_root() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        let mut live =
            Live::ready(ground.phasebox(&["-nic", "sh", "-c", "echo ready; read x; exit 5"]));
        let group = ground.only_box();
        for script in [
            "ls \"$0\"",
            "cat \"$0\"/cgroup.procs",
            "cat \"$0\"/cgroup.events",
            "echo 1 >\"$0\"/cgroup.kill",
            "echo 1 >\"$0\"/cgroup.freeze",
            "echo $$ >\"$0\"/cgroup.procs",
            "mkdir \"$0\"/x",
            "rmdir \"$0\"",
            "mv \"$0\" \"$0\"x",
            "chmod 777 \"$0\"",
            "exec 9<\"$0\" && flock -n 9",
        ] {
            let mut command = ground.outside("sh");
            command.args(["-c", script, word(&group)]);
            assert!(!run(command).status.success(), "{ground}: {script}");
            // Nor from inside.
        }
        live.say("");
        assert_eq!(live.status().code(), Some(5), "{ground}");
        ground.assert_nothing_left("closed");
    });
}

#[test]
fn only_members_of_the_group_may_call_and_their_groups_stay_theirs() {
    needs_root!();
    for install in INSTALLS {
        let mut command = Command::new(install.program());
        command.args(["-n", "echo", "ran"]).current_dir("/");
        in_child(&mut command, || {
            // SAFETY: reads one id.
            check(unsafe { libc::setgroups(1, [64_104].as_ptr()) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresgid(64_104, 64_104, 64_104) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresuid(64_104, 64_104, 64_104) })
        });
        let refused = command.spawn().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "{install:?}");

        for options in ["-ni", "-nic", "-nicp"] {
            let mut command = Command::new(install.program());
            command
                .args([
                    options,
                    "sh",
                    "-c",
                    "id -u; id -g; sed -n 's/^Groups:.//p' /proc/self/status",
                ])
                .current_dir("/");
            in_child(&mut command, || {
                // SAFETY: reads three ids.
                check(unsafe { libc::setgroups(3, [5, USER, 64_105].as_ptr()) })?;
                // SAFETY: numbers only.
                check(unsafe { libc::setresgid(64_104, 64_104, 64_104) })?;
                // SAFETY: numbers only.
                check(unsafe { libc::setresuid(64_104, 64_104, 64_104) })
            });
            let told = ask(command);
            let words: Vec<&str> = told.split_whitespace().collect();
            assert_eq!(
                words,
                ["64104", "64104", "5", "64101", "64105"],
                "{install:?}, {options}"
            );
        }
    }
}

#[test]
fn stubs_that_are_killed_all_day_leave_no_groups() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for _ in 0..25 {
            let mut live = Live::ready(ground.phasebox(&["-c", "sh", "-c", "echo ready; read x"]));
            kill(live.stub(), libc::SIGKILL);
            live.status();
        }
        ground.assert_gone_in_time("25 stubs");
    });
}

#[test]
fn an_administrator_who_kills_or_removes_the_group_ends_the_box() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in ["-nic", "-nicp"] {
            let script = format!("{DAEMON}; echo ready; read x");
            let mut live = Live::ready(ground.phasebox(&["--quiet", options, "sh", "-c", &script]));
            let group = ground.only_box();
            fs::write(group.join("cgroup.kill"), "1").unwrap();
            eventually("the group is removed", || {
                let _ = fs::remove_dir(&group);
                !group.exists()
            });
            assert_eq!(
                signal_of(live.status()),
                Some(libc::SIGKILL),
                "{ground}, {options}"
            );
            ground.assert_nothing_left("killed by root");
        }
    });
}

#[test]
fn a_box_goes_on_when_its_caller_dies() {
    needs_root!();
    for ground in Ground::all() {
        let mut command = ground.outside("sh");
        let script = "exec 3<&0; \"$0\" --quiet -c sh -c 'setsid sleep 100000 & echo ready; read x; echo done' <&3 & wait";
        command.args(["-c", script]).arg(ground.install.program());
        let mut live = Live::ready(command);
        kill(live.stub(), libc::SIGKILL);
        live.status();
        live.say("");
        assert_eq!(live.line(), "done", "{ground}");
        ground.assert_gone_in_time("the caller is dead");
    }
}

// ---- Signals.

#[test]
fn what_the_box_sends_to_its_stub_or_its_process_group_is_not_sent_back() {
    needs_root!();
    for ground in Ground::all() {
        let script = "n=0; trap 'n=$((n+1))' TERM; trap 'echo $n; exit 5' WINCH
            kill -TERM $PPID; kill -TERM 0; echo ready
            while :; do sleep 0.01; done";
        let mut command = ground.phasebox(&["--quiet", "-nic", "sh", "-c", script]);
        command.process_group(0);
        let mut live = Live::ready(command);
        // Behind the others: lower numbers are read first.
        kill(live.stub(), libc::SIGWINCH);
        // What it sent to the group that it is in.
        assert_eq!(live.line(), "1", "{ground}");
        assert_eq!(live.status().code(), Some(5), "{ground}");
        ground.assert_nothing_left("signals");
    }
}

#[test]
fn a_signal_to_the_stub_reaches_the_command_through_an_init_and_its_end_ends_the_box() {
    needs_root!();
    for ground in Ground::all() {
        let script = format!(
            "{DAEMON}; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
        );
        let words = ["--quiet", "-nicpm", "sh", "-c", &script];
        let mut live = Live::ready(ground.phasebox(&words));
        kill(live.stub(), libc::SIGTERM);
        assert_eq!(live.line(), "term", "{ground}");
        assert_eq!(live.status().code(), Some(5), "{ground}");
        ground.assert_nothing_left("an init");

        let mut live = Live::ready(ground.phasebox(&words));
        let init = |ground: &Ground| {
            ground
                .alive()
                .into_iter()
                .find(|pid| name(*pid) == "phasebox-init")
        };
        eventually("there is an init", || init(&ground).is_some());
        // The caller may: it is a process of the caller's.
        let mut command = ground.outside("kill");
        command.args(["-KILL", &init(&ground).unwrap().to_string()]);
        assert!(run(command).status.success());
        assert_eq!(signal_of(live.status()), Some(libc::SIGKILL), "{ground}");
        ground.assert_nothing_left("an init that was killed");
    }
}

// ---- How it ends.

#[test]
fn the_command_that_is_killed_and_the_one_that_cannot_be_executed_are_told_apart() {
    needs_root!();
    let place = scratch(USER);
    let script = place.join("script");
    fs::write(&script, "#!/nowhere/sh\nexit 0\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let no_program = place.join("none");
    fs::write(&no_program, "exit 0\n").unwrap();
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o755)).unwrap();
    let private = scratch(0);
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy("/bin/true", private.join("there")).unwrap();
    for_each_ground(Ground::all(), |ground| {
        for options in ["-ni", "-nic", "-nicp"] {
            for signal in [1, 2, 6, 9, 11, 15, 24, 31, 64] {
                let script = format!("ulimit -c 0; {DAEMON}; kill -{signal} $$");
                let script = if options == "-ni" {
                    script.replace(DAEMON, ":")
                } else {
                    script
                };
                let status =
                    run(ground.phasebox(&["--quiet", options, "sh", "-c", &script])).status;
                assert_eq!(
                    signal_of(status),
                    Some(signal),
                    "{ground}, {options}: {status}"
                );
                ground.assert_nothing_left("killed");
            }
            for (name, code, errno) in [
                (Path::new("/nowhere/x"), 127, "ENOENT"),
                (&script, 126, "ELIBACC"),
                (&no_program, 126, "ENOEXEC"),
                (&place, 126, "EACCES"),
                // What only root could see looks like what is not there.
                (&private.join("there"), 126, "EACCES"),
                (&private.join("not-there"), 126, "EACCES"),
            ] {
                let output = run(ground.phasebox(&[options, word(name)]));
                let line = one_line(&output);
                assert_eq!(
                    output.status.code(),
                    Some(code),
                    "{ground}, {options}: {line}"
                );
                assert!(line.contains(&format!("({errno})")), "{line}");
                ground.assert_nothing_left("not executed");
            }
        }
    });
}

/// personality(2): a version of the kernel that is not the kernel's, another layout of memory.
#[test]
fn no_personality_confuses_the_program() {
    needs_root!();
    for ground in INSTALLS.map(Ground::new) {
        // UNAME26, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, all.
        for bits in [
            0x0002_0000,
            0x0020_0000,
            0x0040_0000,
            0x0004_0000,
            0x0010_0000,
            0x0076_0000,
        ] {
            for options in ["-ni", "-nic", "-nicp"] {
                let script = format!("{DAEMON}; readlink /proc/self/ns/net; exit 5");
                let script = if options == "-ni" {
                    script.replace(DAEMON, ":")
                } else {
                    script
                };
                let mut command = ground.phasebox(&["--quiet", options, "sh", "-c", &script]);
                call_in_child(&mut command, libc::SYS_personality, [bits, 0, 0, 0]);
                let output = run(command);
                assert_eq!(
                    output.status.code(),
                    Some(5),
                    "{ground}, {bits:#x}: {output:?}"
                );
                assert_ne!(text(&output.stdout).trim(), namespaces_of("self")["net"]);
                ground.assert_nothing_left("personality");
            }
        }
    }
}

// ---- What waits.

#[test]
fn what_waits_holds_nothing_of_the_callers() {
    needs_root!();
    for_each_ground(Ground::all(), |ground| {
        for options in ["-nic", "-nicp"] {
            let place = scratch(USER);
            let lock = fs::File::create(place.join("lock")).unwrap();
            let (reader, writer) = ground::pipe();
            let script = "exec 8>&- 9>&-; cd /; echo ready; read x; exit 5";
            let mut command = ground.phasebox(&[options, "sh", "-c", script]);
            command.current_dir(&place);
            let (writer_fd, lock_fd) = (writer.as_raw_fd(), lock.as_raw_fd());
            in_child(&mut command, move || {
                // SAFETY: numbers only.
                check(unsafe { libc::dup2(writer_fd, 9) })?;
                // SAFETY: numbers only.
                check(unsafe { libc::dup2(lock_fd, 8) })
            });
            let mut live = Live::ready(command);
            drop(writer);
            // The end of the pipe, while the box runs.
            let rest = boxes::Lines::new(reader.into()).rest();
            assert_eq!(rest, "", "{ground}, {options}");
            for pid in ground.alive() {
                let at = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
                assert_eq!(at, Path::new("/"), "{ground}: {}", name(pid));
                for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
                    let target = fs::read_link(entry.path()).unwrap_or_default();
                    assert_ne!(target, place.join("lock"), "{ground}: {}", name(pid));
                }
            }
            live.say("");
            assert_eq!(live.status().code(), Some(5), "{ground}, {options}");
            ground.assert_nothing_left("descriptors");
        }
    });
}

/// A file system whose server answers until it is stopped.
const SERVER: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
static char in[1 << 20];
int main(int argc, char **argv)
{
	char options[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (argc < 2 || fd < 0)
		return 77;
	sprintf(options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	if (mount("fuse", argv[1], "fuse", 0, options) != 0)
		return 78;
	printf("mounted\n");
	fflush(stdout);
	for (;;) {
		struct fuse_in_header *request = (void *)in;
		struct {
			struct fuse_out_header header;
			union {
				struct fuse_init_out init;
				struct fuse_attr_out attr;
				struct fuse_entry_out entry;
			};
		} out;
		size_t body = 0;
		if (read(fd, in, sizeof in) < (long)sizeof *request)
			return 0;
		memset(&out, 0, sizeof out);
		switch (request->opcode) {
		case FUSE_INIT:
			out.init.major = FUSE_KERNEL_VERSION;
			out.init.minor = FUSE_KERNEL_MINOR_VERSION;
			out.init.max_write = 4096;
			body = sizeof out.init;
			break;
		case FUSE_GETATTR:
			out.attr.attr_valid = 0;
			out.attr.attr.ino = 1;
			out.attr.attr.mode = S_IFDIR | 0777;
			out.attr.attr.nlink = 1;
			body = sizeof out.attr;
			break;
		case FUSE_ACCESS:
			break;
		case FUSE_FORGET:
			continue;
		default:
			out.header.error = -ENOSYS;
		}
		out.header.unique = request->unique;
		out.header.len = sizeof out.header + body;
		if (write(fd, &out, out.header.len) < 0)
			return 79;
	}
}
"#;

/// The program's own processes look at nothing that lies there.
#[test]
fn a_file_system_that_does_not_answer_stops_the_command_at_most() {
    needs_root!();
    if !Path::new("/dev/fuse").exists() {
        skip!("needs /dev/fuse");
    }
    let server = compile("server", SERVER);
    for ground in Ground::all() {
        let place = scratch(USER);
        // All of it in a mount namespace of its own, whose end unmounts it.
        let script = "\"$1\" \"$2\" & echo $!; read x
            exec setpriv --reuid 64101 --regid 64101 --clear-groups \
                sh -c 'cd \"$1\" && echo there; read x; shift; exec \"$@\"' sh \"$2\" ";
        for (hanging, words) in [
            // A shell would look at its working directory.
            (false, "$3 --quiet -c /bin/echo boxed"),
            (true, "$3 --quiet -c /bin/ls $2"),
        ] {
            let mut command = ground.outside_as_root("unshare");
            command
                .args(["-m", "--propagation", "private", "sh", "-c"])
                .arg([script, words].concat())
                .arg("sh")
                .args([&server, &place, ground.install.program()]);
            let mut live = Live::start(command);
            let mut first = [live.line(), live.line()];
            first.sort();
            assert_eq!(first[1], "mounted");
            let server: u32 = first[0].parse().unwrap();
            live.say("");
            assert_eq!(live.line(), "there", "{ground}");
            kill(server, libc::SIGSTOP);
            eventually("the server is stopped", || state(server) == Some('T'));
            live.say("");
            if hanging {
                eventually("the command runs", || {
                    ground.alive().into_iter().any(|pid| name(pid) == "ls")
                });
                kill(live.stub(), libc::SIGKILL);
                live.status();
            } else {
                assert_eq!(live.line(), "boxed", "{ground}");
                assert_eq!(live.status().code(), Some(0), "{ground}");
            }
            eventually("all but the server are dead", || ground.alive() == [server]);
            kill(server, libc::SIGKILL);
            ground.assert_gone_in_time("a dead file system");
        }
    }
}

// ---- Installation.

#[test]
fn make_installs_with_owner_mode_and_capabilities_in_the_order_that_keeps_them() {
    needs_root!();
    let make = |target: &str, group: &str, more: &[&str]| {
        let root = scratch(0);
        let mut command = Command::new("make");
        command
            .arg("-C")
            .arg(env!("CARGO_MANIFEST_DIR"))
            .args([target, "PREFIX=/usr", "CARGO=true"])
            .arg(format!("PROGRAM={}", env!("CARGO_BIN_EXE_phasebox")))
            .arg(format!("DESTDIR={}", root.display()))
            .arg(format!("GROUP={group}"))
            .args(more)
            .env_remove("MAKEFLAGS");
        (run(command), root.join("usr/bin/phasebox"))
    };
    let groups = fs::read_to_string("/etc/group").unwrap();
    let entry = groups
        .lines()
        .find(|line| line.starts_with("tty:"))
        .unwrap();
    let gid: u32 = entry.split(':').nth(2).unwrap().parse().unwrap();
    let (output, program) = make("install-setuid", "tty", &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = fs::metadata(&program).unwrap();
    let mode = found.permissions().mode() & 0o7777;
    assert_eq!((found.uid(), found.gid(), mode), (0, gid, 0o4710));

    let (output, program) = make("install-caps", "tty", &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = fs::metadata(&program).unwrap();
    let mode = found.permissions().mode() & 0o7777;
    assert_eq!((found.uid(), found.gid(), mode), (0, gid, 0o710));
    let mut value = [0u8; 64];
    let path = CString::new(word(&program)).unwrap();
    let name = c"security.capability";
    // SAFETY: NUL-ended strings and an array of the length given.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), 64) };
    assert_eq!(length, 20);
    let permitted = u32::from_le_bytes(value[4..8].try_into().unwrap());
    assert_eq!(permitted, CAPABILITIES);
    // Permitted, not effective: with a bounding set that lacks one it still starts.
    assert_eq!(value[0] & 1, 0);

    for target in ["install-setuid", "install-caps"] {
        for (group, more) in [("no-such-group", &[][..]), ("tty", &["SETUID=no"])] {
            let (output, program) = make(target, group, more);
            assert!(!output.status.success(), "{target} {group} {more:?}");
            assert!(!program.exists(), "{target} {group} {more:?}");
        }
    }
}

/// In a chroot without /proc nothing is parsed that lies there, and the box is the same.
#[test]
fn without_proc_the_box_is_made_and_emptied() {
    needs_root!();
    let tool = ground::compile_static(
        "tool",
        "#include <unistd.h>\nint main(void) { if (fork() == 0) { setsid(); for (;;) pause(); } return 5; }\n",
    );
    for ground in Ground::all() {
        let root = scratch(0);
        for (from, to) in [(ground.install.program(), "phasebox"), (&tool, "tool")] {
            let mut copy = Command::new("cp");
            copy.args(["--preserve=all", word(from)]).arg(root.join(to));
            assert!(copy.status().unwrap().success());
        }
        let mut command = ground.outside_as_root("/phasebox");
        command.args(["-nic", "/tool"]);
        change_root(&mut command, &root);
        become_user(&mut command);
        let output = run(command);
        assert_eq!(output.status.code(), Some(5), "{ground}: {output:?}");
        assert!(
            text(&output.stderr).starts_with("phasebox: killed 1 leftover: pid ("),
            "{output:?}"
        );
        ground.assert_nothing_left("no /proc");
    }
}
