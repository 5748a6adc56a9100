//! What Portage's FEATURES ask for in an ebuild phase, as a table. Pure.
//!
//! FEATURES, PROPERTIES and RESTRICT: make.conf(5) and ebuild(5) of Portage; phases: the Package
//! Manager Specification, chapter "Ebuild-defined functions".
#![forbid(unsafe_code)]

use core::ops::BitOr;

use crate::sys::words::{parts, position};

/// Kinds of isolation, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Isolation(u8);

impl Isolation {
    /// A network with loopback only, and a host name of its own.
    pub const NET: Isolation = Isolation(1);
    /// System V IPC and POSIX message queues.
    pub const IPC: Isolation = Isolation(2);
    /// A control group, whose leftovers are killed.
    pub const CGROUP: Isolation = Isolation(4);
    /// A PID namespace with an init and a /proc of its own.
    pub const PID: Isolation = Isolation(8);
    /// A mount namespace.
    pub const MOUNT: Isolation = Isolation(16);

    /// All kinds, in the order of the options `-nicpm` and of the words in [`FEATURES`].
    pub const ALL: [Isolation; 5] = [
        Isolation::NET,
        Isolation::IPC,
        Isolation::CGROUP,
        Isolation::PID,
        Isolation::MOUNT,
    ];

    /// One of [`Isolation::ALL`]; nothing where there are fewer.
    #[must_use]
    pub fn nth(index: usize) -> Isolation {
        Isolation::ALL.get(index).copied().unwrap_or_default()
    }

    /// The place in [`Isolation::ALL`] of what is one kind only.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    /// Whether it has any of `kinds`.
    #[must_use]
    pub const fn has(self, kinds: Isolation) -> bool {
        self.0 & kinds.0 != 0
    }

    /// The kinds that are also in `other`.
    #[must_use]
    pub const fn only(self, other: Isolation) -> Isolation {
        Isolation(self.0 & other.0)
    }

    /// Without `kinds`.
    #[must_use]
    pub const fn without(self, kinds: Isolation) -> Isolation {
        Isolation(self.0 & !kinds.0)
    }
}

impl BitOr for Isolation {
    type Output = Isolation;

    fn bitor(self, other: Isolation) -> Isolation {
        Isolation(self.0 | other.0)
    }
}

/// Portage's words for [`Isolation::ALL`].
const FEATURES: &str = "network-sandbox ipc-sandbox cgroup pid-sandbox mount-sandbox";

/// The ebuild phases.
const PHASES: &str = "depend \
    src_unpack src_prepare src_configure src_compile src_test src_install \
    pkg_pretend pkg_setup pkg_info pkg_nofetch \
    pkg_preinst pkg_postinst pkg_prerm pkg_postrm pkg_config";

/// The table: for each of [`PHASES`] what can be boxed in it.
const BOXED: [u8; 16] = {
    const NET: u8 = Isolation::NET.0;
    const IPC: u8 = Isolation::IPC.0;
    const CGROUP: u8 = Isolation::CGROUP.0;
    const PID: u8 = Isolation::PID.0;
    const MOUNT: u8 = Isolation::MOUNT.0;
    // depend: metadata is generated for ebuilds that nobody chose to trust.
    const METADATA: u8 = NET | IPC | PID | MOUNT;
    // src_*: builds and tests; src_unpack may keep the network, see `keeps_network`.
    const BUILD: u8 = NET | IPC | CGROUP | PID | MOUNT;
    // pkg_*: they may talk to the host,
    const HOST: u8 = PID | MOUNT;
    // and these deal with its processes.
    const PROCESSES: u8 = MOUNT;
    [
        METADATA, //
        BUILD, BUILD, BUILD, BUILD, BUILD, BUILD, //
        HOST, HOST, HOST, HOST, //
        PROCESSES, PROCESSES, PROCESSES, PROCESSES, PROCESSES,
    ]
};

/// An ebuild phase, by its place in [`PHASES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phase(usize);

impl Phase {
    const DEPEND: Phase = Phase(0);
    const UNPACK: Phase = Phase(1);
    const TEST: Phase = Phase(5);

    /// By the function's name (`src_compile`) or Portage's short form (`compile`).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Phase> {
        let is_name = |word: &[u8]| matches!(word.strip_suffix(name), Some([] | [.., b'_']));
        parts(PHASES.as_bytes(), b' ').position(is_name).map(Phase)
    }
}

/// What the ebuild says of itself, and the user of their system.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// FEATURES.
    pub features: &'a [u8],
    /// The phase that is about to run.
    pub phase: Phase,
    /// PROPERTIES, where they were given.
    pub properties: Option<&'a [u8]>,
    /// RESTRICT, where it was given.
    pub restrict: Option<&'a [u8]>,
}

/// What to isolate.
#[must_use]
pub fn decide(context: &Context<'_>) -> Isolation {
    let mut decided = features(context.features).0 & BOXED.get(context.phase.0).unwrap_or(&0);
    if keeps_network(context) {
        decided &= !Isolation::NET.0;
    }
    Isolation(decided)
}

/// The exceptions to `network-sandbox` that an ebuild may ask for; none for metadata (bug 978846).
fn keeps_network(context: &Context<'_>) -> bool {
    let properties = context.properties;
    match context.phase {
        Phase::DEPEND => false,
        _ if contains(context.restrict, "network-sandbox") => true,
        Phase::UNPACK => properties.is_none() || contains(properties, "live"),
        Phase::TEST => contains(properties, "test_network"),
        _ => false,
    }
}

/// The features that are on: `-word` removes an earlier `word`, `-*` every earlier word.
fn features(list: &[u8]) -> Isolation {
    let mut on = Isolation::default();
    for word in parts(list, b' ') {
        let (name, is_removed) = match word {
            [b'-', name @ ..] => (name, true),
            name => (name, false),
        };
        let kind = match position(FEATURES.as_bytes(), name) {
            Some(index) => Isolation::nth(index),
            None if word == b"-*" => on,
            None => Isolation::default(),
        };
        on = if is_removed {
            on.without(kind)
        } else {
            on | kind
        };
    }
    on
}

fn contains(list: Option<&[u8]>, wanted: &str) -> bool {
    position(list.unwrap_or_default(), wanted.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    const NET: Isolation = Isolation::NET;
    const IPC: Isolation = Isolation::IPC;
    const CGROUP: Isolation = Isolation::CGROUP;
    const PID: Isolation = Isolation::PID;
    const MOUNT: Isolation = Isolation::MOUNT;

    const SRC: [&str; 6] = [
        "unpack",
        "prepare",
        "configure",
        "compile",
        "test",
        "install",
    ];
    const PKG: [&str; 9] = [
        "pretend", "setup", "preinst", "postinst", "prerm", "postrm", "config", "info", "nofetch",
    ];
    const HOST_PIDS: [&str; 5] = ["config", "preinst", "postinst", "prerm", "postrm"];

    fn all_phases() -> Vec<&'static str> {
        let mut phases = Vec::from(["depend"]);
        phases.extend(SRC);
        phases.extend(PKG);
        phases
    }

    fn decided(
        features: &str,
        phase: &str,
        properties: Option<&str>,
        restrict: Option<&str>,
    ) -> Isolation {
        decide(&Context {
            features: features.as_bytes(),
            phase: Phase::from_name(phase.as_bytes()).unwrap(),
            properties: properties.map(str::as_bytes),
            restrict: restrict.map(str::as_bytes),
        })
    }

    #[test]
    fn every_phase_has_a_long_and_a_short_name() {
        for (prefix, names) in [("src_", &SRC[..]), ("pkg_", &PKG[..])] {
            for name in names {
                let long = [prefix, name].concat();
                let phase = Phase::from_name(long.as_bytes());
                assert!(phase.is_some(), "{long}");
                assert_eq!(phase, Phase::from_name(name.as_bytes()), "{long}");
            }
        }
        for wrong in [
            "",
            "src_",
            "src_setup",
            "pkg_compile",
            "Compile",
            "compile ",
            "src_depend",
        ] {
            assert_eq!(Phase::from_name(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn cgroup_boxes_every_src_phase() {
        for phase in all_phases() {
            assert_eq!(
                decided("cgroup", phase, None, None).has(CGROUP),
                SRC.contains(&phase),
                "{phase}"
            );
        }
    }

    #[test]
    fn ipc_sandbox_boxes_every_src_phase_and_depend() {
        for phase in all_phases() {
            let boxed = SRC.contains(&phase) || phase == "depend";
            assert_eq!(
                decided("ipc-sandbox", phase, None, None).has(IPC),
                boxed,
                "{phase}"
            );
        }
    }

    #[test]
    fn pid_sandbox_boxes_every_phase_but_five() {
        for phase in all_phases() {
            let boxed = !HOST_PIDS.contains(&phase);
            assert_eq!(
                decided("pid-sandbox", phase, None, None).has(PID),
                boxed,
                "{phase}"
            );
        }
    }

    #[test]
    fn mount_sandbox_boxes_every_phase() {
        for phase in all_phases() {
            assert!(
                decided("mount-sandbox", phase, None, None).has(MOUNT),
                "{phase}"
            );
        }
    }

    /// The whole product of phases, PROPERTIES and RESTRICT, against the contract's sentences.
    #[test]
    fn network_sandbox_boxes_by_the_table_and_its_exceptions() {
        let properties = [
            None,
            Some(""),
            Some("live"),
            Some("test_network"),
            Some("interactive live test_network"),
        ];
        let restricts = [
            None,
            Some(""),
            Some("network-sandbox"),
            Some("test network-sandbox strip"),
        ];
        for phase in all_phases() {
            for property in properties {
                for restrict in restricts {
                    let live = property.is_some_and(|list| list.contains("live"));
                    let test = property.is_some_and(|list| list.contains("test_network"));
                    let free = restrict.is_some_and(|list| list.contains("network-sandbox"));
                    let boxed = match phase {
                        "depend" => true,
                        _ if free => false,
                        "unpack" => property.is_some() && !live,
                        "test" => !test,
                        _ => SRC.contains(&phase),
                    };
                    let net = decided("network-sandbox", phase, property, restrict).has(NET);
                    assert_eq!(
                        net, boxed,
                        "{phase} PROPERTIES={property:?} RESTRICT={restrict:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_feature_brings_one_kind_of_isolation() {
        for phase in all_phases() {
            for feature in [
                "cgroup",
                "network-sandbox",
                "ipc-sandbox",
                "pid-sandbox",
                "mount-sandbox",
            ] {
                let decided = decided(feature, phase, None, None);
                let count = Isolation::ALL
                    .iter()
                    .filter(|kind| decided.has(**kind))
                    .count();
                assert!(count <= 1, "{feature} in {phase}");
            }
            assert_eq!(decided("", phase, None, None), Isolation::default());
        }
    }

    #[test]
    fn other_words_are_ignored() {
        for features in [
            "sandbox usersandbox userpriv",
            "xcgroup cgroupx",
            "CGROUP",
            "cgroup,x",
        ] {
            assert_eq!(
                decided(features, "compile", None, None),
                Isolation::default()
            );
        }
    }

    #[test]
    fn the_last_word_on_a_feature_counts() {
        for (features, on) in [
            ("cgroup -cgroup", false),
            ("-cgroup cgroup", true),
            ("cgroup -network-sandbox", true),
            ("cgroup -*", false),
            ("-* cgroup", true),
            ("a\tcgroup\nb", true),
        ] {
            assert_eq!(
                decided(features, "compile", None, None).has(CGROUP),
                on,
                "{features:?}"
            );
        }
    }

    #[test]
    fn all_features_together_box_src_compile_whole() {
        let features = String::from(
            "cgroup network-sandbox ipc-sandbox pid-sandbox mount-sandbox sandbox userpriv",
        );
        let all = NET | IPC | CGROUP | PID | MOUNT;
        assert_eq!(decided(&features, "src_compile", Some(""), Some("")), all);
    }
}
