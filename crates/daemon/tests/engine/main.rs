//! The daemon from the outside: real HTTP on a real socket, a real database, real files; only
//! the VMMs are a world in memory (see `banger_testkit::World`).

mod autostart;
#[cfg(test)]
mod copying;
mod crowd;
mod failures;
mod file_sync;
#[cfg(test)]
mod fork;
mod garbage;
mod history;
mod hostile;
mod idle;
mod image_config;
mod images;
mod insight;
mod interface;
mod jobs;
mod kernels;
mod life;
mod network;
#[cfg(test)]
mod page;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod ports;
mod pulls;
#[cfg(test)]
mod recorded;
mod recovery;
#[cfg(test)]
mod restore;
mod set;
#[cfg(test)]
mod sleeping;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod ssh;
mod verbs;
#[cfg(test)]
mod warm;
#[cfg(test)]
mod workspace;

use std::time::Duration;

use banger_proto::Problem;
use banger_proto::api::{CreateVm, VmList, VmView};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;

/// A request for a VM of this name.
fn named(name: &str) -> CreateVm {
    CreateVm { name: Some(name.parse().expect("a name")), ..Default::default() }
}

/// Makes a VM and waits until it is ready.
async fn create(daemon: &TestDaemon, name: &str) -> VmView {
    daemon.client.events("/v1/vms", named(name)).await.ready().await
}

/// Asks for a VM that does not come to be.
async fn create_fails(daemon: &TestDaemon, asked: CreateVm) -> Problem {
    daemon.client.events("/v1/vms", asked).await.failed().await
}

async fn list(daemon: &TestDaemon) -> Vec<VmView> {
    daemon.client.get::<VmList>("/v1/vms").await.vms
}

async fn show(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.get(&format!("/v1/vms/{vm}")).await
}

async fn delete(daemon: &TestDaemon, vm: &str) -> VmView {
    daemon.client.call(Method::DELETE, &format!("/v1/vms/{vm}"), ()).await.ok()
}

/// Asks for a VM until it is as `wanted`.
async fn until(daemon: &TestDaemon, vm: &str, wanted: impl Fn(&VmView) -> bool) -> VmView {
    in_time(async {
        loop {
            let vm = show(daemon, vm).await;
            if wanted(&vm) {
                return vm;
            }
        }
    })
    .await
}

/// Asks until there is no VM.
async fn until_none(daemon: &TestDaemon) {
    in_time(async { while !list(daemon).await.is_empty() {} }).await;
}

/// What `work` leads to, in a time that only a broken daemon needs.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("to happen in time")
}

/// Nothing of any VM is left: no row, no directory, no VMM.
async fn assert_nothing_left(env: &TestEnv, daemon: &TestDaemon) {
    assert_eq!(list(daemon).await, []);
    assert_eq!(env.world.running(), []);
    for base in [&env.paths.state_dir, &env.paths.runtime_dir] {
        let vms = base.join("vms");
        let left: Vec<_> = match fs_err::read_dir(&vms) {
            Ok(entries) => entries.map(|entry| entry.expect("an entry").path()).collect(),
            Err(_) => Vec::new(),
        };
        assert!(left.is_empty(), "{left:?}");
    }
}
