//! The manual page has the options of `--help`, the steps of the README and the capabilities of the
//! Makefile, and mandoc(1) finds no fault with it.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Command;

const PAGE: &str = include_str!("../man/phasebox.8");

/// Long options, with whether they take a value (`=`: an optional one), and short ones.
type Options = BTreeMap<String, &'static str>;

/// `-n, --net`, `--phase PHASE`, `--cgroup[=NAME]` of `--help`, wherever they stand in a line.
fn helped() -> Options {
    let output = Command::new(env!("CARGO_BIN_EXE_phasebox"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let mut options = Options::new();
    // The first line shows the form of a call.
    for line in help.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for (place, word) in words.iter().enumerate() {
            let word = word.trim_start_matches('[').trim_end_matches([',', ']']);
            if !word.starts_with('-') {
                continue;
            }
            let (name, is_optional) = match word.split_once("[=") {
                Some((name, _)) => (name, true),
                None => (word, false),
            };
            let next = words.get(place + 1).copied().unwrap_or_default();
            let has_value =
                !next.is_empty() && !next.contains(|letter: char| letter.is_ascii_lowercase());
            let has_value = has_value && !next.starts_with('-');
            let value = match (is_optional, has_value) {
                (true, _) => "=",
                (false, true) => "value",
                (false, false) => "",
            };
            options.insert(name.to_owned(), value);
        }
    }
    options
}

/// The same of the manual's `.It Fl ...`.
fn described() -> Options {
    let mut options = Options::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix(".It Fl ")) {
        for option in line.split(" , Fl ") {
            let (name, value) = match option.strip_prefix("Fl ") {
                None => (format!("-{option}"), ""),
                Some(long) => {
                    let name = long.split_whitespace().next().unwrap();
                    let value = match () {
                        () if long.contains("Op =") => "=",
                        () if long.contains(" Ar ") => "value",
                        () => "",
                    };
                    (format!("--{name}"), value)
                }
            };
            options.insert(name, value);
        }
    }
    options
}

#[test]
fn the_manual_has_the_options_of_the_program_and_no_other() {
    assert_eq!(described(), helped());
}

/// The block below a heading, between two lines that mark it.
fn block<'a>(text: &'a str, heading: &str, begin: &str, end: &str) -> Vec<&'a str> {
    let section = text.split(heading).nth(1).unwrap();
    let block = section.split(begin).nth(1).unwrap();
    let block = block.split(end).next().unwrap();
    block
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn the_manual_has_the_steps_of_the_readme_in_that_order() {
    let readme = include_str!("../README.md");
    let listed = block(readme, "## What it does, in order", "```", "```");
    assert!(listed.len() > 60, "{listed:#?}");
    assert_eq!(block(PAGE, ".Sh OPERATION", ".Bd -literal", ".Ed"), listed);
}

#[test]
fn the_manual_and_the_ebuild_have_the_capabilities_of_the_makefile() {
    let makefile = include_str!("../Makefile");
    let set = makefile
        .lines()
        .find_map(|line| line.strip_prefix("CAPS = "))
        .unwrap();
    assert!(
        PAGE.contains(&format!("\nsetcap {set} phasebox\n")),
        "{set}"
    );
}

#[test]
fn the_manual_has_the_variables_of_the_bashrc() {
    let bashrc = include_str!("../contrib/portage/phasebox.bashrc");
    let mut used = BTreeSet::new();
    for start in bashrc.match_indices("PHASEBOX").map(|(place, _)| place) {
        let name: String = bashrc[start..]
            .chars()
            .take_while(|letter| letter.is_ascii_uppercase() || *letter == '_')
            .collect();
        used.insert(name);
    }
    let described: BTreeSet<String> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix(".It Va "))
        .map(str::to_owned)
        .collect();
    assert_eq!(described, used);
}

#[test]
fn the_manual_has_the_members_of_the_report() {
    let section = PAGE.split(".Ss Report\n").nth(1).unwrap();
    let section = section.split("\n.Ss ").next().unwrap();
    let described: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix(".It Li ").or(line.strip_prefix(".Li ")))
        .flat_map(|line| line.trim_end_matches(" ,").split(" , Li "))
        .collect();
    let mut told = BTreeSet::new();
    for command in ["sleep 100 & exit 1", "kill -9 $$"] {
        let output = Command::new("sh")
            .args(["-c", "exec 3>&1; \"$0\" -c --report-fd 3 -- sh -c \"$1\""])
            .args([env!("CARGO_BIN_EXE_phasebox"), command])
            .output()
            .unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        // What stands in quotes before a colon.
        let mut quoted = report.split('"').skip(1).step_by(2);
        let mut after = report.split('"').skip(2).step_by(2);
        while let (Some(word), Some(next)) = (quoted.next(), after.next()) {
            if next.starts_with(':') {
                told.insert(word.to_owned());
            }
        }
    }
    assert!(told.contains("exit") && told.contains("signal"), "{told:?}");
    for member in told {
        assert!(described.contains(member.as_str()), "{member}");
    }
}

#[test]
fn mandoc_finds_no_fault_with_the_manual() {
    let mut command = Command::new("mandoc");
    command.args(["-T", "lint", "-W", "warning"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/man/phasebox.8"));
    let Ok(output) = command.output() else {
        // Past the harness's capture: .ci/run looks for it.
        let line = b"SKIPPED manual::mandoc_finds_no_fault_with_the_manual: needs mandoc\n";
        std::io::stderr().write_all(line).unwrap();
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
