//! The reader that judges banger's images is judged here, by an image that `mke2fs` made.

use std::process::Command;

use banger_e2e::{Sample, Tree, ext4, oci, tree};

#[test]
fn reads_what_mke2fs_wrote() {
    let dir = tempfile::tempdir().expect("directory");
    let (unpacked, mut expected) = oci::unpack_to(Sample::Odd, dir.path());
    let image = dir.path().join("image.ext4");
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-I", "256", "-b", "4096", "-d"])
        .args([&unpacked, &image])
        .arg("256M")
        .status();
    assert!(made.expect("mke2fs").success());
    ext4::expect_clean(&image);
    let mut found = ext4::read_image(&image);
    // What mke2fs leaves out (nanoseconds, later centuries, second names of symbolic links), and
    // the root, which it made itself.
    let of_interest = |tree: &mut Tree| {
        tree.remove(b"".as_slice());
        tree.remove(b"links/symlink-too".as_slice());
        tree.values_mut().for_each(|entry| entry.modified = (0, 0));
    };
    of_interest(&mut expected);
    of_interest(&mut found);
    let differences = tree::differences(&expected, &found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(found.len() > 3000, "only {} entries", found.len());
}
