//! Files of the host that every guest gets at its start.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use banger_daemon::config::{FileSyncEntry, plan_file_sync};
use banger_proto::api::{Event, VmView};
use banger_testkit::{Boot, TestDaemon, TestEnv};
use hyper::Method;

use super::{create_fails, named};

fn sync(env: &mut TestEnv, entries: &[(&str, &str, Option<&str>)]) {
    let entry = |(host, guest, mode): &(&str, &str, Option<&str>)| FileSyncEntry {
        host: (*host).to_owned(),
        guest: (*guest).to_owned(),
        mode: mode.map(str::to_owned),
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    let home = env.dir().join("home");
    env.config.file_sync = plan_file_sync(&entries, Some(&home), "c".as_ref()).expect("a plan");
}

/// The user's home, and a guest's root.
fn places(env: &TestEnv) -> (PathBuf, PathBuf) {
    let (home, guest) = (env.dir().join("home"), env.dir().join("guest"));
    fs_err::create_dir_all(home.join("conf/lua")).expect("a directory");
    fs_err::create_dir_all(guest.join("root")).expect("a directory");
    (home, guest)
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_come_at_creation_and_anew_at_every_start() {
    let mut env = TestEnv::new();
    let (home, guest) = places(&env);
    fs_err::write(home.join("secret"), "one").unwrap();
    fs_err::write(home.join("script"), "two").unwrap();
    fs_err::write(home.join("conf/lua/init"), "three").unwrap();
    std::fs::set_permissions(home.join("conf/lua/init"), PermissionsExt::from_mode(0o751)).unwrap();
    symlink("/etc/passwd", home.join("conf/leak")).unwrap();
    sync(
        &mut env,
        &[
            ("~/secret", "~/.deep/er/secret", None),
            ("~/script", "~/script", Some("0755")),
            ("~/conf", "~/.config/conf", None),
            ("~/missing", "~/missing", None),
        ],
    );
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    let mut work = daemon.client.events("/v1/vms", named("web")).await;
    let mut notices = Vec::new();
    let ready = loop {
        match work.next().await.expect("an end") {
            Event::Notice { text } if text.starts_with("file_sync") => notices.push(text),
            Event::VmReady { vm, .. } => break vm,
            Event::Failed { problem } => panic!("{problem:?}"),
            _ => {}
        }
    };
    assert_eq!(ready.name.as_str(), "web");
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].starts_with("file_sync, entry 3: `conf/leak`: it is a link"), "{notices:?}");
    assert!(notices[1].starts_with("file_sync, entry 4: `"), "{notices:?}");
    let root = guest.join("root");
    assert_eq!(fs_err::read_to_string(root.join(".deep/er/secret")).unwrap(), "one");
    assert_eq!((mode(&root.join(".deep/er/secret")), mode(&root.join("script"))), (0o600, 0o755));
    assert_eq!(mode(&root.join(".config/conf/lua/init")), 0o751);
    assert!(!root.join(".config/conf/leak").exists() && !root.join("missing").exists());

    fs_err::write(home.join("conf/lua/init"), "four").unwrap();
    fs_err::write(root.join(".config/conf/own"), "the guest's").unwrap();
    let _: VmView = daemon.client.call(Method::POST, "/v1/vms/web/stop", ()).await.ok();
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await.ready().await;
    // Into the directory that is there by now, not beneath it.
    assert_eq!(fs_err::read_to_string(root.join(".config/conf/lua/init")).unwrap(), "four");
    assert!(root.join(".config/conf/own").exists() && !root.join(".config/conf/conf").exists());
    daemon.stop().await;
}

#[tokio::test]
async fn what_leads_out_of_the_home_ends_the_creation() {
    let mut env = TestEnv::new();
    let (home, guest) = places(&env);
    symlink("/etc/passwd", home.join("leak")).unwrap();
    sync(&mut env, &[("~/leak", "~/leak", None)]);
    let daemon = TestDaemon::start(&env).await;
    env.world.next_boot(Boot::InDirectory(guest.clone()));
    let problem = create_fails(&daemon, named("web")).await;
    assert_eq!(problem.message, "cannot copy files into VM `web`");
    assert!(problem.causes[0].ends_with("home/leak`, entry 1 of `file_sync`"), "{problem:?}");
    assert_eq!(problem.causes[1], "it leads to `/etc/passwd`, which is not in the home");
    assert!(!guest.join("root/leak").exists());
    daemon.stop().await;
}
