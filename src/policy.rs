//! What Portage's FEATURES ask for in an ebuild phase, as a table. Pure.
//!
//! FEATURES, PROPERTIES and RESTRICT: make.conf(5) and ebuild(5) of Portage; phases: the Package
//! Manager Specification, chapter "Ebuild-defined functions".
#![forbid(unsafe_code)]

use core::ops::BitOr;

/// The kinds of isolation of a box.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Isolation {
    /// A network with loopback only, and a host name of its own.
    pub net: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// A control group, whose leftovers are killed.
    pub cgroup: bool,
    /// A PID namespace with an init and a /proc of its own.
    pub pid: bool,
    /// A mount namespace.
    pub mount: bool,
}

impl BitOr for Isolation {
    type Output = Isolation;

    fn bitor(self, other: Isolation) -> Isolation {
        Isolation {
            net: self.net | other.net,
            ipc: self.ipc | other.ipc,
            cgroup: self.cgroup | other.cgroup,
            pid: self.pid | other.pid,
            mount: self.mount | other.mount,
        }
    }
}

/// An ebuild phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Phase {
    Depend,
    PkgPretend,
    PkgSetup,
    SrcUnpack,
    SrcPrepare,
    SrcConfigure,
    SrcCompile,
    SrcTest,
    SrcInstall,
    PkgPreinst,
    PkgPostinst,
    PkgPrerm,
    PkgPostrm,
    PkgConfig,
    PkgInfo,
    PkgNofetch,
}

impl Phase {
    /// By the function's name (`src_compile`) or Portage's short form (`compile`).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Phase> {
        const SRC: [Phase; 6] = [
            Phase::SrcUnpack,
            Phase::SrcPrepare,
            Phase::SrcConfigure,
            Phase::SrcCompile,
            Phase::SrcTest,
            Phase::SrcInstall,
        ];
        const PKG: [Phase; 9] = [
            Phase::PkgPretend,
            Phase::PkgSetup,
            Phase::PkgPreinst,
            Phase::PkgPostinst,
            Phase::PkgPrerm,
            Phase::PkgPostrm,
            Phase::PkgConfig,
            Phase::PkgInfo,
            Phase::PkgNofetch,
        ];
        let (in_src, in_pkg, short) = match name.split_first_chunk() {
            Some((b"src_", short)) => (true, false, short),
            Some((b"pkg_", short)) => (false, true, short),
            _ if name == b"depend" => return Some(Phase::Depend),
            _ => (true, true, name),
        };
        let src = position("unpack prepare configure compile test install", short);
        let pkg = position("pretend setup preinst postinst prerm postrm config info nofetch", short);
        let src = src.filter(|_| in_src).and_then(|index| SRC.get(index));
        let pkg = pkg.filter(|_| in_pkg).and_then(|index| PKG.get(index));
        src.or(pkg).copied()
    }

    fn is_src(self) -> bool {
        matches!(
            self,
            Phase::SrcUnpack
                | Phase::SrcPrepare
                | Phase::SrcConfigure
                | Phase::SrcCompile
                | Phase::SrcTest
                | Phase::SrcInstall
        )
    }

    /// The phases that deal with the running system and need to see its processes.
    fn touches_running_system(self) -> bool {
        matches!(
            self,
            Phase::PkgConfig
                | Phase::PkgPreinst
                | Phase::PkgPostinst
                | Phase::PkgPrerm
                | Phase::PkgPostrm
        )
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

/// The table.
#[must_use]
pub fn decide(context: &Context<'_>) -> Isolation {
    let phase = context.phase;
    let on = |feature: &[u8]| feature_is_on(context.features, feature);
    Isolation {
        cgroup: on(b"cgroup") && phase.is_src(),
        net: on(b"network-sandbox") && loses_network(context),
        ipc: on(b"ipc-sandbox") && (phase.is_src() || phase == Phase::Depend),
        pid: on(b"pid-sandbox") && !phase.touches_running_system(),
        mount: on(b"mount-sandbox"),
    }
}

/// Which phases `network-sandbox` boxes, with the exceptions that an ebuild may ask for.
fn loses_network(context: &Context<'_>) -> bool {
    let has = |list: Option<&[u8]>, word: &[u8]| list.is_some_and(|list| contains(list, word));
    // Metadata is generated for ebuilds that nobody chose to trust: no exception (bug 978846).
    if context.phase == Phase::Depend {
        return true;
    }
    if !context.phase.is_src() || has(context.restrict, b"network-sandbox") {
        return false;
    }
    match context.phase {
        Phase::SrcUnpack => context.properties.is_some() && !has(context.properties, b"live"),
        Phase::SrcTest => !has(context.properties, b"test_network"),
        _ => true,
    }
}

/// Whether the last word on `feature` in FEATURES turns it on: `-word` removes an earlier `word`,
/// `-*` removes every earlier word.
fn feature_is_on(features: &[u8], feature: &[u8]) -> bool {
    words(features).fold(false, |on, word| match word {
        b"-*" => false,
        [b'-', removed @ ..] if removed == feature => false,
        added if added == feature => true,
        _ => on,
    })
}

/// Which of `list`'s words `wanted` is. One string and a loop: a fifth of the size of a `match`.
#[must_use]
pub fn position(list: &str, wanted: &[u8]) -> Option<usize> {
    words(list.as_bytes()).position(|word| word == wanted)
}

fn contains(list: &[u8], wanted: &[u8]) -> bool {
    words(list).any(|word| word == wanted)
}

fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    const SRC: [&str; 6] = ["unpack", "prepare", "configure", "compile", "test", "install"];
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
        for wrong in ["", "src_", "src_setup", "pkg_compile", "Compile", "compile ", "src_depend"] {
            assert_eq!(Phase::from_name(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn cgroup_boxes_every_src_phase() {
        for phase in all_phases() {
            assert_eq!(decided("cgroup", phase, None, None).cgroup, SRC.contains(&phase), "{phase}");
        }
    }

    #[test]
    fn ipc_sandbox_boxes_every_src_phase_and_depend() {
        for phase in all_phases() {
            let boxed = SRC.contains(&phase) || phase == "depend";
            assert_eq!(decided("ipc-sandbox", phase, None, None).ipc, boxed, "{phase}");
        }
    }

    #[test]
    fn pid_sandbox_boxes_every_phase_but_five() {
        for phase in all_phases() {
            let boxed = !HOST_PIDS.contains(&phase);
            assert_eq!(decided("pid-sandbox", phase, None, None).pid, boxed, "{phase}");
        }
    }

    #[test]
    fn mount_sandbox_boxes_every_phase() {
        for phase in all_phases() {
            assert!(decided("mount-sandbox", phase, None, None).mount, "{phase}");
        }
    }

    /// The whole product of phases, PROPERTIES and RESTRICT, against the contract's sentences.
    #[test]
    fn network_sandbox_boxes_by_the_table_and_its_exceptions() {
        let properties = [
            None, Some(""), Some("live"), Some("test_network"), Some("interactive live test_network"),
        ];
        let restricts = [None, Some(""), Some("network-sandbox"), Some("test network-sandbox strip")];
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
                    let net = decided("network-sandbox", phase, property, restrict).net;
                    assert_eq!(net, boxed, "{phase} PROPERTIES={property:?} RESTRICT={restrict:?}");
                }
            }
        }
    }

    #[test]
    fn one_feature_brings_one_kind_of_isolation() {
        for phase in all_phases() {
            for feature in
                ["cgroup", "network-sandbox", "ipc-sandbox", "pid-sandbox", "mount-sandbox"]
            {
                let Isolation { net, ipc, cgroup, pid, mount } = decided(feature, phase, None, None);
                let count = [net, ipc, cgroup, pid, mount].iter().filter(|on| **on).count();
                assert!(count <= 1, "{feature} in {phase}");
            }
            assert_eq!(decided("", phase, None, None), Isolation::default());
        }
    }

    #[test]
    fn other_words_are_ignored() {
        for features in ["sandbox usersandbox userpriv", "xcgroup cgroupx", "CGROUP", "cgroup,x"] {
            assert_eq!(decided(features, "compile", None, None), Isolation::default());
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
            assert_eq!(decided(features, "compile", None, None).cgroup, on, "{features:?}");
        }
    }

    #[test]
    fn all_features_together_box_src_compile_whole() {
        let features = String::from(
            "cgroup network-sandbox ipc-sandbox pid-sandbox mount-sandbox sandbox userpriv",
        );
        let all = Isolation { net: true, ipc: true, cgroup: true, pid: true, mount: true };
        assert_eq!(decided(&features, "src_compile", Some(""), Some("")), all);
    }
}
