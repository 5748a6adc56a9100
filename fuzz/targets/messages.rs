//! Messages with words from outside: an errno, the name of a process, and the words of a command
//! line, a NUL between them. Each message is one line of printable ASCII.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use phasebox::diag::{self, Processes};
use phasebox::sys::Errno;
use phasebox::sys::process::Pid;
use phasebox_fuzz::program::{self, Parsed};
use phasebox_fuzz::{Capture, Stack, words};

thread_local! {
    static CAPTURE: RefCell<Capture> = RefCell::new(Capture::new());
}

/// What one message says.
fn line(act: impl FnOnce()) -> String {
    let written = CAPTURE.with_borrow_mut(|capture| capture.during(act));
    let Some((b'\n', line)) = written.split_last() else {
        panic!("no line: {written:?}");
    };
    assert!(
        line.iter().all(|byte| (b' '..=b'~').contains(byte)),
        "{line:?}"
    );
    assert!(line.starts_with(b"phasebox: "));
    String::from_utf8(line.to_vec()).expect("ASCII")
}

/// A word as it is shown, at most its first 80 bytes.
fn shown(word: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    let mut text: String = word.iter().take(80).map(printable).collect();
    if word.len() > 80 {
        text.push_str("...");
    }
    text
}

/// Renames this process: the kernel keeps fifteen bytes.
fn rename(name: &[u8]) {
    let mut bytes = [0u8; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name[..length]);
    // SAFETY: sixteen bytes that end with a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

fuzz_target!(|data: &[u8]| {
    let Some((number, data)) = data.split_first() else {
        return;
    };
    let errno = Errno::from_raw(usize::from(*number).max(1));
    let mut argv = words(data);
    let name = if argv.is_empty() {
        &b""[..]
    } else {
        argv.remove(0)
    };

    // The words serve as arguments and as environment.
    argv.insert(0, b"phasebox");
    let stack = Stack::new(&argv, &argv);
    let start = stack.start();
    if let Parsed::Refused(usage) = program::parse(start.argv) {
        let said = line(|| diag::usage(start.argv, usage));
        let word = argv
            .get(usage.place())
            .map_or("COMMAND".into(), |word| shown(word));
        assert!(
            said.starts_with(&format!("phasebox: unable to use '{word}': ")),
            "{said}"
        );
    }

    let stack = Stack::new(&argv[1..], &argv);
    let start = stack.start();
    let said = line(|| diag::not_executed(start.argv, start.envp, errno));
    let word = argv.get(1).map_or(String::new(), |word| shown(word));
    assert!(
        said.starts_with(&format!("phasebox: unable to execute '{word}': ")),
        "{said}"
    );
    if errno == Errno::E2BIG {
        let sizes = |words: &[&[u8]]| words.iter().map(|word| word.len() + 1).sum::<usize>();
        let told = format!(
            "; arguments: {} bytes, environment: {} bytes, ",
            sizes(&argv[1..]),
            sizes(&argv)
        );
        assert!(said.contains(&told), "{said}");
    }

    rename(name);
    let (pid, mut killed) = (std::process::id(), Processes::new());
    for _ in 0..*number {
        killed.add(Pid::new(pid).expect("a pid"));
    }
    if *number == 0 {
        return;
    }
    let said = line(|| program::tell_leftovers(&killed));
    let one = format!("{} ({pid})", shown(&name[..name.len().min(15)]));
    let named = usize::from(*number).min(8);
    let mut told = format!("phasebox: killed {number} leftover");
    told += if *number > 1 { "s: " } else { ": " };
    told += &vec![one.as_str(); named].join(", ");
    if usize::from(*number) > named {
        told += &format!(" and {} more", usize::from(*number) - named);
    }
    assert_eq!(said, told);
});
