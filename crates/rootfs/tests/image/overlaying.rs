//! What layers do to each other, as the OCI image specification has it.

use tar::EntryType;

use super::image::{image, refusal};
use super::tar::Tar;

#[test]
fn whiteouts_hide_what_is_below() {
    let image = image([
        Tar::new().file("a/b/c", "1").file("a/d", "1").file("keep", "1"),
        Tar::new().whiteout("a/b").whiteout("nothing/there").whiteout("keep/no-directory"),
        Tar::new().whiteout("a/d"),
    ]);
    assert_eq!(image.names(), ["a", "keep"]);
}

#[test]
fn whiteouts_never_hide_their_own_layer() {
    let lower = || Tar::new().file("a/old", "1").file("a/both", "1").file("f", "1");
    // Whichever comes first.
    let first = Tar::new().whiteout("a").whiteout("f").file("a/both", "2").file("f", "2");
    let last = Tar::new().file("a/both", "2").file("f", "2").whiteout("a").whiteout("f");
    let (first, last) = (image([lower(), first]), image([lower(), last]));
    for image in [&first, &last] {
        assert_eq!(image.names(), ["a", "a/both", "f"]);
        assert_eq!((image.cat("a/both"), image.cat("f")), (b"2".to_vec(), b"2".to_vec()));
        // The directory of below is gone; the one that is there now is only implied.
        assert_eq!(image.get("a").mode, 0o755);
    }
}

#[test]
fn opaque_directories_hide_what_is_below_wherever_they_say_so() {
    let lower = || Tar::new().directory("d", 0o700).file("d/old/x", "1").file("d/sub/y", "1");
    let upper = |tar: Tar| tar.directory("d", 0o711).file("d/new", "2").file("d/sub/z", "2");
    let first = image([lower(), upper(Tar::new().opaque("d"))]);
    let last = image([lower(), upper(Tar::new()).opaque("d")]);
    let twice = image([lower(), upper(Tar::new().opaque("d")).opaque("d").opaque("d/sub")]);
    for image in [first, last, twice] {
        assert_eq!(image.names(), ["d", "d/new", "d/sub", "d/sub/z"]);
        assert_eq!(image.get("d").mode, 0o711);
    }
    // A layer above starts anew.
    let image =
        image([lower(), upper(Tar::new().opaque("d")), Tar::new().opaque("d").file("d/n", "")]);
    assert_eq!(image.names(), ["d", "d/n"]);
}

#[test]
fn an_opaque_root_hides_everything() {
    let image =
        image([Tar::new().file("a/b", ""), Tar::new().file(".wh..wh..opq", "").file("c", "")]);
    assert_eq!(image.names(), ["c"]);
}

#[test]
fn other_names_with_that_beginning_are_nobodys_business() {
    let image = image([
        Tar::new().file("a", "1").directory(".wh..wh.plnk", 0o700).file(".wh..wh.aufs", ""),
        Tar::new().file("x/.wh.", "").file("x/.wh...", "").hard_link(".wh..wh.link", "a"),
    ]);
    assert_eq!(image.names(), ["a"]);
}

#[test]
fn files_become_directories_and_back() {
    let image = image([
        Tar::new().file("f", "1").file("d/x/y", "1").symlink("to-d", "d").symlink("to-f", "f"),
        Tar::new()
            .directory("f", 0o755)
            .file("f/in", "2")
            .file("d", "2")
            .directory("to-d", 0o700)
            .file("to-d/in", "2")
            .file("to-f", "2"),
        Tar::new().file("f", "3").directory("d", 0o755).device(EntryType::Fifo, "to-f", 0, 0),
    ]);
    assert_eq!(image.names(), ["d", "f", "to-d", "to-d/in", "to-f"]);
    assert_eq!((image.cat("f"), image.get("d").kind), (b"3".to_vec(), 'd'));
    assert_eq!((image.get("to-d").mode, image.get("to-f").kind), (0o700, 'p'));
}

#[test]
fn a_directory_over_a_directory_keeps_what_is_in_it() {
    let image = image([
        Tar::new().pax("SCHILY.xattr.user.x", "1").directory("d", 0o700).file("d/f", "1"),
        Tar::new().pax("mtime", "5").directory("d", 0o2711),
    ]);
    let directory = image.get("d");
    assert_eq!((directory.mode, directory.mtime), (0o2711, (5, 0)));
    assert!(directory.xattrs.is_empty());
    assert_eq!(image.cat("d/f"), b"1");
}

#[test]
fn hard_links_reach_over_layers() {
    let image = image([
        Tar::new().file("a", "1").file("b", "1"),
        Tar::new().hard_link("dir/a2", "a").hard_link("b2", "b"),
        // What is replaced or hidden stays for who links to it.
        Tar::new().file("a", "3").whiteout("b").hard_link("b3", "b2"),
    ]);
    assert_eq!(image.names(), ["a", "b2", "b3", "dir", "dir/a2"]);
    assert_eq!((image.cat("a"), image.cat("dir/a2")), (b"3".to_vec(), b"1".to_vec()));
    assert_eq!((image.get("a").links, image.get("dir/a2").links), (1, 1));
    assert_eq!(image.get("b2").inode, image.get("b3").inode);
    assert_eq!(image.get("b2").links, 2);

    let hidden = [Tar::new().file("a", ""), Tar::new().whiteout("a").hard_link("b", "a")];
    assert_eq!(
        refusal(hidden),
        "cannot use layer `2`: `b` is a hard link to `a`, which is not there"
    );
}

#[test]
fn a_link_to_itself_changes_nothing() {
    let image = image([Tar::new().file("a", "1").hard_link("a", "a")]);
    assert_eq!((image.cat("a"), image.get("a").links), (b"1".to_vec(), 1));
}

#[test]
fn files_go_through_symlinks_of_lower_layers() {
    let image = image([
        Tar::new().directory("usr/lib", 0o755).symlink("lib", "usr/lib").symlink("abs", "/usr"),
        Tar::new().file("lib/x", "2").file("abs/y", "2").whiteout("abs/nothing"),
        Tar::new().whiteout("lib/x").file("lib/z", "3"),
    ]);
    assert_eq!(image.names(), ["abs", "lib", "usr", "usr/lib", "usr/lib/z", "usr/y"]);
}

#[test]
fn contents_of_replaced_files_are_passed_over() {
    let large = vec![1; 700_000];
    let image = image([
        Tar::new().file("a", &large).file("gone", &large).file("b", "b"),
        Tar::new().file("only-hidden", &large),
        Tar::new().file("a", "new").whiteout("gone").whiteout("only-hidden").file("c", &large),
    ]);
    assert_eq!(image.names(), ["a", "b", "c"]);
    assert_eq!((image.cat("a"), image.cat("b")), (b"new".to_vec(), b"b".to_vec()));
    assert!(image.cat("c") == large);
    assert!(image.built.size < 3 << 20, "{}", image.built.size);
}

#[test]
fn no_layers_at_all_are_an_empty_image() {
    assert!(image([]).names().is_empty());
}
