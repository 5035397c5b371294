//! A git repository goes in.

use banger_e2e::{Home, Repository};

#[test]
fn the_guest_sees_the_hosts_uncommitted_edits_and_no_others() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    repository.write("hello.txt", "edited\n");
    repository.write("staged.txt", "new\n");
    repository.git(&["add", "staged.txt"]);
    repository.git(&["rm", "--quiet", "src/with space.txt"]);
    repository.write("untracked.txt", "stays here\n");
    let host = repository.git(&["status", "--porcelain", "--untracked-files=no"]);

    let guest = home
        .banger(["vm", "run", "--rm", repository.arg(), "--"].into_iter().chain([
            "git",
            "-C",
            "/root/repo",
            "status",
            "--porcelain",
        ]))
        .expect_code(0);
    assert_eq!(guest.stdout, host);
    home.expect_nothing_left();
}

#[test]
fn commands_run_in_the_workspace_with_git_at_hand() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    let head = repository.git(&["rev-parse", "HEAD"]);
    let script = "pwd; cat hello.txt; git rev-parse HEAD; git branch --show-current; \
                  git config user.email; echo more >> hello.txt; git commit -qam second; \
                  git log --oneline | wc -l; git fsck";
    let ran = home
        .banger(["vm", "run", "--rm", repository.arg(), "--", "sh", "-c", script])
        .expect_code(0);
    assert_eq!(ran.stdout, format!("/root/repo\nhello\n{head}main\nada@example.com\n2\n"));
    assert_eq!(repository.git(&["rev-parse", "HEAD"]), head);
    home.expect_nothing_left();
}

#[test]
fn a_dry_run_lists_the_files_and_makes_nothing() {
    let home = Home::empty();
    let repository = Repository::create(&home.path().join("repo"));
    repository.write("untracked.txt", "no\n");
    let ran =
        home.banger(["vm", "run", "--dry-run", repository.arg(), "--", "true"]).expect_code(0);
    assert!(ran.stdout.contains("hello.txt") && ran.stdout.contains("src/with space.txt"));
    assert!(!ran.stdout.contains("untracked.txt"), "{}", ran.stdout);
    assert!(home.processes().is_empty(), "a daemon was started");
    home.expect_nothing_left();
}
