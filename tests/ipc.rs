//! The contract's `-i`: System V memory, semaphores and messages and POSIX message queues of the
//! box's own; not the files in /dev/shm.
#![allow(missing_docs, unsafe_code)]

mod common;
#[path = "common/isolation.rs"]
mod isolation;

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use common::*;
use isolation::*;

/// The helper that opens and makes one of each kind.
fn probe() -> &'static str {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    word(PROBE.get_or_init(|| compile("ipc", include_str!("helpers/ipc.c"))))
}

const THERE: &str = "shm there sem there msg there mq there";
const NOT_THERE: &str = "shm ENOENT sem ENOENT msg ENOENT mq ENOENT";

/// A name of each kind that nobody else uses, removed from the host in the end if it is there.
struct Names {
    key: i32,
    queue: String,
}

impl Names {
    fn new() -> Names {
        static COUNT: AtomicI32 = AtomicI32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Pids end below 2^22.
        let key = 0x4000_0000 | (std::process::id() as i32) << 6 | number;
        Names {
            key,
            queue: format!("/{}", token("queue")),
        }
    }

    /// The words of a helper's run.
    fn words(&self, verb: &str) -> [String; 4] {
        [
            probe().to_owned(),
            verb.to_owned(),
            self.key.to_string(),
            self.queue.clone(),
        ]
    }

    fn made_on_the_host() -> Names {
        let names = Names::new();
        assert_eq!(names.told(plain(), "make"), THERE);
        names
    }

    /// What the helper says where `command` executes it.
    fn told(&self, mut command: Command, verb: &str) -> String {
        command.args(self.words(verb));
        ask(command).trim_end().to_owned()
    }

    fn held(&self, mut command: Command) -> Held {
        command.args(self.words("hold"));
        Held::start(command)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let queue = CString::new(self.queue.clone()).unwrap();
        // SAFETY: numbers, null pointers where none are used, and a NUL-ended name.
        unsafe {
            libc::shmctl(
                libc::shmget(self.key, 0, 0),
                libc::IPC_RMID,
                std::ptr::null_mut(),
            );
            libc::semctl(libc::semget(self.key, 0, 0), 0, libc::IPC_RMID);
            libc::msgctl(
                libc::msgget(self.key, 0),
                libc::IPC_RMID,
                std::ptr::null_mut(),
            );
            libc::mq_unlink(queue.as_ptr());
        }
    }
}

/// No box: what is executed is on the host.
fn plain() -> Command {
    let mut command = Command::new("env");
    command.current_dir("/");
    command
}

#[test]
fn the_hosts_ipc_is_invisible_in_the_box() {
    needs_root!();
    let names = Names::made_on_the_host();
    for way in ways() {
        assert_eq!(names.told(way.command(&[]), "see"), NOT_THERE, "{way:?}");
    }
    assert_eq!(names.told(plain(), "see"), THERE);
}

#[test]
fn the_boxs_ipc_is_invisible_on_the_host_and_in_another_box() {
    needs_root!();
    for way in ways() {
        let names = Names::new();
        let mut held = names.held(way.command(&[]));
        assert_eq!(held.line.trim_end(), THERE, "{way:?}");
        assert_eq!(names.told(plain(), "see"), NOT_THERE, "{way:?}");
        assert_eq!(names.told(way.command(&[]), "see"), NOT_THERE, "{way:?}");
        assert!(held.release().success());
    }
}

#[test]
fn what_is_made_in_the_box_goes_with_it() {
    needs_root!();
    for way in ways() {
        let names = Names::new();
        // Exclusively: the second would find what the first had left.
        assert_eq!(names.told(way.command(&[]), "make"), THERE, "{way:?}");
        assert_eq!(names.told(way.command(&[]), "make"), THERE, "{way:?}");
        assert_eq!(names.told(plain(), "see"), NOT_THERE, "{way:?}");
    }
}

#[test]
fn without_the_option_ipc_is_the_hosts() {
    needs_root!();
    let names = Names::made_on_the_host();
    for caller in [Caller::Root, Caller::User] {
        for options in ["-n", "-m", "-p", "-ncpm"] {
            let command = phasebox_as(caller, &[options]);
            assert_eq!(names.told(command, "see"), THERE, "{caller:?} {options}");
        }
    }
}

#[test]
fn files_in_shared_memory_are_the_hosts() {
    needs_root!();
    if !Path::new("/dev/shm").is_dir() {
        skip!("needs /dev/shm");
    }
    for way in ways() {
        let path = PathBuf::from("/dev/shm").join(token("shm"));
        let made = way.command(&["sh", "-c", "echo inside > \"$1\"", "sh", word(&path)]);
        ask(made);
        let content = fs::read_to_string(&path);
        let _ = fs::remove_file(&path);
        assert_eq!(content.unwrap(), "inside\n", "{way:?}");
    }
}

#[test]
fn the_message_queues_limits_in_the_box_are_its_own() {
    needs_root!();
    let limit = "/proc/sys/fs/mqueue/queues_max";
    let before = fs::read_to_string(limit).unwrap();
    let script = format!("echo 7 > {limit} && cat {limit}");
    assert_eq!(ask(phasebox(&["-i", "sh", "-c", &script])), "7\n");
    assert_eq!(fs::read_to_string(limit).unwrap(), before);
}
