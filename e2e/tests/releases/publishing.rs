//! What `scripts/publish-release.sh` publishes, and what it refuses to.

use std::fs;
use std::path::Path;
use std::process::Command;

use banger_e2e::{Ran, Releases, WebServer, files};
use tempfile::TempDir;

use crate::standin::{program, publishing};

/// A server without releases.
fn releases() -> (TempDir, WebServer, Releases) {
    let dir = TempDir::new().expect("a directory");
    let server = WebServer::start(&dir.path().join("releases"));
    let releases = Releases::new(&dir.path().join("releases"), &server.url(""));
    (dir, server, releases)
}

/// `script` with the key and the list of these releases.
fn with_key<'a>(releases: &Releases, script: &'a mut Command) -> &'a mut Command {
    script.arg("--key").arg(releases.key()).args(["--manifest", "/dev/null"])
}

fn expect_refused(mut script: Command, why: &str) {
    script.stdin(std::process::Stdio::null());
    Ran::of(script, b"").expect_code(1).expect_stderr(&[why]);
}

fn shell(dir: &Path, script: &str) -> Ran {
    let mut command = Command::new("bash");
    command.args(["-ec", script]).current_dir(dir);
    Ran::of(command, b"")
}

#[test]
fn a_release_is_what_its_makers_signed() {
    let (_dir, _server, releases) = releases();
    let mut script = publishing(&releases, "v1.2.3");
    with_key(&releases, &mut script);
    Ran::of(script, b"").expect_code(0);
    let names = "SHA256SUMS SHA256SUMS.sig banger-v1.2.3-x86_64-linux.tar.gz banger-v1.2.3.cdx.json \
                 banger_1.2.3_amd64.deb install.sh";
    let listed = shell(releases.dir(), "cd v1.2.3; echo *; sha256sum --quiet --check SHA256SUMS");
    assert_eq!(listed.expect_code(0).stdout, format!("{names}\n"));
    let verify = "openssl dgst -sha256 -verify ../releases.pem -signature <(base64 -d v1.2.3/SHA256SUMS.sig) v1.2.3/SHA256SUMS";
    assert_eq!(shell(releases.dir(), verify).expect_code(0).stdout, "Verified OK\n");
    assert_eq!(
        shell(releases.dir(), "jq -c '.releases[] | [.version, .targets]' manifest.json").stdout,
        "[\"v1.2.3\",[\"x86_64-linux\"]]\n"
    );
    // Owners, modes and order are nobody's machine's.
    let packed = shell(releases.dir(), "tar -tvzf v1.2.3/*.tar.gz | awk '{print $1, $2, $6}'");
    assert!(
        packed.stdout.lines().all(|line| line.contains(" 0/0 banger-v1.2.3-x86_64-linux/")),
        "{}",
        packed.stdout
    );

    // Once more from the same source: the same bytes.
    let before = shell(releases.dir(), "cat v1.2.3/SHA256SUMS").stdout;
    let mut again = publishing(&releases, "v1.2.3");
    with_key(&releases, &mut again);
    Ran::of(again, b"").expect_code(0);
    assert_eq!(shell(releases.dir(), "cat v1.2.3/SHA256SUMS").stdout, before);
}

#[test]
fn who_signs_elsewhere_gives_a_command() {
    let (dir, _server, releases) = releases();
    let signing = |key: &Path| {
        let mut script = publishing(&releases, "v1.0.0");
        let sign = format!("openssl dgst -sha256 -sign {} \"$FILE\" | base64 -w0", key.display());
        script.args(["--manifest", "/dev/null", "--sign", &sign]);
        script.arg("--public-key").arg(releases.public_key());
        script
    };
    let other = Releases::new(&dir.path().join("other"), "http://localhost");
    expect_refused(signing(&other.key()), "the signature is not of the key that the programs have");
    assert!(!releases.dir().join("manifest.json").exists(), "nobody is told of it");
    Ran::of(signing(&releases.key()), b"").expect_code(0);
}

#[test]
fn keys_that_are_none_or_not_one_are_refused() {
    let (dir, _server, releases) = releases();
    let public = |key: &str| {
        let file = dir.path().join("public");
        fs::write(&file, key).expect("a key");
        let mut script = publishing(&releases, "v1.0.0");
        script.args(["--manifest", "/dev/null", "--sign", "false", "--public-key"]).arg(file);
        script
    };
    let placeholder = "the key is none on the curve P-256 (a placeholder?)";
    expect_refused(public("PLACEHOLDER"), placeholder);
    let other =
        shell(dir.path(), "openssl ecparam -name secp384r1 -genkey -noout | openssl ec -pubout");
    expect_refused(public(&other.stdout), placeholder);
    let mut script = publishing(&releases, "v1.0.0");
    script.args(["--manifest", "/dev/null", "--key"]).arg(releases.public_key());
    expect_refused(script, "is no private key");

    // What programs and installer believe.
    let mut drifted = publishing(&releases, "v1.0.0");
    with_key(&releases, &mut drifted).env("OTHER_KEY", &other.stdout);
    expect_refused(drifted, "the program has another key");
    let mut drifted = publishing(&releases, "v1.0.0");
    with_key(&releases, &mut drifted).env("OTHER_VERSION", "0.9.0");
    expect_refused(drifted, "the program says that it is another version");
    assert_eq!(files(releases.dir()), Vec::<String>::new(), "nothing was made");
}

/// The installer of a checkout that believes a key of its own, whatever is filled in.
#[test]
fn an_installer_with_another_key_is_refused() {
    let (dir, _server, releases) = releases();
    let checkout = dir.path().join("checkout");
    let copy =
        "git clone -q --depth 1 \"file://$0\" checkout && cp \"$0\"/scripts/* checkout/scripts/";
    let mut clone = Command::new("bash");
    clone.args(["-ec", copy]).arg(banger_e2e::checkout()).current_dir(dir.path());
    Ran::of(clone, b"").expect_code(0);
    let installer = checkout.join("scripts/install.sh");
    let text = fs::read_to_string(&installer).expect("the installer");
    fs::write(&installer, text.replace("main \"$@\"", "KEY=another\nmain \"$@\"")).expect("it");
    let script = publishing(&releases, "v1.0.0");
    let mut own = Command::new(checkout.join("scripts/publish-release.sh"));
    own.args(script.get_args())
        .envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with_key(&releases, &mut own);
    expect_refused(own, "the installer has more than one key");

    // A release is of a commit.
    let mut committed = Command::new(checkout.join("scripts/publish-release.sh"));
    committed.args(script.get_args().filter(|word| *word != "--snapshot"));
    with_key(&releases, &mut committed);
    expect_refused(committed, "there are changes that are not committed");
}

#[test]
fn a_release_that_is_there_does_not_change() {
    let (_dir, _server, releases) = releases();
    let mut without_list = publishing(&releases, "v1.0.0");
    without_list.arg("--key").arg(releases.key());
    expect_refused(without_list, "is this the first release? (--manifest /dev/null)");
    let mut first = publishing(&releases, "v1.0.0");
    with_key(&releases, &mut first);
    Ran::of(first, b"").expect_code(0);
    let archive = releases.dir().join("v1.0.0/banger-v1.0.0-x86_64-linux.tar.gz");
    fs::write(&archive, "as it was").expect("the archive");
    let mut again = publishing(&releases, "v1.0.0");
    // The list as the server has it.
    again.arg("--key").arg(releases.key());
    expect_refused(again, "v1.0.0 is in the list already: releases do not change");
    assert_eq!(fs::read_to_string(&archive).expect("the archive"), "as it was");

    let mut next = publishing(&releases, "v1.1.0-rc.1");
    next.arg("--key").arg(releases.key());
    Ran::of(next, b"").expect_code(0);
    let list = shell(releases.dir(), "jq -r '.releases[].version' manifest.json").stdout;
    assert_eq!(list, "v1.0.0\nv1.1.0-rc.1\n");
    assert!(releases.dir().join("v1.1.0-rc.1/banger_1.1.0~rc.1_amd64.deb").exists());
}

#[test]
fn the_list_is_uploaded_last_and_only_after_everything_else() {
    let (dir, server, _releases) = releases();
    // What is uploaded goes to the server's directory, and is made in another one.
    let made = Releases::new(&dir.path().join("made"), &server.url(""));
    let upload = |command: &str| {
        let mut script = publishing(&made, "v1.0.0");
        with_key(&made, &mut script).args(["--upload", command]).env("TO", dir.path());
        script
    };
    let put = "echo $NAME >>$TO/order; install -D -m 0644 $FILE $TO/releases/$NAME";
    let broken = upload(&format!("case $NAME in *.deb) exit 3 ;; esac; {put}"));
    assert_eq!(Ran::of(broken, b"").code(), 3);
    assert!(!dir.path().join("releases/manifest.json").exists());

    fs::remove_file(dir.path().join("order")).expect("what was uploaded");
    Ran::of(upload(put), b"").expect_code(0);
    let order = fs::read_to_string(dir.path().join("order")).expect("what was uploaded");
    assert_eq!(order.lines().last(), Some("manifest.json"));
    assert_eq!(order.lines().count(), 8, "{order}");
    let same = shell(dir.path(), "diff -r made releases").expect_code(0);
    assert_eq!(same.stdout, "");

    fs::remove_file(dir.path().join("releases/manifest.json")).expect("the list");
    let losing = format!("case $NAME in */SHA256SUMS) FILE=/etc/hostname ;; esac; {put}");
    expect_refused(upload(&losing), "has other hashes than were uploaded");
    assert!(!dir.path().join("releases/manifest.json").exists());
}

#[test]
fn a_missing_tool_is_named() {
    let (dir, _server, releases) = releases();
    let mut script = publishing(&releases, "v1.0.0");
    with_key(&releases, &mut script);
    let bin = dir.path().join("few");
    program(&bin, "git", "#!/bin/sh\n");
    for name in ["bash", "env", "dirname", "realpath"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), bin.join(name)).expect("a program");
    }
    script.env("PATH", bin);
    expect_refused(script, "`jq` is missing");
}
