//! The argument vector to a request. Pure: opens nothing, looks nothing up.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::policy::{self, Context, Isolation, Phase};
use crate::sys::Errno;
use crate::sys::args::{self, Strings};
use crate::sys::errno::nth_line;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: phasebox [OPTION]... [--] COMMAND [ARG]...
Run COMMAND in a box and kill what it leaves behind.

  -n, --net              a network with loopback only
  -i, --ipc              System V and POSIX IPC of its own
  -c, --cgroup[=NAME]    a control group, emptied at the end
  -p, --pid              a PID namespace with an init
  -m, --mount            a mount namespace
      --features LIST --phase PHASE [--properties LIST] [--restrict LIST]
                         as Portage's FEATURES in a phase
      --best-effort      go on without what cannot be had
      --quiet            do not name what was killed
      --help, --version

For root: --user UID --group GID --groups GID,... --umask OCTAL
          --cgroup-parent DIR
";

/// What `--version` prints.
pub const VERSION: &str = concat!("phasebox ", env!("CARGO_PKG_VERSION"), "\n");

/// What the caller wants.
pub enum Action {
    /// Print [`HELP`].
    Help,
    /// Print [`VERSION`].
    Version,
    /// Run a command.
    Run(Request),
}

/// The options, in the order of their names in [`NAMES`]; the first ones also in that of the
/// letters in [`LETTERS`] and of [`Isolation::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Opt {
    Net,
    Ipc,
    Cgroup,
    Pid,
    Mount,
    BestEffort,
    Quiet,
    Help,
    Version,
    Features,
    Phase,
    Properties,
    Restrict,
    User,
    Group,
    Groups,
    Umask,
    CgroupParent,
}

const NAMES: &str = "--net --ipc --cgroup --pid --mount --best-effort --quiet --help --version \
    --features --phase --properties --restrict --user --group --groups --umask --cgroup-parent";
const LETTERS: &[u8] = b"nicpm";
const OPTIONS: usize = Opt::CgroupParent as usize + 1;

/// From here on, options take a value.
const WITH_VALUE: usize = Opt::Features as usize;
/// From here on, only root may use them.
const ONLY_ROOT: usize = Opt::User as usize;

/// A command to run, as asked for.
#[derive(Clone, Copy)]
pub struct Request {
    argv: Strings,
    /// For each option the place of its value in `argv`, twice; plus one where that is the part
    /// after `=`. Zero for one that was not given.
    given: [usize; OPTIONS],
    /// All the isolation, by flags and by policy.
    pub isolation: Isolation,
    /// `--umask`.
    pub umask: Option<u32>,
    /// Where COMMAND is in the argument vector.
    pub command: usize,
}

impl Request {
    fn place(&self, option: Opt) -> usize {
        self.given.get(option as usize).copied().unwrap_or_default()
    }

    /// Whether an option was given.
    #[must_use]
    pub fn has(&self, option: Opt) -> bool {
        self.place(option) != 0
    }

    /// An option's value, where it was given.
    #[must_use]
    pub fn path(&self, option: Opt) -> Option<&'static CStr> {
        let place = self.place(option);
        let word = self.argv.get(place / 2).filter(|_| place != 0)?;
        Some(if place % 2 == 0 {
            word
        } else {
            args::skip(word, option_part(word).len() + 1)
        })
    }

    /// The same as bytes.
    #[must_use]
    pub fn value(&self, option: Opt) -> Option<&'static [u8]> {
        self.path(option).map(CStr::to_bytes)
    }

    /// NAME of the control group, where given.
    #[must_use]
    pub fn group_name(&self) -> Option<&'static [u8]> {
        if self.place(Opt::Cgroup) % 2 == 0 {
            None
        } else {
            self.value(Opt::Cgroup)
        }
    }

    /// An option's value is at fault.
    #[must_use]
    pub fn fault(&self, option: Opt, reason: Reason) -> Usage {
        Usage::new(self.place(option) / 2, reason)
    }

    /// Refuses an option that was given and only root may use.
    ///
    /// # Errors
    /// That it was given.
    pub fn refuse_root_only(&self) -> Result<(), Usage> {
        match self.given.iter().skip(ONLY_ROOT).find(|place| **place != 0) {
            Some(place) => Err(Usage::new(place / 2, Reason::OnlyRoot)),
            None => Ok(()),
        }
    }

    fn take(&mut self, option: usize, place: usize) {
        if let Some(given) = self.given.get_mut(option) {
            *given = place;
        }
    }

    /// What options make of each other, when all have been read.
    fn complete(&mut self) -> Result<(), Usage> {
        for (kind, place) in Isolation::ALL.into_iter().zip(self.given) {
            if place != 0 {
                self.isolation = self.isolation | kind;
            }
        }
        if let Some(name) = self.group_name() {
            check_name(name).map_err(|reason| self.fault(Opt::Cgroup, reason))?;
        }
        match (self.value(Opt::Features), self.value(Opt::Phase)) {
            (Some(features), Some(name)) => {
                let unknown = self.fault(Opt::Phase, Reason::NoSuchPhase);
                let phase = Phase::from_name(name).ok_or(unknown)?;
                let properties = self.value(Opt::Properties);
                let restrict = self.value(Opt::Restrict);
                let context = Context {
                    features,
                    phase,
                    properties,
                    restrict,
                };
                self.isolation = self.isolation | policy::decide(&context);
            }
            // One without the other would run a phase unboxed that its caller believes boxed.
            _ => {
                for option in [Opt::Features, Opt::Phase, Opt::Properties, Opt::Restrict] {
                    if self.has(option) {
                        return Err(self.fault(option, Reason::NotTogether));
                    }
                }
            }
        }
        if let Some(text) = self.value(Opt::Umask) {
            let mask = parse_umask(text).map_err(|reason| self.fault(Opt::Umask, reason))?;
            self.umask = Some(mask);
        }
        Ok(())
    }
}

macro_rules! reasons {
    ($($reason:ident $errno:ident $text:literal,)*) => {
        /// What is wrong with a word.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Reason { $(#[doc = $text] $reason,)* }

        const ERRNOS: &[u8] = &[$(Errno::$errno.number() as u8),*];
        const TEXTS: &str = concat!($($text, "\n"),*);
    };
}

reasons! {
    NoSuchOption EINVAL "no such option",
    NoValueTaken EINVAL "takes no value",
    ValueMissing EINVAL "the value is missing",
    NoCommand EINVAL "no command to run",
    NoSuchPhase EINVAL "no such ebuild phase",
    NotTogether EINVAL "--features and --phase go together, other lists with them",
    NameTooLong ENAMETOOLONG "a group's name is at most 128 long",
    BadName EINVAL "a group's name is of A-Z a-z 0-9 . _ + : - /, no dot first",
    BadUmask EINVAL "no octal number",
    UmaskRange ERANGE "above 0777",
    OnlyRoot EPERM "only for root",
    NoSuchUser ENOENT "not in /etc/passwd",
    NoSuchGroup ENOENT "not in /etc/group",
    NoPrimaryGroup ENOENT "not in /etc/passwd: add --group",
    IdRange ERANGE "no user or group has it",
    TooManyGroups ERANGE "at most 1024 groups",
}

/// Why an argument vector is refused: the place of the word at fault, and what is wrong with it;
/// packed, to be returned in a register.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Usage(usize);

impl Usage {
    const fn new(place: usize, reason: Reason) -> Usage {
        Usage(place << 8 | reason as usize)
    }

    /// The word's place in the argument vector.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 >> 8
    }

    /// The kind of fault, for the message's ERRNO NAME.
    #[must_use]
    pub fn errno(self) -> Errno {
        Errno::from_raw(
            ERRNOS
                .get(self.0 & 0xff)
                .copied()
                .unwrap_or_default()
                .into(),
        )
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn text(self) -> &'static [u8] {
        nth_line(TEXTS, self.0 & 0xff)
    }
}

/// Reads an argument vector, the program's name first.
///
/// # Errors
/// [`Usage`] for anything that is not exactly an option, its value, or a command.
pub fn parse(argv: Strings) -> Result<Action, Usage> {
    let isolation = Isolation::default();
    let mut request = Request {
        argv,
        given: [0; OPTIONS],
        isolation,
        umask: None,
        command: 0,
    };
    let mut place = 1;
    while let Some(word) = argv.get(place) {
        let fault = |reason| Usage::new(place, reason);
        match word.to_bytes() {
            b"--" => {
                place += 1;
                break;
            }
            [b'-', b'-', ..] => {
                let name = option_part(word);
                let option = policy::position(NAMES, name).ok_or(fault(Reason::NoSuchOption))?;
                let has_value = name.len() < word.count_bytes();
                if option == Opt::Help as usize {
                    return Ok(Action::Help);
                } else if option == Opt::Version as usize {
                    return Ok(Action::Version);
                } else if option >= WITH_VALUE && !has_value {
                    if place + 1 >= argv.len() {
                        return Err(fault(Reason::ValueMissing));
                    }
                    place += 1;
                } else if option < WITH_VALUE && has_value && option != Opt::Cgroup as usize {
                    return Err(fault(Reason::NoValueTaken));
                }
                request.take(option, 2 * place + usize::from(has_value));
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    let option = LETTERS.iter().position(|known| known == letter);
                    request.take(option.ok_or(fault(Reason::NoSuchOption))?, 2 * place);
                }
            }
            _ => break,
        }
        place += 1;
    }
    request.complete()?;
    request.command = place;
    if place >= argv.len() {
        return Err(Usage::new(place, Reason::NoCommand));
    }
    Ok(Action::Run(request))
}

/// The part of a long option, or of a variable, before `=`.
#[must_use]
pub fn option_part(word: &'static CStr) -> &'static [u8] {
    word.to_bytes()
        .split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default()
}

/// Checks NAME against its alphabet; `/` is allowed here and written as `:` later.
fn check_name(name: &[u8]) -> Result<(), Reason> {
    const LONGEST: usize = 128;
    let good = name.iter().all(|byte| is_name_byte(*byte) || *byte == b'/');
    match name {
        _ if name.len() > LONGEST => Err(Reason::NameTooLong),
        [] | [b'.', ..] => Err(Reason::BadName),
        _ if !good => Err(Reason::BadName),
        _ => Ok(()),
    }
}

/// The alphabet of a group's name.
#[must_use]
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b':' | b'-')
}

/// Octal digits, at most 0777.
fn parse_umask(text: &[u8]) -> Result<u32, Reason> {
    if text.is_empty() || !text.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
        return Err(Reason::BadUmask);
    }
    let mut mask = 0;
    for digit in text {
        mask = mask * 8 + u32::from(digit - b'0');
        if mask > 0o777 {
            return Err(Reason::UmaskRange);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn argv(words: &[&str]) -> Strings {
        let words: Vec<&str> = std::iter::once("phasebox")
            .chain(words.iter().copied())
            .collect();
        Strings::leak(&words)
    }

    fn run(words: &[&str], check: impl FnOnce(&Request)) {
        match parse(argv(words)) {
            Ok(Action::Run(request)) => check(&request),
            _ => panic!("{words:?}"),
        }
    }

    /// The word at fault and the errno.
    fn refused(words: &[&str]) -> (String, Errno) {
        let words = argv(words);
        match parse(words) {
            Err(usage) => {
                let word = words
                    .get(usage.place())
                    .map_or("COMMAND".into(), CStr::to_string_lossy);
                (word.into_owned(), usage.errno())
            }
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn options_end_at_the_first_word_that_is_not_one() {
        run(&["-n", "make", "-i", "--pid"], |request| {
            assert_eq!(request.isolation, Isolation::NET);
            assert_eq!(request.command, 2);
        });
        run(&["-n", "--", "-i"], |request| {
            assert_eq!(request.command, 3)
        });
        run(&["-"], |request| assert_eq!(request.command, 1));
        run(&[""], |request| assert_eq!(request.command, 1));
        run(&["--", "--", "x"], |request| assert_eq!(request.command, 2));
    }

    #[test]
    fn short_options_bundle() {
        run(&["-nicpm", "x"], |request| {
            let all = Isolation::ALL
                .into_iter()
                .fold(Isolation::default(), |all, kind| all | kind);
            assert_eq!(request.isolation, all);
        });
        run(&["-n", "-i", "-n", "x"], |request| {
            assert!(request.isolation.has(Isolation::IPC))
        });
    }

    #[test]
    fn long_options_take_their_value_either_way() {
        for words in [&["--user=a=b", "x"][..], &["--user", "a=b", "x"]] {
            run(words, |request| {
                assert_eq!(request.value(Opt::User), Some(&b"a=b"[..]))
            });
        }
        run(&["--user", "--group", "x"], |request| {
            assert_eq!(request.value(Opt::User), Some(&b"--group"[..]));
            assert!(!request.has(Opt::Group));
        });
        run(&["--cgroup-parent=", "x"], |request| {
            assert_eq!(request.path(Opt::CgroupParent), Some(c""))
        });
    }

    #[test]
    fn the_group_name_is_taken_only_after_an_equals_sign() {
        run(&["--cgroup", "x", "y"], |request| {
            assert_eq!(request.group_name(), None);
            assert_eq!(request.command, 2);
        });
        run(&["--cgroup=sys-apps/sed-4.9_p1+x:y", "x"], |request| {
            assert_eq!(request.group_name(), Some(&b"sys-apps/sed-4.9_p1+x:y"[..]));
        });
        run(
            &[&std::format!("--cgroup={}", "a".repeat(128)), "x"],
            |request| {
                assert_eq!(request.group_name().map(<[u8]>::len), Some(128));
            },
        );
        assert_eq!(refused(&["-c=x", "y"]).0, "-c=x");
    }

    #[test]
    fn the_last_of_an_option_given_twice_counts() {
        run(&["--cgroup=a", "-c", "x"], |request| {
            assert_eq!(request.group_name(), None)
        });
        run(&["-c", "--cgroup=a", "--cgroup=b", "x"], |request| {
            assert_eq!(request.group_name(), Some(&b"b"[..]));
        });
        run(&["--umask", "0", "--umask=027", "x"], |request| {
            assert_eq!(request.umask, Some(0o27));
        });
        run(
            &["--features", "cgroup", "--features=", "--phase=test", "x"],
            |request| {
                assert_eq!(request.isolation, Isolation::default());
            },
        );
    }

    #[test]
    fn features_and_flags_add_up() {
        run(
            &[
                "-p",
                "--features",
                "cgroup ipc-sandbox",
                "--phase",
                "src_test",
                "x",
            ],
            |request| {
                let added = Isolation::PID | Isolation::CGROUP | Isolation::IPC;
                assert_eq!(request.isolation, added);
            },
        );
    }

    #[test]
    fn bad_names_of_groups_are_refused() {
        let long = std::format!("--cgroup={}", "a".repeat(129));
        assert_eq!(refused(&[&long, "x"]).1, Errno::ENAMETOOLONG);
        for name in [
            "", ".", "..", ".a", "a b", "a\nb", "a\u{e9}", "a,b", "a\\b", "~",
        ] {
            let option = std::format!("--cgroup={name}");
            assert_eq!(refused(&[&option, "x"]), (option, Errno::EINVAL));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (words, at_fault) in [
            (&["--frob", "x"][..], "--frob"),
            (&["--ne", "x"], "--ne"),
            (&["--net=1", "x"], "--net=1"),
            (&["--frob=secret", "x"], "--frob=secret"),
            (&["-nx", "x"], "-nx"),
            (&["-h"], "-h"),
            (&["--quiet=no", "x"], "--quiet=no"),
            (&["--user"], "--user"),
            (
                &["--phase", "src_compil", "--features", "", "x"],
                "src_compil",
            ),
            (&["--phase", "compile", "x"], "compile"),
            (&["--features", "cgroup", "x"], "cgroup"),
            (&["--properties=live", "x"], "--properties=live"),
            (&["--restrict", "test", "x"], "test"),
            (&["--umask", "8", "x"], "8"),
            (&["--umask", "", "x"], ""),
            (&["--umask", "-1", "x"], "-1"),
            (&["---", "x"], "---"),
            (&[], "COMMAND"),
            (&["-nic"], "COMMAND"),
            (&["-nic", "--"], "COMMAND"),
        ] {
            assert_eq!(
                refused(words),
                (at_fault.into(), Errno::EINVAL),
                "{words:?}"
            );
        }
        for umask in ["1000", "7777", "77777777777777"] {
            assert_eq!(refused(&["--umask", umask, "x"]).1, Errno::ERANGE);
        }
    }

    #[test]
    fn an_empty_argument_vector_has_no_command() {
        assert!(parse(Strings::leak(&[])).is_err());
    }

    #[test]
    fn help_and_version_are_found_among_options_only() {
        assert!(matches!(parse(argv(&["-n", "--help"])), Ok(Action::Help)));
        assert!(matches!(
            parse(argv(&["--version", "x"])),
            Ok(Action::Version)
        ));
        run(&["x", "--help"], |request| assert_eq!(request.command, 1));
    }

    #[test]
    fn options_of_root_are_told_apart() {
        for option in [
            "--user",
            "--group",
            "--groups",
            "--umask",
            "--cgroup-parent",
        ] {
            run(&[option, "0", "x"], |request| {
                assert!(request.refuse_root_only().is_err())
            });
        }
        run(&["-nicpm", "--quiet", "--best-effort", "x"], |request| {
            assert!(request.refuse_root_only().is_ok());
        });
    }
}
