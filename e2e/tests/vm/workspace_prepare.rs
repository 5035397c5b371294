//! A repository goes into a real guest again, and commands find the tools that it names.

use banger_e2e::{Home, Repository};

#[test]
fn the_guest_follows_the_host_and_nothing_is_lost() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    repository.write("mise.toml", "[tools]\n");
    repository.write(".gitignore", "/target/\n");
    repository.git(&["add", "--all"]);
    repository.git(&["commit", "--quiet", "-m", "tools"]);
    let refused = home.banger(["vm", "run", "-d", "--name", "web", repository.arg()]);
    assert!(refused.expect_code(1).stderr.contains("--no-bootstrap"));
    home.banger(["vm", "run", "-d", "--no-bootstrap", "--name", "web", repository.arg()])
        .expect_code(0);
    let guest = |script: &str| home.banger(["vm", "exec", "web", "--", "sh", "-c", script]);
    let prepare = |args: &[&str]| {
        let words = ["vm", "workspace", "prepare", "web"].into_iter();
        home.banger(words.chain(args.iter().copied()))
    };

    // Commands go through mise, once there is one.
    let bare = guest("echo bare").expect_code(0);
    assert_eq!(bare.stdout, "bare\n");
    assert!(bare.stderr.contains("`mise.toml` names tools"), "{}", bare.stderr);
    let shim = "#!/bin/sh\necho \"mise: $1 $2\"; shift 2; TOOL=found exec \"$@\"\n";
    let install =
        format!("cat > /usr/local/bin/mise <<'END'\n{shim}END\nchmod +x /usr/local/bin/mise");
    assert_eq!(guest(&install).expect_code(0).stderr, "");
    let through = guest("echo $TOOL; mkdir -p target; echo built > target/out").expect_code(0);
    assert_eq!(through.stdout, "mise: exec --\nfound\n");
    guest("rm /usr/local/bin/mise").expect_code(0);

    // The host moves on: an edit, a commit, a file less.
    repository.write("hello.txt", "second\n");
    repository.git(&["rm", "--quiet", "src/with space.txt"]);
    repository.git(&["commit", "--quiet", "-am", "second"]);
    repository.write("hello.txt", "edited\n");
    let stale = guest("echo ran").expect_code(0);
    assert_eq!(stale.stdout, "ran\n");
    assert!(stale.stderr.contains("banger vm workspace prepare web"), "{}", stale.stderr);
    prepare(&["--mode", "full"]).expect_code(0);
    let script = "cat hello.txt target/out; git status --short; git log --format=%s | head -1; \
                  git fsck; test ! -e 'src/with space.txt'";
    let seen = guest(script).expect_code(0);
    assert_eq!(seen.stdout, "edited\nbuilt\n M hello.txt\nsecond\n");
    assert_eq!(guest("true").expect_code(0).stderr, "");

    // What is only in the guest is not taken away, until it has come home.
    guest("echo by the guest > hello.txt; echo new > new.txt").expect_code(0);
    home.banger(["vm", "restart", "web"]).expect_code(0);
    let refused = prepare(&[]).expect_code(1);
    assert!(refused.stderr.contains("`hello.txt`, `new.txt`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("banger vm workspace export web"), "{}", refused.stderr);
    home.banger(["vm", "workspace", "export", "web", "--apply"]).expect_code(0);
    prepare(&["--include-untracked"]).expect_code(0);
    assert_eq!(guest("cat hello.txt new.txt").expect_code(0).stdout, "by the guest\nnew\n");
    guest("echo given up > hello.txt").expect_code(0);
    prepare(&[]).expect_code(1);
    prepare(&["--force"]).expect_code(0);
    let words = ["exec", "--auto-prepare", "web", "--", "cat", "hello.txt", "target/out"];
    assert_eq!(home.banger(words).expect_code(0).stdout, "by the guest\nbuilt\n");
    let patch = home.banger(["vm", "workspace", "export", "web", "--name-only"]);
    assert_eq!(patch.expect_code(0).stdout, "hello.txt\n");
    home.banger(["vm", "delete", "web"]).expect_code(0);
    home.expect_nothing_left();
}
