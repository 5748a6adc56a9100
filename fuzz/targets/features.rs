//! FEATURES, a phase's name, PROPERTIES and RESTRICT, a NUL between them; the last two may be missing.
//!
//! Judged by the sentences of the contract.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phasebox::policy::{self, Context, Isolation, Phase};

const SRC: [&str; 6] = [
    "unpack",
    "prepare",
    "configure",
    "compile",
    "test",
    "install",
];
const PKG: [&str; 9] = [
    "pretend", "setup", "info", "nofetch", "preinst", "postinst", "prerm", "postrm", "config",
];
/// Phases that deal with the host's processes.
const HOST: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// The short name of a phase.
fn short_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(short) = name.strip_prefix("src_") {
        return SRC.contains(&short).then_some(short);
    }
    if let Some(short) = name.strip_prefix("pkg_") {
        return PKG.contains(&short).then_some(short);
    }
    let known = name == "depend" || SRC.contains(&name) || PKG.contains(&name);
    known.then_some(name)
}

fn split(list: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let words = list.split(|byte| b" \t\n\r\x0c".contains(byte));
    words.filter(|word| !word.is_empty())
}

fn has(list: Option<&[u8]>, wanted: &[u8]) -> bool {
    list.is_some_and(|list| split(list).any(|word| word == wanted))
}

/// Whether the last word on a feature, if there is one, adds it.
fn is_on(features: &[u8], feature: &str) -> bool {
    for word in split(features).rev() {
        if word == feature.as_bytes() {
            return true;
        }
        if word == b"-*" || word.strip_prefix(b"-") == Some(feature.as_bytes()) {
            return false;
        }
    }
    false
}

fuzz_target!(|data: &[u8]| {
    let mut fields = data.split(|byte| *byte == 0);
    let features = fields.next().unwrap_or_default();
    let name = fields.next().unwrap_or_default();
    let (properties, restrict) = (fields.next(), fields.next());

    let phase = Phase::from_name(name);
    let short = short_name(name);
    assert_eq!(phase.is_some(), short.is_some());
    let (Some(phase), Some(short)) = (phase, short) else {
        return;
    };
    assert_eq!(Phase::from_name(short.as_bytes()), Some(phase));

    let context = Context {
        features,
        phase,
        properties,
        restrict,
    };
    let decided = policy::decide(&context);
    let is_src = SRC.contains(&short);
    let is_depend = short == "depend";
    let keeps_network = match short {
        "depend" => false,
        _ if has(restrict, b"network-sandbox") => true,
        "unpack" => properties.is_none() || has(properties, b"live"),
        "test" => has(properties, b"test_network"),
        _ => !is_src,
    };
    let expected = [
        ("network-sandbox", Isolation::NET, !keeps_network),
        ("ipc-sandbox", Isolation::IPC, is_src || is_depend),
        ("cgroup", Isolation::CGROUP, is_src),
        ("pid-sandbox", Isolation::PID, !HOST.contains(&short)),
        ("mount-sandbox", Isolation::MOUNT, true),
    ];
    let mut asked = Isolation::default();
    for (feature, kind, can_be_boxed) in expected {
        let on = is_on(features, feature);
        assert_eq!(
            decided.has(kind),
            on && can_be_boxed,
            "{feature} in {short}"
        );
        if on {
            asked = asked | kind;
        }
    }
    // Nothing that has no name here, either.
    assert_eq!(decided.without(asked), Isolation::default());
});
