//! What is Firecracker's own of a VM's life: its API, its virtio socket, the files it makes.

use std::time::Duration;

use banger_daemon::guest::GuestError;
use banger_daemon::hypervisor::Found;
use banger_proto::ByteSize;
use banger_proto::supervisor::STATE_FILE;
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use crate::fake_firecracker::RINGING;
use crate::rig::{Kind, Rig, command, gone, soon};
use crate::{killed, mode, signal};

fn rig(words: &str) -> Rig {
    Rig::of(Kind::Firecracker, words)
}

#[tokio::test]
async fn a_life_from_launch_to_clean() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    assert_eq!(soon(guest.hello()).await.unwrap().agent_version, "fake");
    assert!(rig.state().link_up);
    let sockets = ["api.sock", "vsock.sock", "vsock.sock_1023"];
    for file in sockets.into_iter().chain(["firecracker.json"]) {
        assert_eq!(mode(&rig.runtime_dir.join(file)), 0o600, "{file}");
    }
    let processes = vm.processes();
    drop((vm, guest));
    let Found::Alive(vm) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
        panic!("not alive")
    };
    assert_eq!(vm.processes(), processes);
    soon(vm.kill()).await.unwrap();
    assert_eq!(soon(vm.exited()).await, killed());
    rig.clean().await;
}

#[tokio::test]
async fn the_power_button_ends_it_well() {
    let rig = rig("");
    let (vm, _) = rig.launch().await;
    soon(vm.power_button()).await.unwrap();
    let exit = soon(vm.exited()).await;
    assert_eq!((exit.code, exit.signal, exit.killed), (Some(0), None, false));
    assert!(vm.power_button().await.is_err());
    rig.clean().await;
}

#[tokio::test]
async fn it_is_told_of_a_larger_disk() {
    let rig = rig("");
    let (vm, _) = rig.launch().await;
    let size = ByteSize::from_bytes(4096);
    soon(vm.grow_disk(1, size)).await.unwrap();
    let error = soon(vm.grow_disk(7, size)).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the VM has no disk 7");
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_start_is_reported_with_its_words() {
    // The fake one knows the limits of the real one.
    let mut rig = rig("");
    rig.spec.vcpu = 33;
    let error = soon(rig.hypervisor.launch(&rig.spec, &rig.walk)).await.unwrap_err().to_string();
    assert!(error.contains("exit code 1: [anonymous-instance:main] `machine-config`"), "{error}");
    assert!(!rig.runtime_dir.join(STATE_FILE).exists());
    rig.clean().await;
}

#[tokio::test]
async fn what_a_killed_supervisor_left_is_no_obstacle() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    signal(rig.state().supervisor_pid, Signal::KILL);
    soon(vm.exited()).await;
    gone(vm.processes().unwrap().vmm.pid).await;
    assert!(
        rig.runtime_dir.join("vsock.sock").exists() && rig.runtime_dir.join("api.sock").exists()
    );
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn the_link_comes_back_after_the_agent_restarts() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    let mut held = soon(guest.exec(&command(&["hold"]))).await.unwrap();
    let _ = soon(guest.exec(&command(&["restart-link"]))).await;
    let _ = soon(held.stream.read(&mut [0])).await;
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_dies_is_noticed() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    let mut held = soon(guest.exec(&command(&["hold"]))).await.unwrap();
    let _ = soon(guest.exec(&command(&["die"]))).await;
    let _ = soon(held.stream.read(&mut [0])).await;
    let error = soon(guest.within(Duration::from_millis(100)).hello()).await.unwrap_err();
    assert!(matches!(error, GuestError::Timeout { .. }), "{error:?}");
    assert!(!rig.state().link_up);
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn rings_of_anybody_keep_nobody_from_the_agent() {
    let rig = rig(RINGING);
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}
