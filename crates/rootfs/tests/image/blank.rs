//! Empty file systems that VMs write to.

use std::os::unix::fs::MetadataExt;

use banger_rootfs::blank::write_blank;
use banger_rootfs::ext4::Identity;

use super::image::check;

#[test]
fn blank_disks_are_clean_and_take_little_room() {
    let place = tempfile::tempdir().unwrap();
    for gib in [1, 8, 100] {
        let path = place.path().join(format!("{gib}.ext4"));
        let file = std::fs::File::create(&path).unwrap();
        let identity = Identity { uuid: [7; 16], label: "writable".into(), epoch: 1_700_000_000 };
        write_blank(&file, gib << 30, &identity).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), gib << 30);
        assert!(metadata.blocks() * 512 < 2_000_000, "{gib} GiB: {}", metadata.blocks());
        check(&path);
    }
    // One that is no file system at all would pass for clean above if `e2fsck` were not run.
    let no_ext4 = place.path().join("zeros");
    std::fs::write(&no_ext4, vec![0; 1 << 20]).unwrap();
    assert!(std::panic::catch_unwind(|| check(&no_ext4)).is_err());
}
