//! What `make install`, `make install-setuid` and `make install-caps` put where, for whom it works,
//! and the installations that are refused.
#![allow(missing_docs, unsafe_code)]

mod common;

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use common::installed::{CAPABILITIES, install_file, set_capabilities};
use common::*;

/// make(1) in this checkout, with a build of its own: with set-id support, or without.
fn make(set_id: bool, words: &[&str]) -> Output {
    static TARGETS: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let target = TARGETS[usize::from(set_id)].get_or_init(|| scratch(0));
    let mut command = Command::new("make");
    command
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(["PREFIX=/usr", "BINDIR=/usr/bin", "DOCDIR=/usr/share/doc/it"])
        .arg(format!("CARGO_TARGET_DIR={}", word(target)))
        .arg(if set_id { "SETUID=yes" } else { "SETUID=no" })
        .args(words)
        .env("CARGO_NET_OFFLINE", "true")
        .stdin(Stdio::null());
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(variable);
    }
    // A build may take longer than anything else that is waited for.
    command.output().unwrap()
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `make TARGET` installs, and the directory that it is installed in.
fn made(set_id: bool, target: &str, options: &[&str]) -> (PathBuf, PathBuf) {
    let image = scratch(0);
    let destination = format!("DESTDIR={}", word(&image));
    let output = make(set_id, &[&[target, &destination], options].concat());
    assert!(output.status.success(), "{target}: {output:?}");
    (image.join("usr/bin/phasebox"), image)
}

/// A group of this machine that is not root's: its name and its number.
fn some_group() -> (String, u32) {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let id = fields.nth(1)?.parse().ok()?;
        (id != 0).then_some((name, id))
    });
    found.unwrap()
}

fn assert_is(path: &Path, owner: u32, group: u32, mode: u32) {
    let file = fs::metadata(path).unwrap();
    assert_eq!((file.uid(), file.gid()), (owner, group));
    assert_eq!(
        format!("{:o}", file.permissions().mode() & 0o7777),
        format!("{mode:o}")
    );
}

/// The file's capabilities as they are stored. capabilities(7), struct vfs_cap_data.
fn capabilities_of(path: &Path) -> Option<Vec<u32>> {
    let path = CString::new(word(path)).unwrap();
    let mut value = [0u8; 64];
    // SAFETY: NUL-ended strings, and at most as many bytes are written as the array has.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    let length = usize::try_from(length).ok()?;
    let words = value[..length].chunks_exact(4);
    Some(
        words
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect(),
    )
}

/// `program`, called by [`USER`] with these groups.
fn called_with(program: &Path, groups: &'static [u32], words: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).current_dir("/");
    become_with_groups(&mut command, USER, groups);
    run(command)
}

/// Says in which user namespace it is, and what control group.
const PLACE: &[&str] = &[
    "-nic",
    "sh",
    "-c",
    "readlink /proc/self/ns/user; id -u; sed -n s/^0:://p /proc/self/cgroup",
];

/// Whether a box that said so was made with rights that were lent.
fn is_lent(output: &Output) -> bool {
    assert!(output.status.success(), "{output:?}");
    let told = text(&output.stdout);
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[1], USER.to_string());
    let host = fs::read_link("/proc/self/ns/user").unwrap();
    let is_lent = told[0] == host.to_str().unwrap();
    assert_eq!(told[2].contains("/phasebox:sh."), is_lent, "{told:?}");
    is_lent
}

#[test]
fn make_install_installs_a_program_without_privileges_for_everyone() {
    needs_root!();
    plain_install_only!();
    for set_id in [true, false] {
        let (program, image) = made(set_id, "install", &[]);
        assert_is(&program, 0, 0, 0o755);
        assert_eq!(capabilities_of(&program), None);
        assert!(!is_lent(&called_with(&program, &[], PLACE)));
        assert_complete(&image);
    }
}

/// What is installed beside the program, in every way.
const BESIDE: [&str; 10] = [
    "bash-completion/completions/phasebox",
    "doc/it/CHANGELOG.md",
    "doc/it/README.md",
    "doc/it/SECURITY.md",
    "doc/it/portage/README.md",
    "doc/it/recipes/README.md",
    "fish/vendor_completions.d/phasebox.fish",
    "man/man8/phasebox.8",
    "phasebox/phasebox.bashrc",
    "zsh/site-functions/_phasebox",
];

/// Asserts that all of it is there, for everyone to read, and nothing else.
fn assert_complete(image: &Path) {
    let share = image.join("usr/share");
    let found = Command::new("find")
        .args([".", "-type", "f", "-printf", "%P\\n"])
        .current_dir(&share)
        .output()
        .unwrap();
    let found = text(&found.stdout);
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(found, BESIDE);
    for file in found {
        assert_is(&share.join(file), 0, 0, 0o644);
    }
}

/// A group that the caller of [`called_with`] has, by the number that [`some_group`] gives.
fn members_groups(group: u32) -> &'static [u32] {
    static GROUPS: OnceLock<[u32; 1]> = OnceLock::new();
    GROUPS.get_or_init(|| [group])
}

#[test]
fn make_install_setuid_lends_roots_rights_to_the_members_of_the_group_alone() {
    needs_root!();
    plain_install_only!();
    let (name, group) = some_group();
    let (program, image) = made(true, "install-setuid", &[&format!("GROUP={name}")]);
    assert_complete(&image);
    assert_is(&program, 0, group, 0o4710);
    assert_eq!(capabilities_of(&program), None);
    assert_serves_members_alone(&program, group);
}

#[test]
fn make_install_caps_lends_capabilities_to_the_members_of_the_group_alone() {
    needs_root!();
    plain_install_only!();
    let (name, group) = some_group();
    let (program, image) = made(true, "install-caps", &[&format!("GROUP={name}")]);
    assert_complete(&image);
    assert_is(&program, 0, group, 0o710);
    // Revision 2, nothing in force from the start, nothing inheritable.
    let expected = [0x0200_0000, CAPABILITIES, 0, 0, 0];
    assert_eq!(capabilities_of(&program).unwrap(), expected);
    assert_serves_members_alone(&program, group);
}

fn assert_serves_members_alone(program: &Path, group: u32) {
    assert!(is_lent(&called_with(program, members_groups(group), PLACE)));
    let mut other = Command::new("sh");
    other
        .args(["-c", "\"$0\" -n echo ran", word(program)])
        .stdin(Stdio::null())
        .current_dir("/");
    become_user(&mut other);
    let output = run(other);
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let mut reader = Command::new("cat");
    reader.arg(program).stdin(Stdio::null()).current_dir("/");
    become_with_groups(&mut reader, USER, members_groups(group));
    assert!(!run(reader).status.success(), "a member can read it");
}

/// Asserts that this is refused with this reason, and nothing is installed.
fn assert_not_made(set_id: bool, target: &str, option: &str, reason: &str) {
    let image = scratch(0);
    let destination = format!("DESTDIR={}", word(&image));
    let output = make(set_id, &[target, &destination, option]);
    assert!(!output.status.success(), "{target} {option}");
    assert!(text(&output.stderr).contains(reason), "{output:?}");
    assert_eq!(
        fs::read_dir(&image).unwrap().count(),
        0,
        "{target} {option}"
    );
}

#[test]
fn for_a_group_that_does_not_exist_nothing_is_installed() {
    needs_root!();
    plain_install_only!();
    for target in ["install-setuid", "install-caps"] {
        for group in ["no-such-group", "", "1999999999"] {
            let reason = format!("there is no group '{group}'; choose one by GROUP=");
            assert_not_made(true, target, &format!("GROUP={group}"), &reason);
        }
    }
}

#[test]
fn without_set_id_support_nothing_is_installed_that_lends_rights() {
    needs_root!();
    plain_install_only!();
    let option = format!("GROUP={}", some_group().0);
    for target in ["install-setuid", "install-caps"] {
        assert_not_made(false, target, &option, "SETUID=no");
    }
}

#[test]
fn a_build_without_set_id_support_refuses_to_run_set_user_id_and_works_otherwise() {
    needs_root!();
    plain_install_only!();
    let (built, _) = made(false, "install", &[]);
    let set_id = install_file(&built, "set-id", (0, USER), 0o4710);
    let output = called_with(&set_id, &[], PLACE);
    assert_refused(&output, "unable to run set-id: ");
    // Root's call changes no ids.
    let mut roots = Command::new(&set_id);
    roots.args(PLACE).current_dir("/");
    assert!(run(roots).status.success());

    // Capabilities are not refused, and not used.
    let capable = install_file(&built, "capable", (0, USER), 0o710);
    set_capabilities(&capable, CAPABILITIES);
    assert!(!is_lent(&called_with(&capable, &[], PLACE)));
    assert!(!is_lent(&called_with(&built, &[], PLACE)));
}

#[test]
fn a_file_that_is_set_id_to_anybody_but_root_is_refused() {
    needs_root!();
    plain_install_only!();
    let (user, group) = (USER + 1, USER + 2);
    for (owner, owners_group, mode) in [
        (user, 0, 0o4755),
        (user, group, 0o6755),
        (0, group, 0o6755),
        (0, group, 0o2755),
        (user, group, 0o2755),
    ] {
        let program = install_file(plain_program(), "other", (owner, owners_group), mode);
        for caller in [Caller::Root, Caller::User] {
            for words in [PLACE, &["-n", "echo", "ran"], &["--version"], &[]] {
                let mut command = Command::new(&program);
                command.args(words).stdin(Stdio::null()).current_dir("/");
                if caller == Caller::User {
                    become_user(&mut command);
                }
                let shown = format!("{caller:?} {owner}:{owners_group} {mode:o} {words:?}");
                let output = run(command);
                assert_eq!(output.status.code(), Some(125), "{shown}: {output:?}");
                assert_refused(&output, "unable to run set-id: ");
            }
        }
    }
}
