//! Kernels and the VMs that boot them: what is kept, what is refused, what goes.

use std::path::{Path, PathBuf};

use banger_daemon::image::{MakeBundle, make_bundle};
use banger_proto::api::{CreateVm, Event, ImportKernel, KernelDetails, KernelView, ModulesFrom};
use banger_proto::{Code, Problem};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

use super::{assert_nothing_left, create, create_fails, delete, in_time, named};

/// A file that is a kernel of this version to the importer.
fn kernel_file(env: &TestEnv, version: &str) -> String {
    let path = env.dir().join("vmlinux");
    fs_err::write(&path, format!("\x7fELF Linux version {version} (a@b)")).expect("a file");
    path.display().to_string()
}

fn import(env: &TestEnv, name: &str, version: &str) -> ImportKernel {
    ImportKernel {
        name: name.into(),
        path: kernel_file(env, version),
        modules: ModulesFrom::Package,
        config: None,
        description: None,
        force: true,
    }
}

async fn imported(daemon: &TestDaemon, asked: ImportKernel) -> (KernelView, Vec<String>) {
    let mut events = daemon.client.events("/v1/kernels/import", asked).await;
    let mut notices = Vec::new();
    loop {
        match events.next().await.expect("an end") {
            Event::Notice { text } => notices.push(text),
            Event::KernelReady { kernel } => return (kernel, notices),
            Event::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn on(kernel: &str, vm: &str) -> CreateVm {
    CreateVm { kernel: Some(kernel.into()), ..named(vm) }
}

async fn describe(daemon: &TestDaemon, kernel: &str) -> KernelDetails {
    daemon.client.get(&format!("/v1/kernels/{kernel}")).await
}

async fn delete_kernel(daemon: &TestDaemon, kernel: &str) -> Result<KernelView, Problem> {
    let answer = daemon.client.call(Method::DELETE, &format!("/v1/kernels/{kernel}"), ()).await;
    if answer.status == StatusCode::OK { Ok(answer.ok()) } else { Err(answer.problem()) }
}

/// Versions on the disk, by their version number.
fn versions(env: &TestEnv) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(env.paths.kernels_dir().join(".versions")) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .map(|entry| {
            let manifest = entry.expect("an entry").path().join("manifest.json");
            let manifest = fs_err::read(manifest).expect("a manifest");
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
            manifest["version"].as_str().expect("a version").to_owned()
        })
        .collect();
    found.sort();
    found
}

/// The kernel that a VM was booted with last.
fn booted(env: &TestEnv, vm: &banger_proto::VmId) -> PathBuf {
    env.world.spec(vm).expect("a VM").kernel
}

fn version_of(vmlinux: &Path) -> String {
    let text = fs_err::read_to_string(vmlinux).expect("a kernel");
    text.split(' ').nth(3).expect("a version").to_owned()
}

#[tokio::test]
async fn a_vm_keeps_its_kernel_until_it_is_deleted() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    imported(&daemon, import(&env, "k", "6.1.1")).await;
    let web = daemon.client.events("/v1/vms", on("k", "web")).await.ready().await;
    daemon.client.call(Method::POST, "/v1/vms/web/stop", serde_json::json!({})).await;
    assert_eq!(describe(&daemon, "k").await.vms, ["web"]);

    imported(&daemon, import(&env, "k", "6.1.2")).await;
    let api = daemon.client.events("/v1/vms", on("k", "api")).await.ready().await;
    daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await.ready().await;
    assert_eq!(version_of(&booted(&env, &web.id)), "6.1.1");
    assert_eq!(version_of(&booted(&env, &api.id)), "6.1.2");
    assert_eq!(describe(&daemon, "k").await.vms, ["api"]);
    assert_eq!(versions(&env), ["6.1.1", "6.1.2"]);

    // Also when nobody has the name any more, and after a restart.
    delete(&daemon, "api").await;
    delete_kernel(&daemon, "k").await.unwrap();
    assert_eq!(versions(&env), ["6.1.1"]);
    daemon.kill().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(versions(&env), ["6.1.1"]);
    daemon.client.call(Method::POST, "/v1/vms/web/stop", serde_json::json!({})).await;
    daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await.ready().await;
    delete(&daemon, "web").await;
    // A moment after the answer.
    in_time(async {
        let versions = env.paths.kernels_dir().join(".versions");
        while fs_err::read_dir(&versions).is_ok_and(|mut found| found.next().is_some()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_snapshot_keeps_its_kernel() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    imported(&daemon, import(&env, "k", "6.1.1")).await;
    let web = daemon.client.events("/v1/vms", on("k", "web")).await.ready().await;
    let asked = serde_json::json!({ "name": "one" });
    let taken = daemon.client.call(Method::POST, "/v1/vms/web/snapshots", asked).await;
    assert!(taken.status.is_success(), "{taken:?}");
    daemon.client.call(Method::POST, "/v1/vms/web/stop", serde_json::json!({})).await;
    imported(&daemon, import(&env, "k", "6.1.2")).await;
    let image = serde_json::json!({ "image": web.image });
    let set = daemon.client.call(Method::PATCH, "/v1/vms/web", image).await;
    assert!(set.status.is_success(), "{set:?}");
    daemon.client.events("/v1/vms/web/start", serde_json::json!({})).await.ready().await;
    assert_eq!(version_of(&booted(&env, &web.id)), "6.1.2");
    daemon.kill().await;
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(versions(&env), ["6.1.1", "6.1.2"]);
    let path = "/v1/vms/web/snapshots/one/restore";
    daemon.client.events(path, serde_json::json!({})).await.ready().await;
    assert_eq!(version_of(&booted(&env, &web.id)), "6.1.1");
    daemon.stop().await;
}

#[tokio::test]
async fn an_image_that_is_got_first_has_its_say_about_the_kernel() {
    let mut env = TestEnv::new();
    let archive = env.dir().join("rootfs.tar");
    let mut tar = tar::Builder::new(fs_err::File::create(&archive).unwrap());
    tar.append_dir("etc", env.dir()).unwrap();
    tar.finish().unwrap();
    let asked = MakeBundle {
        rootfs_tar: Some(archive),
        name: "golden".parse().unwrap(),
        distro: "none".into(),
        arch: "amd64".into(),
        kernel_ref: Some("k".into()),
        description: String::new(),
        size: None,
        out: env.dir().into(),
    };
    let bundle = make_bundle(asked, CancellationToken::new()).await.unwrap();
    // The catalog does not know what is in the bundle.
    let catalog = serde_json::json!({"version": 1, "images": [{
        "name": "golden", "distro": "none", "arch": "amd64", "sha256": bundle.sha256,
        "size": bundle.size, "url": format!("file://{}", bundle.path.display()),
    }]});
    let path = env.dir().join("catalog.json");
    fs_err::write(&path, catalog.to_string()).unwrap();
    env.config.catalog_url.value = Some(format!("file://{}", path.display()));

    let daemon = TestDaemon::start(&env).await;
    imported(&daemon, import(&env, "k", "6.1.1")).await;
    imported(&daemon, import(&env, "other", "6.1.2")).await;
    let golden = |vm: &str| CreateVm { image: Some("golden".into()), ..named(vm) };
    let web = daemon.client.events("/v1/vms", golden("web")).await.ready().await;
    assert_eq!((web.kernel.as_str(), version_of(&booted(&env, &web.id))), ("k", "6.1.1".into()));
    assert_eq!(describe(&daemon, "k").await.vms, ["web"]);
    delete(&daemon, "web").await;

    // Who asks for one gets it, whatever the image says.
    delete_image(&daemon, "golden").await;
    let asked = CreateVm { kernel: Some("other".into()), ..golden("web") };
    let web = daemon.client.events("/v1/vms", asked).await.ready().await;
    assert_eq!(version_of(&booted(&env, &web.id)), "6.1.2");
    delete(&daemon, "web").await;
    daemon.stop().await;
}

async fn delete_image(daemon: &TestDaemon, image: &str) {
    let answer = daemon.client.call(Method::DELETE, &format!("/v1/images/{image}"), ()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_kernel_in_use_is_not_deleted() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    imported(&daemon, import(&env, "k", "6.1.1")).await;
    for vm in ["web", "db"] {
        daemon.client.events("/v1/vms", on("k", vm)).await.ready().await;
    }
    let problem = delete_kernel(&daemon, "k").await.unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    assert_eq!(problem.message, "kernel `k` is used by VMs web, db");
    assert_eq!(problem.hints, ["Delete what uses it: `banger vm delete web db`."]);
    delete(&daemon, "web").await;
    let problem = delete_kernel(&daemon, "k").await.unwrap_err();
    assert_eq!(problem.message, "kernel `k` is used by VM db");
    delete(&daemon, "db").await;
    assert_eq!(delete_kernel(&daemon, "k").await.unwrap().version.as_deref(), Some("6.1.1"));
    let problem = delete_kernel(&daemon, "k").await.unwrap_err();
    assert_eq!(
        (problem.code, problem.message.as_str()),
        (Code::NotFound, "kernel `k` is not here")
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_kernel_that_cannot_run_the_vm_is_refused_before_anything_is_made() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let config = env.dir().join("config");
    fs_err::write(&config, "CONFIG_PVH=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_VSOCKETS=y\n")
        .unwrap();
    let config = Some(config.display().to_string());
    let asked = ImportKernel { config, ..import(&env, "poor", "6.1.1") };
    // It may be meant for another host, so it is taken; what it lacks here is told.
    let (_, notices) = imported(&daemon, asked).await;
    assert!(notices[0].contains("it lacks CONFIG_BLK_DEV_INITRD"), "{notices:?}");
    let problem = create_fails(&daemon, on("poor", "web")).await;
    assert!(problem.message.contains("CONFIG_VIRTIO_MMIO (to reach its devices)"), "{problem:?}");
    assert!(problem.message.contains("CONFIG_VIRTIO_CONSOLE (to be spoken to)"), "{problem:?}");
    assert!(!describe(&daemon, "poor").await.lacking.is_empty());
    assert_nothing_left(&env, &daemon).await;

    // One that nobody knows anything about is tried.
    let (_, notices) = imported(&daemon, import(&env, "unknown", "6.1.1")).await;
    assert!(notices[0].starts_with("Nothing tells what kernel `unknown`"), "{notices:?}");
    daemon.client.events("/v1/vms", on("unknown", "web")).await.ready().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_kernel_placed_by_hand_is_not_replaced_under_a_vm() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let name = env.config.default_kernel_name.value.clone();
    create(&daemon, "web").await;
    let asked = import(&env, &name, "6.1.2");
    let problem = daemon.client.events("/v1/kernels/import", asked).await.failed().await;
    assert_eq!(problem.message, format!("kernel `{name}` is used by VM web"));
    delete(&daemon, "web").await;
    let (kernel, _) = imported(&daemon, import(&env, &name, "6.1.2")).await;
    assert_eq!(kernel.version.as_deref(), Some("6.1.2"));
    daemon.stop().await;
}
