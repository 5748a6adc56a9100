//! Nothing that a command left behind outlives its box, whoever dies first; and nothing else dies.
#![allow(missing_docs, unsafe_code)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use boxes::Kind::*;
use boxes::*;
use common::*;

/// A daemon as they come: detached twice, deaf to what it can be deaf to.
const DAEMON: &str = "(setsid sh -c 'trap \"\" HUP INT QUIT TERM TSTP; sleep 100000; :' &)";

/// A command that starts such daemons, says that it is ready, and waits for a line.
fn with_daemons(end: &str) -> String {
    format!("{DAEMON}; {DAEMON}; setsid sleep 100000 & echo ready; read x; {end}")
}

/// What a box is asked for, and one such box.
fn ready(kind: Kind, end: &str) -> (Scene, Live) {
    let scene = Scene::new(kind);
    let live = Live::ready(scene.boxed_with(&["--quiet"], &["sh", "-c", &with_daemons(end)]));
    (scene, live)
}

/// The pid of the process that has this word among its arguments.
fn pid_of(word: &str) -> u32 {
    let mut found = Vec::new();
    eventually("there is one process", || {
        found = alive(word);
        found.len() == 1
    });
    found[0]
}

/// The line about leftovers, taken apart: how many, and what is named.
fn leftovers(errors: &str) -> (usize, Vec<String>) {
    let line = errors
        .strip_prefix("phasebox: killed ")
        .unwrap_or_else(|| panic!("{errors:?}"));
    let line = line.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{errors:?}");
    let (number, rest) = line.split_once(' ').unwrap();
    let number = number.parse().unwrap();
    let names = rest.strip_prefix(if number == 1 {
        "leftover: "
    } else {
        "leftovers: "
    });
    (
        number,
        names.unwrap().split(", ").map(str::to_owned).collect(),
    )
}

// ---- Ends of the command.

/// Bug 566414 (2): the reader of the build's output waited for the end of a forgotten process.
#[test]
fn a_detached_daemon_is_dead_and_the_reader_of_its_output_is_at_end_of_file() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.script(&format!("{DAEMON}; echo said; exit 3")));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stdout), "said\n");
    }
}

/// Bug 566414: `sleep 60 | ( false || die )` hung for a minute.
#[test]
fn a_pipeline_whose_end_kills_the_command_does_not_hang() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.script("sleep 100000 | ( false || kill -TERM $$ )"));
        scene.assert_nothing_left();
        assert_eq!(signal_of(output.status), Some(libc::SIGTERM), "{kind:?}");
    }
}

#[test]
fn three_hundred_times_nothing_is_alive_when_the_program_has_exited() {
    needs_root!();
    for_each_kind(&[Group, Rootless, Delegated], |kind| {
        let scene = Scene::new(kind);
        for _ in 0..300 {
            let mut command = scene.script("setsid sleep 100000 & exit 3");
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let status = wait_for(&mut child);
            scene.assert_nothing_left();
            assert_eq!(status.code(), Some(3));
        }
    });
}

/// Doubles until there are 400 of it, deaf to every signal; the first one ends then, with status 7.
/// Or, with an argument: chains of processes that each fork the next and exit, for ever; the first
/// one ends when they have done so a thousand times. What was not killed ends itself after a while.
fn bomb() -> &'static str {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    compiled(
        &PROGRAM,
        r#"
        #include <signal.h>
        #include <sys/mman.h>
        #include <time.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            volatile int *count = mmap(0, 4096, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            time_t end = time(0) + 100;
            pid_t first = getpid();
            for (int number = 1; number < 64; number++)
                signal(number, SIG_IGN);
            if (argc > 1) {
                for (int chain = 0; chain < 8; chain++)
                    if (fork() == 0) {
                        setsid();
                        while (time(0) < end) {
                            if (fork() > 0)
                                _exit(0);
                            __sync_fetch_and_add(count, 1);
                        }
                        _exit(0);
                    }
                while (*count < 1000)
                    usleep(100);
                return 7;
            }
            while (__sync_add_and_fetch(count, 1) < 400)
                if (fork() == 0)
                    setsid();
            while (getpid() == first && *count < 800)
                if (*count >= 400)
                    return 7;
            while (time(0) < end)
                usleep(10000);
        }
        "#,
    )
}

#[test]
fn a_fork_bomb_is_gone_at_exit() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.boxed(&[bomb()]));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(7));
        let (number, names) = leftovers(&text(&output.stderr));
        assert!(number > 8 && names.len() == 8, "{number} {names:?}");
    }
}

/// Bug 566420: processes were forked while the list of pids was being killed.
#[test]
fn what_is_forked_while_the_box_is_being_killed_dies_too() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.boxed_with(&["--quiet"], &[bomb(), "chains"]));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(7));
    }
}

#[test]
fn a_stopped_leftover_dies() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let script = "setsid sh -c 'kill -STOP $$' & until grep -q '^State:.T' /proc/$!/status; do :; done; exit 4";
        let output = run(scene.script(script));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
}

#[test]
fn a_leftover_in_the_hands_of_a_tracer_dies() {
    needs_root!();
    let program = compile(
        "tracer",
        r#"
        #include <signal.h>
        #include <sys/ptrace.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            int ready[2];
            pipe(ready);
            if (fork() == 0) {
                pid_t traced = fork();
                if (traced == 0) {
                    ptrace(PTRACE_TRACEME, 0, 0, 0);
                    raise(SIGSTOP);
                    return 1;
                }
                waitpid(traced, 0, 0);
                ptrace(PTRACE_SETOPTIONS, traced, 0, PTRACE_O_TRACEEXIT);
                write(ready[1], "x", 1);
                for (;;)
                    pause();
            }
            char byte;
            read(ready[0], &byte, 1);
            return 4;
        }
        "#,
    );
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.boxed(&[program.to_str().unwrap()]));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
}

#[test]
fn a_group_that_the_command_froze_dies() {
    needs_root!();
    for kind in Kind::with_group_to_write() {
        let scene = Scene::new(kind);
        let script = format!(
            "{} mkdir $g/x || exit 9; setsid sleep 100000 & echo $! > $g/x/cgroup.procs || exit 9
            echo 1 > $g/x/cgroup.freeze
            until grep -q 'frozen 1' $g/x/cgroup.events; do :; done; exit 4",
            find_own_group()
        );
        let output = run(scene.script(&script));
        scene.assert_nothing_left();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
}

/// A box within a box goes with the outer one, though its guard left its session.
#[test]
fn a_box_within_the_box_dies_too() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let inner = scene.kind.option();
        let program = program().display();
        let script = format!(
            "{program} {inner} sh -c 'setsid sleep 100000 & echo ready; sleep 100000' & read x; exit 6"
        );
        let mut live = Live::ready(scene.boxed_with(&["--quiet"], &["sh", "-c", &script]));
        let (status, _, errors) = live.end();
        scene.assert_nothing_left();
        assert_eq!(status.code(), Some(6), "{errors}");
    }
}

#[test]
fn the_command_does_not_hold_what_the_guard_waits_for() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        // Besides ls's own: what the caller gave it.
        let list = "ls /proc/self/fd | wc -l";
        let output = run(scene.script(list));
        let mut unboxed = Command::new("sh");
        let unboxed = run({
            unboxed.args(["-c", list]).stdin(Stdio::null());
            unboxed
        });
        assert_eq!(text(&output.stdout), text(&unboxed.stdout), "{kind:?}");
    }
}

// ---- The line about leftovers.

#[test]
fn leftovers_are_named_in_one_line() {
    needs_root!();
    for kind in Kind::with_group_alone() {
        let scene = Scene::new(kind);
        let script =
            "sleep 100000 & until grep -q sleep /proc/$!/comm; do :; done; echo $!; exit 3";
        let output = run(scene.script(script));
        let pid = text(&output.stdout);
        let wanted = format!("phasebox: killed 1 leftover: sleep ({})\n", pid.trim());
        assert_eq!(text(&output.stderr), wanted);
        assert_eq!(output.status.code(), Some(3));
    }
    // With an init, whose pids these are is not promised.
    for kind in Kind::with_init() {
        let scene = Scene::new(kind);
        let script = "sleep 100000 & until grep -q sleep /proc/$!/comm; do :; done; exit 3";
        let output = run(scene.script(script));
        let (number, names) = leftovers(&text(&output.stderr));
        assert_eq!(number, 1, "{kind:?}");
        assert!(names[0].starts_with("sleep ("), "{names:?}");
    }
}

#[test]
fn of_many_leftovers_eight_are_named() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11; do sleep 100000 & done; exit 3";
        let output = run(scene.script(script));
        let (number, names) = leftovers(&text(&output.stderr));
        assert_eq!((number, names.len()), (11, 8), "{kind:?}");
        assert!(names.iter().all(|name| name.contains(" (")), "{names:?}");
        assert!(names[7].ends_with(") and 3 more"), "{names:?}");
    }
}

#[test]
fn leftovers_in_groups_of_their_own_are_named_too() {
    needs_root!();
    let scene = Scene::new(Group);
    let script = format!(
        "{} mkdir -p $g/a/b $g/c; for to in a/b c; do
        sleep 100000 & echo $! > $g/$to/cgroup.procs
        until grep -q sleep /proc/$!/comm; do :; done; done; exit 3",
        find_own_group()
    );
    let output = run(scene.script(&script));
    let (number, names) = leftovers(&text(&output.stderr));
    assert!(
        number == 2 && names.iter().all(|name| name.starts_with("sleep (")),
        "{names:?}"
    );
}

#[test]
fn a_name_that_a_leftover_gave_itself_cannot_drive_a_terminal() {
    needs_root!();
    let program = compile(
        "named",
        r#"
        #include <sys/prctl.h>
        #include <unistd.h>
        int main(void) {
            int ready[2];
            char byte;
            pipe(ready);
            if (fork() == 0) {
                prctl(PR_SET_NAME, "a\n\033[2J(\x9b z");
                write(ready[1], "x", 1);
                for (;;)
                    pause();
            }
            return read(ready[0], &byte, 1) - 1;
        }
        "#,
    );
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.boxed(&[program.to_str().unwrap()]));
        let (number, names) = leftovers(&text(&output.stderr));
        assert_eq!(number, 1);
        assert!(names[0].starts_with("a??[2J(? z ("), "{names:?}");
    }
}

#[test]
fn nothing_is_said_where_nothing_is_left_or_nothing_is_to_be_said() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let output = run(scene.script("sleep 0 & wait; exit 3"));
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(3), "")
        );
        let script = "sleep 100000 & exit 3";
        let output = run(scene.boxed_with(&["--quiet"], &["sh", "-c", script]));
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(3), "")
        );
        scene.assert_nothing_left();
    }
}

// ---- SIGKILL of the box's own processes.

#[test]
fn when_the_stub_is_killed_all_die() {
    needs_root!();
    for kind in Kind::all() {
        let (scene, mut live) = ready(kind, "exit 9");
        kill(live.stub(), libc::SIGKILL);
        live.status();
        scene.assert_gone_in_time();
        assert_eq!(live.end().2, "");
    }
}

#[test]
fn when_the_stub_is_stopped_and_then_killed_all_die() {
    needs_root!();
    for kind in Kind::all() {
        let (scene, mut live) = ready(kind, "exit 9");
        kill(live.stub(), libc::SIGSTOP);
        eventually("the stub is stopped", || state(live.stub()) == Some('T'));
        kill(live.stub(), libc::SIGKILL);
        live.status();
        scene.assert_gone_in_time();
    }
}

/// Killed at moments spread over the box's start, life and end: all die at once. What is killed
/// between the group's making and the guard's start leaves an empty group, for the next start.
#[test]
fn whenever_the_stub_is_killed_all_die() {
    needs_root!();
    for_each_kind(&Kind::all(), |kind| {
        let scene = Scene::new(kind);
        let mut times: Vec<Duration> = (0..60)
            .map(|round| {
                let mut command = scene.boxed_with(
                    &["--quiet"],
                    &[
                        "sh",
                        "-c",
                        &format!("{DAEMON}; sleep 0.005; {DAEMON}; sleep 0.002"),
                    ],
                );
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = command.spawn().unwrap();
                std::thread::sleep(Duration::from_micros(round * 350));
                let _ = child.kill();
                child.wait().unwrap();
                scene.until_dead()
            })
            .collect();
        assert!(run(scene.boxed(&["true"])).status.success());
        scene.assert_nothing_left();
        times.sort();
        assert!(
            times[30] < Duration::from_secs(1),
            "{kind:?}: usually {:?}",
            times[30]
        );
        assert!(times[59] < ONE_SECOND, "{kind:?}: at worst {:?}", times[59]);
    });
}

#[test]
fn when_the_guard_is_killed_another_takes_its_place_and_the_command_goes_on() {
    needs_root!();
    for kind in Kind::with_group() {
        let (scene, mut live) = ready(kind, "exit 5");
        let mut guard = guard_of(live.stub());
        for _ in 0..3 {
            kill(guard, libc::SIGKILL);
            let before = guard;
            eventually("there is another guard", || {
                guard = guard_of(live.stub());
                guard != before
            });
        }
        let (status, _, errors) = live.end();
        assert_emptied_without_guard(&scene);
        assert_eq!(status.code(), Some(5));
        assert_eq!(errors, if kind.is_lent() { NOT_REMOVED } else { "" });
    }
}

/// Only root can kill the guard of a box that is lent. What takes its place has no more rights than
/// the box's user, and leaves the empty group to the next start.
const NOT_REMOVED: &str =
    "phasebox: unable to remove the control group: permission denied (EACCES)\n";

/// Asserts that no process is left, and no group, at the latest after the next start.
fn assert_emptied_without_guard(scene: &Scene) {
    if scene.kind.is_lent() {
        assert_eq!(scene.alive(), [0; 0], "{:?}", scene.kind);
        assert!(run(scene.boxed(&["true"])).status.success());
    }
    scene.assert_nothing_left();
}

#[test]
fn when_the_guard_is_killed_and_then_the_stub_all_die() {
    needs_root!();
    for kind in Kind::with_group() {
        let (scene, mut live) = ready(kind, "exit 5");
        let guard = guard_of(live.stub());
        kill(guard, libc::SIGKILL);
        eventually("there is another guard, at work", || {
            let other = guard_of(live.stub());
            other != guard && state(other) == Some('S')
        });
        kill(live.stub(), libc::SIGKILL);
        live.status();
        if kind.is_lent() {
            assert!(scene.until_dead() < ONE_SECOND, "{kind:?}");
            assert_emptied_without_guard(&scene);
        }
        scene.assert_gone_in_time();
    }
}

#[test]
fn when_the_guard_is_killed_as_the_command_ends_the_box_is_emptied_all_the_same() {
    needs_root!();
    for kind in Kind::with_group() {
        for round in 0..20u64 {
            let (scene, mut live) = ready(kind, "exit 5");
            let guard = guard_of(live.stub());
            live.say("");
            std::thread::sleep(Duration::from_micros(round * 100));
            // It may have done its job already.
            // SAFETY: numbers only; a child of the stub, which reaps it at the stub's own end.
            unsafe { libc::kill(guard as i32, libc::SIGKILL) };
            let (status, _, errors) = live.end();
            assert_emptied_without_guard(&scene);
            assert_eq!(status.code(), Some(5));
            let left = kind.is_lent() && errors == NOT_REMOVED;
            assert!(left || errors.is_empty(), "{kind:?}: {errors}");
        }
    }
}

#[test]
fn when_the_command_is_killed_the_stub_dies_of_it_and_the_rest_with_it() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        let word = token("command");
        let script = with_daemons("exit 9");
        let mut live = Live::ready(scene.boxed_with(&["--quiet"], &["sh", "-c", &script, &word]));
        let stub = live.stub();
        let command = alive(&word)
            .into_iter()
            .find(|pid| *pid != stub && name(*pid) == "sh");
        kill(command.unwrap(), libc::SIGKILL);
        let (status, _, errors) = live.end();
        scene.assert_nothing_left();
        assert_eq!(
            (signal_of(status), errors.as_str()),
            (Some(libc::SIGKILL), "")
        );
    }
}

#[test]
fn when_the_init_is_killed_all_die() {
    needs_root!();
    for kind in Kind::with_init() {
        for stopped in [false, true] {
            let (scene, mut live) = ready(kind, "exit 9");
            let stub = live.stub();
            let init = children(stub)
                .into_iter()
                .find(|child| name(*child) == "phasebox-init");
            let init = init.unwrap();
            if stopped {
                // The stub would have it go on.
                kill(stub, libc::SIGSTOP);
                eventually("the stub is stopped", || state(stub) == Some('T'));
                kill(init, libc::SIGSTOP);
                eventually("the init is stopped", || state(init) == Some('T'));
                kill(stub, libc::SIGKILL);
                live.status();
                scene.assert_gone_in_time();
            } else {
                kill(init, libc::SIGKILL);
                let (status, ..) = live.end();
                scene.assert_nothing_left();
                assert_eq!(signal_of(status), Some(libc::SIGKILL));
            }
        }
    }
}

#[test]
fn a_user_who_kills_everything_the_user_can_kill_leaves_nothing() {
    needs_root!();
    let user = user_of_its_own(0);
    let scene = Scene::new(Rootless);
    let mut command = Command::new(program());
    command
        .args(["--quiet", "-c", "sh", "-c", &with_daemons("exit 9")])
        .current_dir("/");
    scene.mark(&mut command);
    scene.group.contain(&mut command);
    become_member(&mut command, user);
    let _live = Live::ready(command);
    let mut killer = Command::new("sh");
    killer.args(["-c", "kill -KILL -1"]).current_dir("/");
    become_member(&mut killer, user);
    killer.status().unwrap();
    scene.assert_gone_in_time();
}

/// By cgroup.kill, which is stronger than kill(2): it asks nobody's uid. The stub dies of it; the
/// guard is elsewhere.
#[test]
fn a_user_who_kills_the_whole_delegated_group_leaves_nothing_of_a_lent_box() {
    needs_root!();
    lent_only!();
    let scene = Scene::delegating(Delegated, &["", "cgroup.procs", "cgroup.kill"]);
    let live = Live::ready(scene.boxed_with(&["--quiet"], &["sh", "-c", &with_daemons("exit 9")]));
    let group = scene.only_group();
    assert!(group.join("cgroup.procs").exists());
    if !scene.home().join("cgroup.kill").exists() {
        // Before Linux 5.14 the test above is all that such a user can do.
        kill(live.stub(), libc::SIGKILL);
        scene.assert_gone_in_time();
        return;
    }
    let mut killer = Command::new("sh");
    let killing = format!("echo 1 >{}/cgroup.kill", scene.home().display());
    killer.args(["-c", &killing]).current_dir("/");
    become_user(&mut killer);
    assert!(run(killer).status.success());
    scene.assert_gone_in_time();
    drop(live);
}

/// Only what is in the namespace can be seen from there.
#[test]
fn a_boxed_user_who_kills_everything_kills_the_box_only() {
    needs_root!();
    let user = user_of_its_own(1);
    let scene = Scene::new(Rootless);
    let canary = Canary::new("sleep", |command| become_member(command, user));
    let mut command = Command::new(program());
    let script = format!("{DAEMON}; {DAEMON}; kill -KILL -1; exit 8");
    // Where a group can be had, it is no namespace.
    let option = if lent() { "-cp" } else { "-c" };
    command
        .args(["--quiet", option, "sh", "-c", &script])
        .current_dir("/");
    scene.mark(&mut command);
    scene.group.contain(&mut command);
    become_member(&mut command, user);
    let mut live = Live::start(command);
    assert_eq!(live.end().0.code(), Some(8));
    scene.assert_nothing_left();
    canary.assert_alive();
}

/// A uid that no other test, of no other run either, runs anything as.
fn user_of_its_own(number: u32) -> u32 {
    0x1000_0000 | std::process::id() << 1 | number
}

/// A process outside every box that has no reason to die.
struct Canary(Child);

impl Canary {
    /// Called `name` as ps(1) shows it.
    fn new(name: &str, prepare: impl Fn(&mut Command)) -> Canary {
        let mut command = Command::new("sleep");
        command
            .arg0(name)
            .arg("100000")
            .stdin(Stdio::null())
            .current_dir("/");
        prepare(&mut command);
        Canary(command.spawn().unwrap())
    }

    fn assert_alive(&self) {
        let state = state(self.0.id());
        assert!(matches!(state, Some('R' | 'S' | 'D')), "{state:?}");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_outside_the_box_survives_whatever_it_is_called() {
    needs_root!();
    for kind in Kind::all() {
        let scene = Scene::new(kind);
        // Beside the box's group, of the same user, in the same session, called as the box's.
        let canaries: Vec<Canary> = ["phasebox", "phasebox-guard", "phasebox-init", "sleep", "sh"]
            .map(|name| {
                Canary::new(name, |command| {
                    scene.group.contain(command);
                    if kind.is_users() {
                        become_user(command);
                    }
                })
            })
            .into();
        let script = with_daemons("exit 5");
        let mut live = Live::ready(scene.script(&script));
        live.end();
        let mut live = Live::ready(scene.script(&script));
        kill(live.stub(), libc::SIGKILL);
        live.status();
        if kind.has_group() {
            let mut live = Live::ready(scene.script(&script));
            scene.kill_stub_and_guard(&mut live);
            run(scene.boxed(&["true"]));
        }
        scene.assert_gone_in_time();
        canaries.iter().for_each(Canary::assert_alive);
    }
}

// ---- What cannot be killed.

/// A dead process that a tracer outside holds at its last step runs nothing any more, but is
/// there: it is waited for no longer than ten seconds, and named.
#[test]
fn what_cannot_be_killed_is_named_and_waited_for_ten_seconds() {
    needs_root!();
    for_each_kind(&Kind::all(), |kind| {
        let scene = Scene::new(kind);
        let word = token("held");
        // It keeps what it has open: at its last step it has not closed it yet.
        let script = format!(
            "(setsid sh -c 'sleep 100000; :' {word} >/dev/null 2>&1 &); echo ready; read x; exit 6"
        );
        let mut live = Live::ready(scene.script(&script));
        let held = pid_of(&word);
        let traced = Traced::seize(held, libc::PTRACE_O_TRACEEXIT);
        let start = Instant::now();
        live.say("");
        let status = live.status();
        let took = start.elapsed();
        assert_eq!(status.code(), Some(6));
        assert!(
            took >= Duration::from_secs(9),
            "{kind:?}: given up after {took:?}"
        );
        assert!(took < Duration::from_secs(30), "{kind:?}: {took:?}");
        let (_, _, errors) = live.end();
        let last = errors.lines().last().unwrap_or_default();
        let wanted = "phasebox: unable to kill everything within 10 seconds: ";
        assert!(last.starts_with(wanted), "{kind:?}: {errors}");
        // Without a group there is nothing to find it by.
        let named = last.contains(&format!(" ({held})"));
        assert_eq!(named, kind.has_group(), "{kind:?}: {errors}");
        drop(traced);
        scene.until_dead();
        run(scene.boxed(&["true"]));
        scene.assert_nothing_left();
    });
}
