//! `[[file_sync]]` with a real guest: at creation, and anew at every start.

use std::os::unix::fs::{PermissionsExt, symlink};

use banger_e2e::Home;

#[test]
fn files_are_there_from_the_start_and_anew_at_every_start() {
    let home = Home::new();
    let user = home.path().join("home");
    std::fs::create_dir_all(user.join("conf/nvim/lua")).expect("directories");
    std::fs::write(user.join("conf/nvim/lua/init.lua"), "one").expect("file");
    let run = user.join("conf/nvim/run");
    std::fs::write(&run, "#!/bin/sh\necho ran\n").expect("file");
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o755)).expect("mode");
    symlink("/etc/passwd", user.join("conf/nvim/leak")).expect("link");
    std::fs::write(user.join("gitconfig"), "[user]\nname = one\n").expect("file");
    home.configure(
        "[[file_sync]]\nhost = \"~/gitconfig\"\nguest = \"~/.gitconfig\"\n\
         [[file_sync]]\nhost = \"~/conf/nvim\"\nguest = \"/root/.config/nvim\"\n\
         [[file_sync]]\nhost = \"~/not-there\"\nguest = \"~/x\"\n",
    );
    let made = home.banger(["vm", "create", "--name", "synced"]).expect_code(0);
    assert!(made.stderr.contains("not-there"), "{}", made.stderr);
    assert!(made.stderr.contains("leak"), "{}", made.stderr);
    let look = "stat -c '%a %U' /root/.gitconfig; cat /root/.gitconfig; \
                cat /root/.config/nvim/lua/init.lua; /root/.config/nvim/run; \
                ls -a /root/.config/nvim; ls /root/x";
    let seen = home.exec("synced", &["sh", "-c", look]);
    assert_eq!(
        seen.stdout, "600 root\n[user]\nname = one\noneran\n.\n..\nlua\nrun\n",
        "{}",
        seen.stderr
    );

    std::fs::write(user.join("gitconfig"), "[user]\nname = two\n").expect("file");
    std::fs::write(user.join("conf/nvim/lua/init.lua"), "two").expect("file");
    home.exec("synced", &["sh", "-c", "echo mine > /root/.config/nvim/own"]).expect_code(0);
    home.banger(["vm", "restart", "synced"]).expect_code(0);
    let seen = home.exec("synced", &["sh", "-c", look]);
    assert_eq!(
        seen.stdout, "600 root\n[user]\nname = two\ntworan\n.\n..\nlua\nown\nrun\n",
        "{}",
        seen.stderr
    );
}
