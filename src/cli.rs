//! The argument vector to a request. Pure: opens nothing, looks nothing up.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::policy::{self, Context, Isolation, Phase};
use crate::sys::Errno;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: phasebox [OPTION]... [--] COMMAND [ARG]...
Run COMMAND in a box, without privileges, and kill what it leaves behind.

  -n, --net              a network with loopback only
  -i, --ipc              System V and POSIX IPC of its own
  -c, --cgroup[=NAME]    a control group; what is left in it is killed at the end
  -p, --pid              a PID namespace with an init and a /proc of its own
  -m, --mount            a mount namespace
      --features LIST    isolate as Portage's FEATURES say ...
      --phase PHASE      ... in this ebuild phase
      --properties LIST  the ebuild's PROPERTIES
      --restrict LIST    the ebuild's RESTRICT
      --best-effort      go on without an isolation that cannot be had, and say so
      --quiet            do not name killed leftovers
      --help, --version

Only where the real user is root:
      --user USER  --group GROUP  --groups GROUP,...  --umask OCTAL
                         whom COMMAND runs as
      --cgroup-parent DIR
                         where the control group is made

Exit status: COMMAND's own; dies of the signal that killed COMMAND; 125 if
phasebox failed, 126 if COMMAND cannot be executed, 127 if it is not found.
";

/// What `--version` prints.
pub const VERSION: &str = concat!("phasebox ", env!("CARGO_PKG_VERSION"), "\n");

/// What the caller wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Print [`HELP`].
    Help,
    /// Print [`VERSION`].
    Version,
    /// Run a command.
    Run(Request<'a>),
}

/// A command to run, as asked for.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Request<'a> {
    /// All the isolation, by flags and by policy.
    pub isolation: Isolation,
    /// NAME of the control group, where given; checked.
    pub group_name: Option<&'a [u8]>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<&'a CStr>,
    /// `--user`, `--group`, `--groups`: ids or names.
    pub user: Option<&'a [u8]>,
    /// See `user`.
    pub group: Option<&'a [u8]>,
    /// See `user`.
    pub groups: Option<&'a [u8]>,
    /// `--umask`.
    pub umask: Option<u32>,
    /// `--best-effort`.
    pub best_effort: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// Where COMMAND is in the argument vector.
    pub command: usize,
}

impl Request<'_> {
    /// The first option given that only root may use, if any.
    #[must_use]
    pub fn root_only_option(&self) -> Option<&'static str> {
        [
            (self.user.is_some(), "--user"),
            (self.group.is_some(), "--group"),
            (self.groups.is_some(), "--groups"),
            (self.umask.is_some(), "--umask"),
            (self.cgroup_parent.is_some(), "--cgroup-parent"),
        ]
        .into_iter()
        .find_map(|(given, option)| given.then_some(option))
    }
}

/// Why an argument vector is refused: an errno, the offending word, a reason.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Usage<'a> {
    /// The option or value at fault.
    pub word: &'a [u8],
    /// The kind of fault, for the message's ERRNO NAME.
    pub errno: Errno,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The longest NAME.
const NAME_MAX: usize = 128;

/// An option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opt {
    Net,
    Ipc,
    Cgroup,
    Pid,
    Mount,
    Features,
    Phase,
    Properties,
    Restrict,
    User,
    Group,
    Groups,
    Umask,
    CgroupParent,
    BestEffort,
    Quiet,
    Help,
    Version,
}

/// Whether an option's long form takes a value.
#[derive(PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// Only after `=`.
    OptionalValue,
}

impl Opt {
    /// In the order of their names in `long`; the first ones also in that of the letters in
    /// `short`.
    const ALL: [Opt; 18] = [
        Opt::Net,
        Opt::Ipc,
        Opt::Cgroup,
        Opt::Pid,
        Opt::Mount,
        Opt::Features,
        Opt::Phase,
        Opt::Properties,
        Opt::Restrict,
        Opt::User,
        Opt::Group,
        Opt::Groups,
        Opt::Umask,
        Opt::CgroupParent,
        Opt::BestEffort,
        Opt::Quiet,
        Opt::Help,
        Opt::Version,
    ];

    fn short(letter: u8) -> Option<Opt> {
        let index = b"nicpm".iter().position(|known| *known == letter)?;
        Opt::ALL.get(index).copied()
    }

    fn long(name: &[u8]) -> Option<Opt> {
        let names = "net ipc cgroup pid mount features phase properties restrict user group \
                     groups umask cgroup-parent best-effort quiet help version";
        Opt::ALL.get(policy::position(names, name)?).copied()
    }

    fn takes(self) -> Takes {
        match self {
            Opt::Features
            | Opt::Phase
            | Opt::Properties
            | Opt::Restrict
            | Opt::User
            | Opt::Group
            | Opt::Groups
            | Opt::Umask
            | Opt::CgroupParent => Takes::Value,
            Opt::Cgroup => Takes::OptionalValue,
            Opt::Net
            | Opt::Ipc
            | Opt::Pid
            | Opt::Mount
            | Opt::BestEffort
            | Opt::Quiet
            | Opt::Help
            | Opt::Version => Takes::Nothing,
        }
    }
}

/// The options that make sense only together, until all have been read.
#[derive(Default)]
struct Portage<'a> {
    features: Option<&'a [u8]>,
    phase: Option<Phase>,
    properties: Option<&'a [u8]>,
    restrict: Option<&'a [u8]>,
}

/// Reads an argument vector, the program's name first.
///
/// # Errors
/// [`Usage`] for anything that is not exactly an option, its value, or a command.
pub fn parse<'a>(argv: impl Iterator<Item = &'a CStr>) -> Result<Action<'a>, Usage<'a>> {
    let mut words = argv.enumerate().skip(1);
    let mut request = Request::default();
    let mut portage = Portage::default();

    let command = loop {
        let Some((index, word)) = words.next() else {
            break None;
        };
        match word.to_bytes() {
            b"--" => break words.next().map(|(index, _)| index),
            [b'-', b'-', long @ ..] => {
                let (name, mut value) = split_value(word, long);
                let fault = |errno, reason| Usage { word: option_part(word), errno, reason };
                let option = Opt::long(name).ok_or(fault(Errno::EINVAL, "no such option"))?;
                let takes = option.takes();
                if takes == Takes::Nothing && value.is_some() {
                    return Err(fault(Errno::EINVAL, "the option takes no value"));
                }
                if takes == Takes::Value && value.is_none() {
                    let (_, next) =
                        words.next().ok_or(fault(Errno::EINVAL, "the value is missing"))?;
                    value = Some(next);
                }
                match option {
                    Opt::Help => return Ok(Action::Help),
                    Opt::Version => return Ok(Action::Version),
                    _ => set(&mut request, &mut portage, option, value)?,
                }
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    let fault = Usage {
                        word: word.to_bytes(),
                        errno: Errno::EINVAL,
                        reason: "no such option",
                    };
                    let option = Opt::short(*letter).ok_or(fault)?;
                    set(&mut request, &mut portage, option, None)?;
                }
            }
            _ => break Some(index),
        }
    };

    request.isolation = request.isolation | portage.decide()?;
    request.command = command.ok_or(Usage {
        word: b"COMMAND",
        errno: Errno::EINVAL,
        reason: "there is no command to run",
    })?;
    Ok(Action::Run(request))
}

impl Portage<'_> {
    /// One without the other would run a phase unboxed that its caller believes boxed.
    fn decide(&self) -> Result<Isolation, Usage<'static>> {
        match (self.features, self.phase) {
            (Some(features), Some(phase)) => Ok(policy::decide(&Context {
                features,
                phase,
                properties: self.properties,
                restrict: self.restrict,
            })),
            (None, None) if self.properties.is_none() && self.restrict.is_none() => {
                Ok(Isolation::default())
            }
            (features, _) => Err(Usage {
                word: if features.is_some() { b"--phase" } else { b"--features" },
                errno: Errno::EINVAL,
                reason: "--features and --phase are given together, with --properties and --restrict",
            }),
        }
    }
}

/// Takes in one option.
fn set<'a>(
    request: &mut Request<'a>,
    portage: &mut Portage<'a>,
    option: Opt,
    value: Option<&'a CStr>,
) -> Result<(), Usage<'a>> {
    let bytes = value.map(CStr::to_bytes);
    match option {
        Opt::Net => request.isolation.net = true,
        Opt::Ipc => request.isolation.ipc = true,
        Opt::Pid => request.isolation.pid = true,
        Opt::Mount => request.isolation.mount = true,
        Opt::Cgroup => {
            request.isolation.cgroup = true;
            request.group_name = bytes.map(check_name).transpose()?;
        }
        Opt::Features => portage.features = bytes,
        Opt::Phase => {
            let name = bytes.unwrap_or_default();
            let unknown = Usage { word: name, errno: Errno::EINVAL, reason: "no such ebuild phase" };
            portage.phase = Some(Phase::from_name(name).ok_or(unknown)?);
        }
        Opt::Properties => portage.properties = bytes,
        Opt::Restrict => portage.restrict = bytes,
        Opt::User => request.user = bytes,
        Opt::Group => request.group = bytes,
        Opt::Groups => request.groups = bytes,
        Opt::Umask => request.umask = Some(parse_umask(bytes.unwrap_or_default())?),
        Opt::CgroupParent => request.cgroup_parent = value,
        Opt::BestEffort => request.best_effort = true,
        Opt::Quiet => request.quiet = true,
        // Returned from where they were met.
        Opt::Help | Opt::Version => {}
    }
    Ok(())
}

/// `name=value` to its parts; the value keeps the NUL that ends the word.
fn split_value<'a>(word: &'a CStr, long: &'a [u8]) -> (&'a [u8], Option<&'a CStr>) {
    let Some(at) = long.iter().position(|byte| *byte == b'=') else {
        return (long, None);
    };
    // Two dashes, the name, the equals sign.
    let value = word.to_bytes_with_nul().get(at + 3..).unwrap_or_default();
    (long.get(..at).unwrap_or_default(), CStr::from_bytes_with_nul(value).ok())
}

/// The part of a long option before `=`, for messages.
fn option_part(word: &CStr) -> &[u8] {
    word.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Checks NAME against its alphabet; `/` is allowed here and written as `:` later.
fn check_name(name: &[u8]) -> Result<&[u8], Usage<'_>> {
    let fault = |errno, reason| Usage { word: name, errno, reason };
    if name.len() > NAME_MAX {
        return Err(fault(Errno::ENAMETOOLONG, "a group's name has at most 128 characters"));
    }
    match name.first() {
        None => return Err(fault(Errno::EINVAL, "a group's name is not empty")),
        Some(b'.') => return Err(fault(Errno::EINVAL, "a group's name does not begin with a dot")),
        Some(_) => {}
    }
    if name.iter().all(|byte| is_name_byte(*byte) || *byte == b'/') {
        Ok(name)
    } else {
        Err(fault(Errno::EINVAL, "a group's name is made of A-Z a-z 0-9 . _ + : - and /"))
    }
}

/// The alphabet of a group's name.
#[must_use]
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b':' | b'-')
}

/// One to four octal digits, at most 0777.
fn parse_umask(text: &[u8]) -> Result<u32, Usage<'_>> {
    let fault = |errno, reason| Usage { word: text, errno, reason };
    if text.is_empty() || !text.iter().all(|digit| matches!(digit, b'0'..=b'7')) {
        return Err(fault(Errno::EINVAL, "a umask is an octal number"));
    }
    let mask = if text.len() > 4 {
        u32::MAX
    } else {
        text.iter().fold(0, |mask, digit| mask * 8 + u32::from(digit - b'0'))
    };
    if mask > 0o777 {
        return Err(fault(Errno::ERANGE, "a umask is at most 0777"));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::string::String;
    use std::vec::Vec;

    /// Parses the words after the program's name and gives the outcome to `check`.
    fn with<T>(words: &[&str], check: impl FnOnce(Result<Action<'_>, Usage<'_>>) -> T) -> T {
        let words: Vec<CString> = std::iter::once(&"phasebox")
            .chain(words)
            .map(|word| CString::new(*word).unwrap())
            .collect();
        check(parse(words.iter().map(CString::as_c_str)))
    }

    fn run(words: &[&str], check: impl FnOnce(&Request<'_>)) {
        with(words, |outcome| match outcome {
            Ok(Action::Run(request)) => check(&request),
            other => panic!("{words:?}: {other:?}"),
        });
    }

    fn refused(words: &[&str]) -> (String, Errno) {
        with(words, |outcome| match outcome {
            Err(usage) => (String::from_utf8_lossy(usage.word).into_owned(), usage.errno),
            Ok(action) => panic!("{words:?}: {action:?}"),
        })
    }

    #[test]
    fn options_end_at_the_first_word_that_is_not_one() {
        run(&["-n", "make", "-i", "--pid"], |request| {
            assert_eq!(request.isolation, Isolation { net: true, ..Isolation::default() });
            assert_eq!(request.command, 2);
        });
        run(&["-n", "--", "-i"], |request| assert_eq!(request.command, 3));
        run(&["-"], |request| assert_eq!(request.command, 1));
        run(&[""], |request| assert_eq!(request.command, 1));
        run(&["--", "--", "x"], |request| assert_eq!(request.command, 2));
    }

    #[test]
    fn short_options_bundle() {
        run(&["-nicpm", "x"], |request| {
            let all = Isolation { net: true, ipc: true, cgroup: true, pid: true, mount: true };
            assert_eq!(request.isolation, all);
        });
        run(&["-n", "-i", "-n", "x"], |request| assert!(request.isolation.ipc));
    }

    #[test]
    fn long_options_take_their_value_either_way() {
        for words in [&["--user=a=b", "x"][..], &["--user", "a=b", "x"]] {
            run(words, |request| assert_eq!(request.user, Some(&b"a=b"[..])));
        }
        run(&["--user", "--group", "x"], |request| {
            assert_eq!(request.user, Some(&b"--group"[..]));
            assert_eq!(request.group, None);
        });
        run(&["--cgroup-parent=", "x"], |request| assert_eq!(request.cgroup_parent, Some(c"")));
    }

    #[test]
    fn the_group_name_is_taken_only_after_an_equals_sign() {
        run(&["--cgroup", "x", "y"], |request| {
            assert_eq!(request.group_name, None);
            assert_eq!(request.command, 2);
        });
        run(&["--cgroup=sys-apps/sed-4.9_p1+x:y", "x"], |request| {
            assert_eq!(request.group_name, Some(&b"sys-apps/sed-4.9_p1+x:y"[..]));
        });
        run(&[&std::format!("--cgroup={}", "a".repeat(128)), "x"], |request| {
            assert_eq!(request.group_name.map(<[u8]>::len), Some(128));
        });
        assert_eq!(refused(&["-c=x", "y"]).0, "-c=x");
    }

    #[test]
    fn the_last_of_an_option_given_twice_counts() {
        run(&["--cgroup=a", "-c", "x"], |request| assert_eq!(request.group_name, None));
        run(&["-c", "--cgroup=a", "--cgroup=b", "x"], |request| {
            assert_eq!(request.group_name, Some(&b"b"[..]));
        });
        run(&["--umask", "0", "--umask=027", "x"], |request| {
            assert_eq!(request.umask, Some(0o27));
        });
        run(&["--features", "cgroup", "--features=", "--phase=test", "x"], |request| {
            assert_eq!(request.isolation, Isolation::default());
        });
    }

    #[test]
    fn features_and_flags_add_up() {
        run(&["-p", "--features", "cgroup ipc-sandbox", "--phase", "src_test", "x"], |request| {
            let isolation = request.isolation;
            assert!(isolation.pid && isolation.cgroup && isolation.ipc);
            assert!(!isolation.net && !isolation.mount);
        });
    }

    #[test]
    fn bad_names_of_groups_are_refused() {
        let long = std::format!("--cgroup={}", "a".repeat(129));
        assert_eq!(refused(&[&long, "x"]).1, Errno::ENAMETOOLONG);
        for name in ["", ".", "..", ".a", "a b", "a\nb", "a\u{e9}", "a,b", "a\\b", "~"] {
            assert_eq!(refused(&[&std::format!("--cgroup={name}"), "x"]), (name.into(), Errno::EINVAL));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (words, at_fault) in [
            (&["--frob", "x"][..], "--frob"),
            (&["--ne", "x"], "--ne"),
            (&["--net=1", "x"], "--net"),
            (&["--frob=secret", "x"], "--frob"),
            (&["-nx", "x"], "-nx"),
            (&["-h"], "-h"),
            (&["--quiet=no", "x"], "--quiet"),
            (&["--user"], "--user"),
            (&["--phase", "src_compil", "--features", "", "x"], "src_compil"),
            (&["--phase", "compile", "x"], "--features"),
            (&["--features", "cgroup", "x"], "--phase"),
            (&["--properties", "live", "x"], "--features"),
            (&["--restrict", "test", "x"], "--features"),
            (&["--umask", "8", "x"], "8"),
            (&["--umask", "", "x"], ""),
            (&["--umask", "-1", "x"], "-1"),
            (&["---", "x"], "---"),
            (&[], "COMMAND"),
            (&["-nic"], "COMMAND"),
            (&["-nic", "--"], "COMMAND"),
        ] {
            assert_eq!(refused(words), (at_fault.into(), Errno::EINVAL), "{words:?}");
        }
        for umask in ["1000", "7777", "00000"] {
            assert_eq!(refused(&["--umask", umask, "x"]).1, Errno::ERANGE);
        }
    }

    #[test]
    fn an_empty_argument_vector_has_no_command() {
        let none: [&CStr; 0] = [];
        assert!(parse(none.into_iter()).is_err());
    }

    #[test]
    fn help_and_version_are_found_among_options_only() {
        with(&["-n", "--help"], |outcome| assert_eq!(outcome, Ok(Action::Help)));
        with(&["--version", "x"], |outcome| assert_eq!(outcome, Ok(Action::Version)));
        run(&["x", "--help"], |request| assert_eq!(request.command, 1));
    }

    #[test]
    fn options_of_root_are_told_apart() {
        for option in ["--user", "--group", "--groups", "--umask", "--cgroup-parent"] {
            run(&[option, "0", "x"], |request| {
                assert_eq!(request.root_only_option(), Some(option));
            });
        }
        run(&["-nicpm", "--quiet", "--best-effort", "x"], |request| {
            assert_eq!(request.root_only_option(), None);
        });
    }
}
