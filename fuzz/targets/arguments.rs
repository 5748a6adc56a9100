//! The argument vector: words that a hostile caller chose, a NUL between them.
//!
//! Judged by another reading of the same grammar: the same words are refused, for the same word, and
//! what is accepted means the same.
#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use phasebox::cli::{Opt, Reason};
use phasebox::policy::{self, Context, Isolation, Phase};
use phasebox_fuzz::program::{self, Parsed};
use phasebox_fuzz::{Stack, words};

/// In the order of their letters, and of what is told apart below.
const NAMES: [(&str, Opt); 20] = [
    ("--net", Opt::Net),
    ("--ipc", Opt::Ipc),
    ("--cgroup", Opt::Cgroup),
    ("--pid", Opt::Pid),
    ("--mount", Opt::Mount),
    ("--best-effort", Opt::BestEffort),
    ("--quiet", Opt::Quiet),
    ("--help", Opt::Help),
    ("--version", Opt::Version),
    ("--check", Opt::Check),
    ("--features", Opt::Features),
    ("--phase", Opt::Phase),
    ("--properties", Opt::Properties),
    ("--restrict", Opt::Restrict),
    ("--report-fd", Opt::ReportFd),
    ("--user", Opt::User),
    ("--group", Opt::Group),
    ("--groups", Opt::Groups),
    ("--umask", Opt::Umask),
    ("--cgroup-parent", Opt::CgroupParent),
];
const KINDS: Range<usize> = 0..5;
const CGROUP: usize = 2;
/// `--check` among them: no command is run, and what follows does not count.
const TEXTS: Range<usize> = 7..10;
const LISTS: Range<usize> = 10..14;
const WITH_VALUE: Range<usize> = 10..20;
const ONLY_ROOT: Range<usize> = 15..20;
const UMASK: usize = 18;

/// An option that was given: the place of its word or its value, and the value.
#[derive(Clone, Copy)]
struct Given<'a> {
    place: usize,
    value: Option<&'a [u8]>,
}

enum Expected<'a> {
    Text,
    /// The place of the word at fault.
    Refused(usize),
    Run {
        given: Box<[Option<Given<'a>>; 20]>,
        /// The place of COMMAND.
        command: usize,
        umask: Option<u32>,
        isolation: Isolation,
    },
}

fn read<'a>(argv: &[&'a [u8]]) -> Expected<'a> {
    let mut given = Box::new([None::<Given>; 20]);
    let mut place = 1;
    while let Some(word) = argv.get(place) {
        if *word == b"--" {
            place += 1;
            break;
        }
        if let Some(long) = word.strip_prefix(b"--") {
            let mut halves = long.splitn(2, |byte| *byte == b'=');
            let name = halves.next();
            let mut value = halves.next();
            let known = NAMES
                .iter()
                .position(|(known, _)| name == Some(&known.as_bytes()[2..]));
            let Some(index) = known else {
                return Expected::Refused(place);
            };
            if TEXTS.contains(&index) && value.is_none() {
                return Expected::Text;
            }
            if WITH_VALUE.contains(&index) && value.is_none() {
                place += 1;
                value = argv.get(place).copied();
                if value.is_none() {
                    return Expected::Refused(place - 1);
                }
            }
            if value.is_some() && !WITH_VALUE.contains(&index) && index != CGROUP {
                return Expected::Refused(place);
            }
            given[index] = Some(Given { place, value });
        } else if word.len() > 1 && word[0] == b'-' {
            for letter in &word[1..] {
                let Some(index) = b"nicpm".iter().position(|known| known == letter) else {
                    return Expected::Refused(place);
                };
                given[index] = Some(Given { place, value: None });
            }
        } else {
            break;
        }
        place += 1;
    }

    if let Some(Given {
        place,
        value: Some(name),
    }) = given[CGROUP]
    {
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+:-/".contains(byte);
        let is_name = name.iter().all(good) && !name.is_empty() && name.len() <= 128;
        if !is_name || name[0] == b'.' {
            return Expected::Refused(place);
        }
    }
    let mut isolation = Isolation::default();
    for index in KINDS {
        if given[index].is_some() {
            isolation = isolation | Isolation::ALL[index];
        }
    }
    let value = |index: usize| given[index].and_then(|given| given.value);
    let [features, phase, properties, restrict] = [10, 11, 12, 13].map(value);
    match (features, phase) {
        (Some(features), Some(name)) => {
            let Some(phase) = Phase::from_name(name) else {
                return Expected::Refused(given[11].expect("it has a value").place);
            };
            let context = Context {
                features,
                phase,
                properties,
                restrict,
            };
            isolation = isolation | policy::decide(&context);
        }
        _ => {
            if let Some(first) = given[LISTS].iter().flatten().next() {
                return Expected::Refused(first.place);
            }
        }
    }
    let mut umask = None;
    if let Some(Given {
        place,
        value: Some(text),
    }) = given[UMASK]
    {
        let digits = text.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(text).ok().filter(|_| digits);
        umask = number.and_then(|text| u32::from_str_radix(text, 8).ok());
        if umask.is_none_or(|mask| mask > 0o777) {
            return Expected::Refused(place);
        }
    }
    if place >= argv.len() {
        return Expected::Refused(place);
    }
    Expected::Run {
        given,
        command: place,
        umask,
        isolation,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut argv = words(data);
    // No words at all: an empty vector, which execve(2) passed on before Linux 5.18.
    if !argv.is_empty() {
        argv.insert(0, b"phasebox");
    }
    let stack = Stack::new(&argv, &[b"A=1"]);
    let start = stack.start();
    match (program::parse(start.argv), read(&argv)) {
        (Parsed::Text, Expected::Text) => {}
        (Parsed::Refused(usage), Expected::Refused(place)) => {
            assert_eq!(usage.place(), place);
            // Only a missing COMMAND has no word.
            assert!(place <= argv.len().max(1));
            assert!(!usage.text().is_empty());
        }
        (
            Parsed::Run { request, command },
            Expected::Run {
                given,
                command: place,
                umask,
                isolation,
            },
        ) => {
            let command: Vec<&[u8]> = command.iter().map(|word| word.to_bytes()).collect();
            assert_eq!(command, argv[place..]);
            assert_eq!(request.umask, umask);
            assert_eq!(request.isolation, isolation);
            for (index, (name, option)) in NAMES.iter().enumerate() {
                assert_eq!(request.has(*option), given[index].is_some(), "{name}");
                let Some(given) = given[index] else {
                    assert_eq!(request.value(*option), None, "{name}");
                    continue;
                };
                assert_eq!(
                    request.fault(*option, Reason::OnlyRoot).place(),
                    given.place
                );
                assert!(given.place < place, "{name}");
                if WITH_VALUE.contains(&index) {
                    assert_eq!(request.value(*option), given.value, "{name}");
                } else if index == CGROUP {
                    assert_eq!(request.group_name(), given.value, "{name}");
                }
            }
            let refused = request.refuse_root_only().err().map(|usage| usage.place());
            let first = given[ONLY_ROOT].iter().flatten().next();
            assert_eq!(refused, first.map(|given| given.place));
        }
        (Parsed::Text, _) => panic!("a text instead"),
        (Parsed::Run { .. }, _) => panic!("a command to run"),
        (Parsed::Refused(usage), _) => panic!("refused for word {}", usage.place()),
    }
});
