//! The argument vector to a request. Pure: opens nothing, looks nothing up.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use core::ops::Range;
use core::slice;

use crate::policy::{self, Context, Isolation, Phase};
use crate::sys::args::{self, Strings};
use crate::sys::packed::{Packed, packed};
use crate::sys::words::{NotNumber, parse_number, part, position};

/// What `--help` prints.
pub const HELP: Packed = packed!(
    "\
Usage: phasebox [OPTION]... [--] COMMAND [ARG]...
Run COMMAND in a box and kill what it leaves.

  -n, --net              a network with loopback only
  -i, --ipc              System V and POSIX IPC of its own
  -c, --cgroup[=NAME]    a control group, emptied in the end
  -p, --pid              a PID namespace with an init
  -m, --mount            a mount namespace
      --features LIST --phase PHASE [--properties LIST] [--restrict LIST]
      --best-effort      go on without what cannot be had
      --quiet            do not name what is killed
      --report-fd N      a line of JSON to descriptor N in the end
      --check            try what works here
      --help, --version

For root: --user UID --group GID --groups GID,... --umask OCTAL --cgroup-parent DIR
"
);

/// What `--version` prints.
pub const VERSION: Packed = packed!(concat!("phasebox ", env!("CARGO_PKG_VERSION"), "\n"));

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
    Check,
    Features,
    Phase,
    Properties,
    Restrict,
    ReportFd,
    User,
    Group,
    Groups,
    Umask,
    CgroupParent,
}

const NAMES: &str = "net ipc cgroup pid mount best-effort quiet help version check \
    features phase properties restrict report-fd user group groups umask cgroup-parent";
const LETTERS: &str = "n i c p m";
const OPTIONS: usize = Opt::CgroupParent as usize + 1;

/// From here on, options take a value; the first ones are Portage's lists.
const WITH_VALUE: usize = Opt::Features as usize;
/// Up to here.
const NO_LIST: usize = Opt::ReportFd as usize;
/// From here on, only root may use them.
const ONLY_ROOT: usize = Opt::User as usize;

/// What the caller wants.
pub struct Request {
    argv: Strings,
    /// COMMAND and its arguments; until that is found, the words that are still to be read.
    pub command: Strings,
    /// Where that is in the argument vector, as [`word_number`] gives it.
    place: u32,
    /// All the isolation, by flags and by policy.
    pub isolation: Isolation,
    /// `--umask`.
    pub umask: Option<u32>,
    /// For each option the word that its value is in, as [`word_number`] gives it; plus, where the
    /// value follows `=`, the bytes before it. Zero for an option that was not given.
    given: [u32; OPTIONS],
}

impl Request {
    /// Nothing yet, of this argument vector.
    #[must_use]
    pub fn new(argv: Strings) -> Request {
        Request {
            argv,
            command: argv.rest(),
            place: word_number(1),
            isolation: Isolation::default(),
            umask: None,
            given: [0; OPTIONS],
        }
    }

    fn given(&self, option: Opt) -> u32 {
        self.given.get(option as usize).copied().unwrap_or_default()
    }

    /// Whether an option was given.
    #[must_use]
    pub fn has(&self, option: Opt) -> bool {
        self.given(option) != 0
    }

    /// What the caller wants to be told instead of running a command.
    #[must_use]
    pub fn text(&self) -> Option<Packed> {
        if self.has(Opt::Help) {
            Some(HELP)
        } else if self.has(Opt::Version) {
            Some(VERSION)
        } else {
            None
        }
    }

    /// An option's value, where it was given.
    #[must_use]
    #[inline(never)]
    pub fn path(&self, option: Opt) -> Option<&'static CStr> {
        let given = self.given(option);
        if given == 0 {
            return None;
        }
        let word = self.argv.get(place(given))?;
        Some(args::skip(word, given as usize & 0xff))
    }

    /// The same as bytes.
    #[must_use]
    #[inline(never)]
    pub fn value(&self, option: Opt) -> Option<&'static [u8]> {
        self.path(option).map(CStr::to_bytes)
    }

    /// NAME of the control group, where given.
    #[must_use]
    pub fn group_name(&self) -> Option<&'static [u8]> {
        if self.given(Opt::Cgroup) & 0xff == 0 {
            None
        } else {
            self.value(Opt::Cgroup)
        }
    }

    /// An option's value is at fault.
    #[must_use]
    pub fn fault(&self, option: Opt, reason: Reason) -> Usage {
        Usage::new(self.given(option), reason)
    }

    /// Refuses an option that was given and only root may use.
    ///
    /// # Errors
    /// That it was given.
    pub fn refuse_root_only(&self) -> Result<(), Usage> {
        self.refuse(ONLY_ROOT..OPTIONS, Reason::OnlyRoot)
    }

    /// Refuses any of these options that was given.
    fn refuse(&self, options: Range<usize>, reason: Reason) -> Result<(), Usage> {
        let mut given = self.given.get(options).unwrap_or_default().iter();
        match given.find(|given| **given != 0) {
            Some(given) => Err(Usage::new(*given, reason)),
            None => Ok(()),
        }
    }

    /// Reads the argument vector up to COMMAND, or to an option that makes the rest pointless.
    ///
    /// # Errors
    /// [`Usage`] for anything that is not exactly an option, its value, or a command.
    #[inline(never)]
    pub fn read(&mut self) -> Result<(), Usage> {
        while let Some(word) = self.command.first() {
            let [b'-', letters @ ..] = word.to_bytes() else {
                break;
            };
            match letters {
                [] => break,
                [b'-'] => {
                    self.advance();
                    break;
                }
                [b'-', long @ ..] => self.read_long(long)?,
                _ => self.read_letters(letters)?,
            }
            if self.text().is_some() || self.has(Opt::Check) {
                return Ok(());
            }
            self.advance();
        }
        self.complete()
    }

    /// To the next word.
    fn advance(&mut self) {
        self.command = self.command.rest();
        self.place += word_number(1);
    }

    /// Reads `-nicpm`.
    fn read_letters(&mut self, letters: &[u8]) -> Result<(), Usage> {
        for letter in letters {
            let option = position(LETTERS.as_bytes(), slice::from_ref(letter));
            self.take(option.ok_or(self.fault_here(Reason::NoSuchOption))?, 0);
        }
        Ok(())
    }

    /// Reads `name`, `name=value`, or `name` and the next word.
    fn read_long(&mut self, text: &[u8]) -> Result<(), Usage> {
        let name = option_part(text);
        let unknown = self.fault_here(Reason::NoSuchOption);
        let option = position(NAMES.as_bytes(), name).ok_or(unknown)?;
        let mut skipped = 0;
        if name.len() < text.len() {
            if option < WITH_VALUE && option != Opt::Cgroup as usize {
                return Err(self.fault_here(Reason::NoValueTaken));
            }
            skipped = b"--".len() + name.len() + b"=".len();
        } else if option >= WITH_VALUE {
            let missing = self.fault_here(Reason::ValueMissing);
            self.advance();
            if self.command.first().is_none() {
                return Err(missing);
            }
        }
        self.take(option, skipped);
        Ok(())
    }

    /// The word that is being read is at fault.
    fn fault_here(&self, reason: Reason) -> Usage {
        Usage::new(self.place, reason)
    }

    /// An option was given, its value in the word that is being read, after the `skipped` bytes.
    #[inline(never)]
    fn take(&mut self, option: usize, skipped: usize) {
        if let Some(given) = self.given.get_mut(option) {
            *given = self.place | skipped as u32;
        }
        self.isolation = self.isolation | Isolation::nth(option);
    }

    /// What options make of each other, when all have been read.
    fn complete(&mut self) -> Result<(), Usage> {
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
            _ => self.refuse(WITH_VALUE..NO_LIST, Reason::NotTogether)?,
        }
        if let Some(text) = self.value(Opt::Umask) {
            let mask = parse_umask(text).map_err(|reason| self.fault(Opt::Umask, reason))?;
            self.umask = Some(mask);
        }
        match self.command.first() {
            Some(_) => Ok(()),
            None => Err(self.fault_here(Reason::NoCommand)),
        }
    }
}

/// A place in the argument vector, and room for a byte. execve(2) takes no more than 6 MiB of
/// pointers, so that all places have room.
const fn word_number(place: u32) -> u32 {
    place << 8
}

/// The place in a number that [`word_number`] made.
const fn place(number: u32) -> usize {
    number as usize >> 8
}

macro_rules! reasons {
    ($($reason:ident $errno:ident $text:literal,)*) => {
        /// What is wrong with a word.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Reason { $(#[doc = $text] $reason,)* }

        const TEXTS: Packed = packed!(concat!($($text, " (", stringify!($errno), ")\n"),*));
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
    NotOpen EBADF "no descriptor open to write",
}

/// Why an argument vector is refused: the place of the word at fault, and what is wrong with it;
/// packed, to be returned in a register.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Usage(u32);

impl Usage {
    const fn new(word: u32, reason: Reason) -> Usage {
        Usage(word & !0xff | reason as u32)
    }

    /// The word's place in the argument vector.
    #[must_use]
    pub const fn place(self) -> usize {
        place(self.0)
    }

    /// What is wrong, with the errno's name.
    #[must_use]
    pub fn text(self) -> Packed {
        TEXTS.line(self.0 as usize & 0xff)
    }
}

/// The part of a long option, or of a variable, before `=`.
#[must_use]
pub fn option_part(word: &[u8]) -> &[u8] {
    part(word, b'=', 0)
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
    parse_number(text, 8, 0o777).map_err(|wrong| match wrong {
        NotNumber::NoDigit => Reason::BadUmask,
        NotNumber::TooLarge => Reason::UmaskRange,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn parse(argv: Strings) -> Result<Request, Usage> {
        let mut request = Request::new(argv);
        request.read().map(|()| request)
    }

    fn argv(words: &[&str]) -> Strings {
        let words: Vec<&str> = std::iter::once("phasebox")
            .chain(words.iter().copied())
            .collect();
        Strings::leak(&words)
    }

    fn run(words: &[&str], check: impl FnOnce(&Request)) {
        match parse(argv(words)) {
            Ok(request) if request.text().is_none() => check(&request),
            _ => panic!("{words:?}"),
        }
    }

    /// The word at fault and the errno's name.
    fn refused(words: &[&str]) -> (String, String) {
        let words = argv(words);
        match parse(words) {
            Err(usage) => {
                let word = words
                    .get(usage.place())
                    .map_or("COMMAND".into(), CStr::to_string_lossy);
                let text = usage.text().text();
                let (_, errno) = text.rsplit_once(" (").unwrap();
                (word.into_owned(), errno.trim_end_matches(')').into())
            }
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn options_end_at_the_first_word_that_is_not_one() {
        run(&["-n", "make", "-i", "--pid"], |request| {
            assert_eq!(request.isolation, Isolation::NET);
            assert_eq!(request.place, word_number(2));
        });
        run(&["-n", "--", "-i"], |request| {
            assert_eq!(request.place, word_number(3))
        });
        run(&["-"], |request| assert_eq!(request.place, word_number(1)));
        run(&[""], |request| assert_eq!(request.place, word_number(1)));
        run(&["--", "--", "x"], |request| {
            assert_eq!(request.place, word_number(2))
        });
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
            assert_eq!(request.place, word_number(2));
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
        assert_eq!(refused(&[&long, "x"]).1, "ENAMETOOLONG");
        for name in [
            "", ".", "..", ".a", "a b", "a\nb", "a\u{e9}", "a,b", "a\\b", "~",
        ] {
            let option = std::format!("--cgroup={name}");
            assert_eq!(refused(&[&option, "x"]), (option, "EINVAL".into()));
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
                (at_fault.into(), "EINVAL".into()),
                "{words:?}"
            );
        }
        for umask in ["1000", "7777", "77777777777777"] {
            assert_eq!(refused(&["--umask", umask, "x"]).1, "ERANGE");
        }
    }

    #[test]
    fn an_empty_argument_vector_has_no_command() {
        assert!(parse(Strings::leak(&[])).is_err());
    }

    #[test]
    fn help_and_version_are_found_among_options_only() {
        let text = |words| parse(argv(words)).unwrap().text();
        assert!(text(&["-n", "--help"]) == Some(HELP));
        assert!(text(&["--version", "x"]) == Some(VERSION));
        run(&["x", "--help"], |request| {
            assert_eq!(request.place, word_number(1))
        });
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
