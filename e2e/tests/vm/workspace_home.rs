//! What was done to a repository in a real guest comes home.

use banger_e2e::{Home, Repository};

#[test]
fn work_done_in_a_guest_comes_home() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    repository.write("hello.txt", "edited on the host\n");
    let script = "cd /root/repo && echo more >> hello.txt && git commit -qam inside && \
                  printf 'a\\000b' > binary && rm 'src/with space.txt' && ln -s /etc new-link";
    home.banger(["vm", "run", "--name", "web", repository.arg(), "--", "sh", "-c", script])
        .expect_code(0);
    let status = home.banger(["vm", "workspace", "status", "--json", "web"]).expect_code(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((&status["host"]["changed"], &status["guest"]["changed"]), (&1.into(), &4.into()));

    let names = home.banger(["vm", "workspace", "export", "--name-only", "web"]).expect_code(0);
    assert_eq!(names.stdout, "binary\nhello.txt\nnew-link\nsrc/with space.txt\n");
    let patch = home.path().join("work.patch").display().to_string();
    home.banger(["vm", "workspace", "export", "web", "--output", &patch]).expect_code(0);
    repository.git(&["stash", "--quiet"]);
    repository.git(&["apply", "--check", &patch]);
    repository.git(&["stash", "pop", "--quiet"]);

    home.banger(["vm", "workspace", "export", "web", "--branch", "inside"]).expect_code(0);
    assert_eq!(repository.git(&["log", "-1", "--format=%s", "inside"]), "inside\n");
    home.banger(["vm", "workspace", "export", "web", "--apply"]).expect_code(0);
    let hello = std::fs::read_to_string(home.path().join("repo/hello.txt")).unwrap();
    assert_eq!(hello, "edited on the host\nmore\n");
    assert!(!home.path().join("repo/src/with space.txt").exists());
    home.banger(["vm", "delete", "web"]).expect_code(0);
    home.expect_nothing_left();
}
