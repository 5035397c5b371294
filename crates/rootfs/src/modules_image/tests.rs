//! Judged by kmod itself, and by `debugfs` and `e2fsck` for the file system.

use std::process::Command;

use super::*;
use crate::modinfo::tests::module;
use crate::modules::tests::Source;

const VERSION: &str = "6.1.0-9-test";

fn source() -> Source {
    let mut source = Source { builtin: vec!["ext4"], ..Source::default() };
    let files = [
        ("kernel/net/llc/llc.ko", "depends=\0"),
        ("kernel/net/802/stp.ko", "depends=llc\0"),
        ("kernel/net/bridge/bridge.ko", "depends=stp,llc,ipv6\0alias=rtnl-link-bridge\0"),
        ("kernel/net/bridge/br_netfilter.ko", "depends=bridge\0"),
        ("kernel/drivers/net/tun.ko", "depends=\0alias=char-major-10-200\0alias=devname:net/tun\0"),
        ("kernel/drivers/net/ethernet/nic.ko", "depends=\0"),
        ("kernel/drivers/infiniband/rdma.ko", "depends=\0"),
        ("kernel/fs/smb.ko", "depends=rdma\0softdep=pre: llc\0alias=fs-smb[0-9]\0"),
        ("kernel/fs/broken.ko", "depends=nowhere\0"),
    ];
    source.files.extend(files.map(|(path, modinfo)| (path, module(modinfo))));
    let packed = zstd::encode_all(&module("depends=\0")[..], 1).unwrap();
    source.files.insert("kernel/fs/packed.ko.zst", packed);
    source.beside.insert("modules.builtin", "kernel/net/ipv6/ipv6.ko\nkernel/fs/ext4/ext4.ko\n");
    source.beside.insert("modules.builtin.modinfo", "ext4.alias=fs-ext4\0");
    source.beside.insert("modules.order", "kernel/net/802/stp.ko\nkernel/net/llc/llc.ko\n");
    source
}

/// Writes an image and unpacks it; where `lib/modules` is, and how many modules can be loaded.
fn unpacked(place: &Path) -> usize {
    let image = place.join("modules.ext4");
    let file = File::create_new(&image).unwrap();
    let count = write_modules_image(&mut source(), VERSION, place, &file).unwrap().unwrap();
    let fsck = Command::new("e2fsck").arg("-fn").arg(&image).output().unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
    let root = place.join("root");
    fs_err::create_dir(&root).unwrap();
    let dump = format!("rdump / {}", root.display());
    assert!(
        Command::new("debugfs").args(["-R", &dump]).arg(&image).output().unwrap().status.success()
    );
    assert!(!place.join("modules.tar").exists());
    count
}

fn modprobe(root: &Path, module: &str) -> String {
    let depends = Command::new("modprobe")
        .args(["--show-depends", "-S", VERSION, "-C", "/dev/null", "-d"])
        .arg(root)
        .arg(module)
        .output()
        .expect("kmod is needed by this test");
    let text = String::from_utf8(depends.stdout).unwrap();
    let files = text.lines().map(|line| line.trim().rsplit('/').next().unwrap());
    files.collect::<Vec<_>>().join(" ")
}

#[test]
fn kmod_finds_modules_by_every_name() {
    let place = tempfile::tempdir().unwrap();
    // Neither `ethernet/` nor what only needs it, nor one that lacks what it needs.
    assert_eq!(unpacked(place.path()), 8);
    let root = place.path().join("root");
    for (asked, loaded) in [
        ("br-netfilter", "llc.ko stp.ko bridge.ko br_netfilter.ko"),
        ("rtnl-link-bridge", "llc.ko stp.ko bridge.ko"),
        ("char-major-10-200", "tun.ko"),
        ("fs-smb3", "rdma.ko llc.ko smb.ko"),
        ("packed", "packed.ko"),
        ("ext4", "builtin ext4"),
        ("fs-ext4", "builtin ext4"),
        ("nic", ""),
        ("broken", ""),
        ("nowhere", ""),
    ] {
        assert_eq!(modprobe(&root, asked), loaded, "{asked}");
    }
    let packed = root.join("usr/lib/modules").join(VERSION).join("kernel/fs/packed.ko");
    assert_eq!(fs_err::read(packed).unwrap(), module("depends=\0"));
}

#[test]
fn the_same_modules_give_the_same_bytes() {
    let bytes = || {
        let place = tempfile::tempdir().unwrap();
        unpacked(place.path());
        fs_err::read(place.path().join("modules.ext4")).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn nothing_is_made_of_nothing_and_of_odd_names() {
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image");
    let write = |source: &mut Source, version: &str| {
        let _ = fs_err::remove_file(&image);
        write_modules_image(source, version, place.path(), &File::create_new(&image).unwrap())
    };
    let mut odd = Source::default();
    for path in ["kernel/fs/a b.ko", "kernel/fs/a:.ko", "kernel/drivers/gpu/x.ko"] {
        odd.files.insert(path, module("depends=\0"));
    }
    assert!(matches!(write(&mut odd, VERSION), Ok(None)));
    for version in ["..", "6.1/../x", ""] {
        let error = write(&mut source(), version).unwrap_err();
        assert!(matches!(error, ModulesImageError::Version(_)), "{error:?}");
    }
    odd.files.insert("kernel/fs/../../../../x.ko", module("depends=\0"));
    assert!(write(&mut odd, VERSION).is_err());
}

#[test]
fn a_module_with_endless_needs_is_not_loaded() {
    let mut taken = BTreeMap::new();
    for number in 0..1000 {
        let info = ModInfo { depends: vec![format!("m{}", number + 1)], ..ModInfo::default() };
        taken.insert(format!("m{number}"), Taken { path: "x".into(), info });
    }
    taken.insert("m1000".into(), Taken { path: "x".into(), info: ModInfo::default() });
    let builtin = BTreeSet::new();
    assert_eq!(load_order(&taken, &builtin, "m0"), None);
    assert_eq!(load_order(&taken, &builtin, "m900").unwrap().len(), 100);
    let circle = ModInfo { depends: vec!["a".into()], ..ModInfo::default() };
    taken.insert("a".into(), Taken { path: "a".into(), info: circle });
    assert_eq!(load_order(&taken, &builtin, "a").unwrap(), [""; 0]);
}
