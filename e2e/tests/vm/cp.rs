//! Copying with a real guest, both ways.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use banger_e2e::Home;

const MIB: usize = 1 << 20;

/// All that a copy keeps of a tree: modes, times, contents.
type Seen = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

fn look(top: &Path) -> Seen {
    fn walk(top: &Path, path: &Path, seen: &mut Seen) {
        let stat = path.symlink_metadata().expect("stat");
        let contents = if stat.is_file() {
            std::fs::read(path).expect("contents")
        } else if stat.is_symlink() {
            std::fs::read_link(path).expect("target").as_os_str().as_bytes().to_vec()
        } else {
            for entry in std::fs::read_dir(path).expect("directory") {
                walk(top, &entry.expect("entry").path(), seen);
            }
            Vec::new()
        };
        let name = path.strip_prefix(top).expect("inside").to_owned();
        seen.insert(name, (stat.mode(), stat.mtime(), stat.mtime_nsec(), contents));
    }
    let mut seen = Seen::new();
    walk(top, top, &mut seen);
    seen
}

/// A tree with what makes copying difficult.
fn make_tree(top: &Path) {
    std::fs::create_dir_all(top.join("with space/deep/er")).expect("directories");
    std::fs::create_dir(top.join("empty")).expect("directory");
    std::fs::write(top.join("new\nline"), "odd").expect("file");
    std::fs::write(top.join(OsStr::from_bytes(b"not \xff\xfe utf-8")), "odder").expect("file");
    std::fs::write(top.join("n".repeat(255)), "long").expect("file");
    let program = top.join("with space/deep/er/program");
    std::fs::write(&program, "#!/bin/sh\necho ran\n").expect("file");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o750)).expect("mode");
    symlink("with space/deep", top.join("link")).expect("link");
    symlink("/nowhere/at all", top.join("dangling")).expect("link");
    let large: Vec<u8> = (0..30 * MIB).map(|at| (at / 977 % 251) as u8).collect();
    std::fs::write(top.join("large"), large).expect("file");
    std::fs::File::create(top.join("holes")).and_then(|f| f.set_len(5 << 20)).expect("file");
    std::fs::set_permissions(top.join("empty"), PermissionsExt::from_mode(0o500)).expect("mode");
}

#[test]
fn trees_go_in_and_come_back_as_they_were() {
    let home = Home::new();
    let vm = home.create("copier", &[]);
    let tree = home.path().join("tree");
    make_tree(&tree);
    let (source, back) = (tree.display().to_string(), home.path().join("back"));
    let sh = |script: &str| home.exec(&vm, &["sh", "-c", script]).expect_code(0).stdout;

    home.banger(["vm", "cp", &source, &format!("{vm}:/srv")]).expect_code(0);
    assert_eq!(sh("'/srv/tree/with space/deep/er/program'"), "ran\n");
    assert_eq!(sh("stat -c '%U %a' /srv/tree/link/er/program"), "root 750\n");
    assert_eq!(sh("readlink /srv/tree/dangling"), "/nowhere/at all\n");
    assert_eq!(sh("ls -A /srv"), "tree\n", "nothing else is left");
    home.banger(["vm", "cp", &format!("{vm}:/srv/tree"), back.to_str().expect("UTF-8")])
        .expect_code(0);
    assert_eq!(look(&tree), look(&back));

    // Merged: what is in it, and a file in the place of another, into what is there.
    sh("mkdir -m 700 there; echo old >there/large; echo kept >there/kept");
    home.banger(["vm", "cp", &format!("{source}/."), &format!("{vm}:there")]).expect_code(0);
    assert_eq!(
        sh("stat -c '%a %s' there there/large; cat there/kept").lines().next(),
        Some("700 4096")
    );
    assert_eq!(sh("stat -c %s there/large; cat there/kept"), format!("{}\nkept\n", 30 * MIB));

    // Devices and the kernel's own are named, and the rest comes.
    let dev = home.path().join("dev");
    home.banger(["vm", "cp", &format!("{vm}:/dev"), dev.to_str().expect("UTF-8")])
        .expect_code(0)
        .expect_stderr(&["`dev/console`: it is a device, which is not copied", "more"]);
    assert!(dev.join("stdin").symlink_metadata().expect("link").is_symlink());

    home.banger(["vm", "cp", &format!("{vm}:/nope"), "x"])
        .expect_code(1)
        .expect_stderr(&["cannot read `/nope` in the guest"]);
    home.banger(["vm", "cp", &source, &format!("{vm}:/no/pe")])
        .expect_code(1)
        .expect_stderr(&["cannot copy to `/no/pe` in the guest", "hint:"]);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    home.banger(["vm", "cp", &source, &format!("{vm}:/srv")])
        .expect_code(1)
        .expect_stderr(&["does not run", "banger vm start copier"]);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
