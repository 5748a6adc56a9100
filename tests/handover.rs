//! Root hands over to another user: who neither types into root's terminal nor reads root's keys,
//! and whom the terminal's keys reach all the same.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
#[path = "common/caller.rs"]
#[allow(dead_code)]
mod caller;
mod common;
#[path = "common/ground.rs"]
mod ground;

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use boxes::Lines;
use caller::{check, in_child};
use common::installed::*;
use common::*;
use ground::{Ground, terminal, word};

/// Each takes another path through the program.
const WAYS: [&[&str]; 6] = [&[], &["-n"], &["-c"], &["-p"], &["-nic"], &["-nicpm"]];

/// Those that can be had.
fn ways() -> Vec<&'static [&'static str]> {
    let needs_namespaces = |way: &&[&str]| way.concat().contains('p');
    WAYS.into_iter()
        .filter(|way| !emulated() || !needs_namespaces(way))
        .collect()
}

const TO_USER: [&str; 4] = ["--user", "64101", "--group", "64101"];

/// The program's words to hand `command` over in a way.
fn words<'a>(way: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [way, &TO_USER, &["--quiet", "--"], command].concat()
}

/// Tries what a process may do to a terminal that it controls, and to others' keys.
fn hand() -> &'static str {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    boxes::compiled(
        &PROGRAM,
        r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <linux/keyctl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/ioctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        #define TRY(name, call) \
            printf("%s %s\n", name, (call) < 0 ? strerrorname_np(errno) : "done")
        int main(int argc, char **argv) {
            char value[64] = "";
            if (argc > 1 && !strcmp(argv[1], "type")) {
                TRY("TIOCSTI", ioctl(0, TIOCSTI, "x"));
                TRY("TIOCSCTTY", ioctl(0, TIOCSCTTY, 0));
                TRY("/dev/tty", open("/dev/tty", O_RDWR));
                return 0;
            }
            if (argc > 2 && !strcmp(argv[1], "console")) {
                /* TIOCL_GETSHIFTSTATE: as privileged as pasting, and changes nothing. */
                value[0] = 6;
                TRY("TIOCLINUX", ioctl(open(argv[2], O_RDONLY | O_NOCTTY), TIOCLINUX, value));
                TRY("TIOCLINUX", ioctl(0, TIOCLINUX, value));
                return 0;
            }
            /* In a session keyring of its own: a key, and then a program. */
            if (argc > 2 && !strcmp(argv[1], "with-key")) {
                long id;
                if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) < 0)
                    return 98;
                id = syscall(SYS_add_key, "user", "phasebox:test", "secret", 6L,
                             KEY_SPEC_SESSION_KEYRING);
                if (id < 0)
                    return 97;
                snprintf(value, sizeof value, "%ld", id);
                setenv("KEY", value, 1);
                execvp(argv[2], argv + 2);
                return 99;
            }
            if (argc > 1 && !strcmp(argv[1], "read-key")) {
                long id = atol(getenv("KEY")), found;
                TRY("read", syscall(SYS_keyctl, KEYCTL_READ, id, value, sizeof value));
                found = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user",
                                "phasebox:test", 0L);
                TRY("search", found);
                TRY("link", syscall(SYS_keyctl, KEYCTL_LINK, id, KEY_SPEC_PROCESS_KEYRING));
                puts(value);
                return 0;
            }
            /* Says that it is there, and stays. */
            if (argc > 1 && !strcmp(argv[1], "wait"))
                for (write(1, "ready\n", 6);;)
                    pause();
            return 96;
        }
        "#,
    )
}

/// A process that leads a session with a terminal.
struct Session {
    child: Child,
    master: Option<OwnedFd>,
    screen: Lines,
}

impl Session {
    fn start(mut command: Command) -> Session {
        let (master, slave) = terminal();
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave)
            .current_dir("/");
        in_child(&mut command, || {
            // SAFETY: numbers only.
            check(unsafe { libc::setsid() })?;
            // SAFETY: numbers only.
            check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })
        });
        Session {
            child: command.spawn().unwrap(),
            screen: Lines::new(master.try_clone().unwrap()),
            master: Some(master),
        }
    }

    /// Presses keys.
    fn press(&self, keys: &str) {
        let mut master = fs::File::from(self.master.as_ref().unwrap().try_clone().unwrap());
        master.write_all(keys.as_bytes()).unwrap();
    }

    /// Hangs up.
    fn hang_up(&mut self) {
        // Both descriptors of the master.
        self.screen = Lines::new(fs::File::open("/dev/null").unwrap().into());
        self.master = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes in a control group and below.
fn members(group: &Path) -> Vec<u32> {
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<u32> = procs.lines().map(|line| line.parse().unwrap()).collect();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(members(&entry.path()));
        }
    }
    found
}

/// The program, called by root in a control group of the test's own.
fn phasebox_in(group: &TestGroup, words: &[&str]) -> Command {
    let mut command = phasebox(words);
    group.contain(&mut command);
    command
}

// ---- The terminal.

#[test]
fn a_user_whom_root_hands_over_to_cannot_type_into_roots_terminal() {
    needs_root!();
    let group = TestGroup::new("typing");
    // Without the program it can, where the kernel lets it.
    let mut plain = Command::new("setpriv");
    plain.args([
        "--reuid=64101",
        "--regid=64101",
        "--clear-groups",
        hand(),
        "type",
    ]);
    group.contain(&mut plain);
    let mut session = Session::start(plain);
    let told = session.screen.until("/dev/tty done");
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or("1".into());
    assert_eq!(
        told.contains("TIOCSTI done"),
        legacy.trim() == "1",
        "{told}"
    );
    for way in ways() {
        let mut session = Session::start(phasebox_in(&group, &words(way, &[hand(), "type"])));
        let told = session.screen.until("/dev/tty ENXIO");
        let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
        // Where the kernel has it switched off altogether it says so first.
        let refused = if legacy.trim() == "1" {
            "TIOCSTI EPERM"
        } else {
            "TIOCSTI EIO"
        };
        assert_eq!(
            lines,
            [refused, "TIOCSCTTY EPERM", "/dev/tty ENXIO"],
            "{way:?}"
        );
        assert!(wait_for(&mut session.child).success(), "{way:?}");
    }
}

/// tty_ioctl(2), TIOCLINUX: for virtual consoles alone.
#[test]
fn a_user_whom_root_hands_over_to_cannot_paste_into_roots_console() {
    needs_root!();
    let group = TestGroup::new("pasting");
    let console = Path::new("/dev/tty1");
    let opened = fs::OpenOptions::new().read(true).open(console);
    for way in ways() {
        let mut command = phasebox_in(&group, &words(way, &[hand(), "console", word(console)]));
        if let Ok(console) = &opened {
            command.stdin(console.try_clone().unwrap());
        }
        let told = text(&run(command).stdout);
        let lines: Vec<&str> = told.lines().collect();
        // The device itself is root's; what root left open is no terminal of the user's.
        let second = if opened.is_ok() {
            "TIOCLINUX EPERM"
        } else {
            "TIOCLINUX ENOTTY"
        };
        assert_eq!(lines, ["TIOCLINUX EBADF", second], "{way:?}");
    }
}

#[test]
fn the_command_of_another_user_leads_a_session_of_its_own() {
    needs_root!();
    for way in ways() {
        let group = TestGroup::new("session");
        let script = "echo ready; read x";
        let mut session = Session::start(phasebox_in(&group, &words(way, &["sh", "-c", script])));
        session.screen.until("ready");
        let stub = session.child.id();
        let mut found = 0;
        for pid in members(&group.0) {
            // SAFETY: numbers only.
            let leader = unsafe { libc::getsid(pid as i32) } as u32;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let terminal = stat
                .rsplit_once(") ")
                .unwrap()
                .1
                .split(' ')
                .nth(4)
                .unwrap()
                .to_owned();
            if name(pid) == "sh" {
                assert_eq!((leader, terminal.as_str()), (pid, "0"), "{way:?}");
                found += 1;
            } else if name(pid) == "phasebox-guard" {
                assert_eq!((leader, terminal.as_str()), (pid, "0"), "{way:?}");
            } else {
                // The stub, and an init.
                assert_eq!(leader, stub, "{way:?}: {}", name(pid));
            }
        }
        assert_eq!(found, 1, "{way:?}");
        session.press("\n");
        assert_eq!(wait_for(&mut session.child).code(), Some(0), "{way:?}");
    }
}

#[test]
fn keys_and_hangups_of_the_terminal_reach_another_users_command_once() {
    needs_root!();
    for way in ways() {
        for (keys, signal) in [
            ("\x03", libc::SIGINT),
            ("\x1c", libc::SIGQUIT),
            ("", libc::SIGHUP),
        ] {
            let group = TestGroup::new("keys");
            // The shell waits for a child, which has to get the key too; and what left the session
            // dies with the box, where there is one.
            let daemon = match way.iter().any(|it| it.contains(['c', 'p'])) {
                true => "setsid sleep 100000 &",
                false => ":;",
            };
            let script = format!("ulimit -c 0; {daemon} {} wait; :", hand());
            let script = script.as_str();
            let command = phasebox_in(&group, &words(way, &["sh", "-c", script]));
            let mut session = Session::start(command);
            session.screen.until("ready");
            if keys.is_empty() {
                session.hang_up();
            } else {
                session.press(keys);
            }
            let status = wait_for(&mut session.child);
            assert_eq!(signal_of(status), Some(signal), "{way:?}: {status}");
            eventually("nothing is left", || members(&group.0).is_empty());
        }
    }
    for way in ways() {
        let group = TestGroup::new("once");
        let script = "trap 'echo int' INT; trap 'echo winch' WINCH; trap 'echo usr; exit 5' USR1
            echo ready; while :; do sleep 0.01; done";
        let mut session = Session::start(phasebox_in(&group, &words(way, &["sh", "-c", script])));
        session.screen.until("ready");
        session.press("\x03");
        session.screen.until("int\r\n");
        let size = libc::winsize {
            ws_row: 31,
            ws_col: 97,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let master = session.master.as_ref().unwrap().as_raw_fd();
        // SAFETY: reads one winsize.
        assert_eq!(
            unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) },
            0
        );
        session.screen.until("winch\r\n");
        kill(session.child.id(), libc::SIGUSR1);
        let rest = session.screen.until("usr\r\n");
        assert_eq!(rest, "usr\r\n", "{way:?}: nothing comes twice");
        assert_eq!(wait_for(&mut session.child).code(), Some(5), "{way:?}");
    }
}

#[test]
fn another_users_command_is_stopped_by_the_key_and_goes_on_in_the_foreground() {
    needs_root!();
    for way in ways() {
        let group = TestGroup::new("stop");
        let script = "echo ready; read x; echo got $x; exit 5";
        let line = words(way, &["sh", "-c", script]);
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "set -m; \"$@\"; echo status $?; fg >/dev/null; echo end $?",
            "sh",
            word(program()),
        ]);
        shell.args(line);
        group.contain(&mut shell);
        let mut session = Session::start(shell);
        session.screen.until("ready");
        session.press("\x1a");
        // 128 + SIGSTOP: so the command was stopped, since no terminal stops it.
        session.screen.until("status 147");
        session.screen.until("\n");
        session.press("word\n");
        session.screen.until("got word");
        session.screen.until("end 5");
        assert!(wait_for(&mut session.child).success(), "{way:?}");
        eventually("nothing is left", || members(&group.0).is_empty());
    }
}

/// Between the key and `fg` nothing of the box runs.
#[test]
fn while_it_is_stopped_nothing_of_another_users_command_runs() {
    needs_root!();
    for way in [&["-c"][..], &["-p"], &["-nicpm"]] {
        let group = TestGroup::new("stopped");
        let script = "while :; do :; done & echo ready; while :; do :; done";
        let line = words(way, &["sh", "-c", script]);
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "set -m; trap : INT; \"$@\"; echo status $?; read x; fg >/dev/null; echo end $?",
            "sh",
        ]);
        shell.arg(program()).args(line);
        group.contain(&mut shell);
        let mut session = Session::start(shell);
        session.screen.until("ready");
        session.press("\x1a");
        session.screen.until("status 147");
        let busy: Vec<u32> = members(&group.0)
            .into_iter()
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/status"))
                    .unwrap()
                    .contains("\nUid:\t64101\t")
            })
            .collect();
        assert_eq!(busy.len(), 2, "{way:?}");
        let used = || busy.iter().map(|pid| ticks(*pid)).sum::<u64>();
        eventually("they stand still", || {
            let before = used();
            std::thread::sleep(std::time::Duration::from_millis(100));
            used() == before
        });
        session.press("\n");
        let before = used();
        eventually("they go on", || used() > before);
        session.press("\x03");
        session.screen.until("end 130");
        assert!(wait_for(&mut session.child).success(), "{way:?}");
        eventually("nothing is left", || members(&group.0).is_empty());
    }
}

#[test]
fn another_users_command_cannot_signal_roots_processes() {
    needs_root!();
    for way in ways() {
        let group = TestGroup::new("signals");
        let script = "kill -KILL $PPID 2>/dev/null && echo killed; kill -STOP $PPID 2>/dev/null && echo stopped
            kill -KILL -1 2>/dev/null; echo alive; exit 5";
        let script = if way.iter().any(|it| it.contains('p')) {
            script
        } else {
            // Other tests' processes are the same user's.
            &script.replace("kill -KILL -1", "kill -KILL 0x")
        };
        let output = run(phasebox_in(&group, &words(way, &["sh", "-c", script])));
        assert_eq!(output.status.code(), Some(5), "{way:?}: {output:?}");
        assert_eq!(text(&output.stdout), "alive\n", "{way:?}");
        eventually("nothing is left", || members(&group.0).is_empty());
    }
}

// ---- Keys.

/// The keyring's owner runs `words` with the key in its session keyring.
fn with_key(mut command: Command) -> String {
    command.stdin(Stdio::null()).current_dir("/");
    let output = run(command);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn root_s_session_keyring_stays_roots() {
    needs_root!();
    let mut plain = Command::new(hand());
    plain.args([
        "with-key",
        "setpriv",
        "--reuid=64101",
        "--regid=64101",
        "--clear-groups",
    ]);
    plain.args([hand(), "read-key"]);
    // Without the program the user has it.
    assert!(with_key(plain).ends_with("secret\n"));
    for way in ways() {
        let mut command = Command::new(hand());
        command.args(["with-key", word(program())]);
        command.args(words(way, &[hand(), "read-key"]));
        let told = with_key(command);
        assert_eq!(
            told, "read EACCES\nsearch ENOKEY\nlink EACCES\n\n",
            "{way:?}"
        );
    }
}

#[test]
fn who_runs_a_command_as_oneself_keeps_the_session_keyring() {
    needs_root!();
    for way in ways() {
        let mut command = Command::new(hand());
        command.args(["with-key", word(program())]);
        command.args(way).args(["--", hand(), "read-key"]);
        assert!(with_key(command).ends_with("secret\n"), "{way:?}");
        for install in INSTALLS {
            let mut command = Command::new(hand());
            command.args(["with-key", word(install.program())]);
            command.args(way).args(["--", hand(), "read-key"]);
            become_user(&mut command);
            assert!(
                with_key(command).ends_with("secret\n"),
                "{install:?}, {way:?}"
            );
        }
    }
}

/// A user's own box stays in the terminal's session: job control is as without the box.
#[test]
fn a_users_own_command_keeps_the_terminal() {
    needs_root!();
    for ground in INSTALLS.map(Ground::new) {
        for way in ways() {
            let mut command = ground.phasebox(way);
            command.args([
                "--quiet",
                "--",
                "sh",
                "-c",
                "echo ready >/dev/tty; read x; exit 5",
            ]);
            let mut session = Session::start(command);
            session.screen.until("ready");
            session.press("\n");
            assert_eq!(
                wait_for(&mut session.child).code(),
                Some(5),
                "{ground}, {way:?}"
            );
        }
        for way in WAYS {
            let mut shell = ground.outside("sh");
            let script = "set -m; \"$@\"; echo status $?; fg >/dev/null; echo end $?";
            shell.args(["-c", script, "sh", word(ground.install.program())]);
            let command = "echo ready; read x; echo got $x; exit 5";
            shell.args(way).args(["--quiet", "--", "sh", "-c", command]);
            let mut session = Session::start(shell);
            session.screen.until("ready");
            session.press("\x1a");
            // 128 + SIGTSTP.
            session.screen.until("status 148");
            session.screen.until("\n");
            session.press("word\n");
            session.screen.until("got word");
            session.screen.until("end 5");
            assert!(wait_for(&mut session.child).success(), "{ground}, {way:?}");
        }
        ground.assert_nothing_left("terminal");
    }
}
