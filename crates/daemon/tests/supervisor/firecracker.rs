//! What is Firecracker's own of a VM's life: its API, its virtio socket, the files it makes.

use std::sync::Arc;
use std::time::Duration;

use banger_daemon::guest::{GuestClient, GuestError};
use banger_daemon::hypervisor::{Found, Saved, VmmSpec};
use banger_proto::supervisor::STATE_FILE;
use banger_proto::{ByteSize, VmId};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use crate::fake_firecracker::{RINGING, SLOW};
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
    let sockets = ["vmm/api.sock", "vmm/vsock.sock", "vmm/vsock.sock_1023"];
    for file in sockets.into_iter().chain(["firecracker.json", "vmm/metrics"]) {
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
    let config = fs_err::read_to_string(rig.runtime_dir.join("firecracker.json")).unwrap();
    assert!(config.contains(r#""free_page_reporting":true"#), "{config}");
    rig.clean().await;
    let metrics = fs_err::read_to_string(rig.path("metrics.log")).unwrap();
    assert_eq!(metrics, "{\"utc_timestamp_ms\":1}\n");
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
    assert_eq!(source, "Firecracker refused `PATCH /drives`: Invalid device ID");
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
        rig.runtime_dir.join("vmm/vsock.sock").exists()
            && rig.runtime_dir.join("vmm/api.sock").exists()
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

#[tokio::test]
async fn a_saved_guest_goes_on_in_another_vm() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    soon(vm.pause()).await.unwrap();
    soon(vm.pause()).await.unwrap();
    assert!(rig.state().paused);
    let soonest = guest.within(Duration::from_millis(100)).hello().await.unwrap_err();
    assert!(matches!(soonest, GuestError::Timeout { .. }), "{soonest:?}");
    // From one that is stopped, and is paused for this.
    let directory = rig.path("saved");
    fs_err::create_dir(&directory).unwrap();
    soon(vm.save(&directory)).await.unwrap();
    assert!(rig.state().paused);
    soon(vm.resume()).await.unwrap();
    assert!(!rig.state().paused);
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
    rig.clean().await;

    let spec = VmmSpec { vm: VmId::from_random([8; 6]), ..rig.spec.clone() };
    soon(rig.hypervisor.prove(&spec, &directory, &rig.walk)).await.unwrap();
    let saved = Some(Saved { directory, paused: false });
    let vm = soon(rig.hypervisor.launch(&VmmSpec { saved, ..spec }, &rig.walk)).await.unwrap();
    // Nobody rings there.
    soon(GuestClient::new(Arc::clone(&vm)).hello()).await.unwrap();

    // It is saved whole in its turn, and what it began from may be gone.
    fs_err::remove_dir_all(rig.path("saved")).unwrap();
    let again = rig.path("again");
    fs_err::create_dir(&again).unwrap();
    soon(vm.save(&again)).await.unwrap();
    soon(vm.kill()).await.unwrap();
    let spec = VmmSpec { vm: VmId::from_random([9; 6]), ..rig.spec.clone() };
    soon(rig.hypervisor.prove(&spec, &again, &rig.walk)).await.unwrap();
}

#[tokio::test]
async fn who_comes_while_it_is_saved_is_not_cut_off() {
    let rig = rig(SLOW);
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    let directory = rig.path("saved");
    fs_err::create_dir(&directory).unwrap();
    let save = async {
        soon(vm.save(&directory)).await.unwrap();
        soon(vm.resume()).await.unwrap();
    };
    let come = async {
        while !rig.state().paused {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        soon(guest.exec(&command(&["hold"]))).await.unwrap()
    };
    let ((), mut held) = tokio::join!(save, come);
    // Whatever befell the first has been told by the time that the second is served.
    soon(guest.hello()).await.unwrap();
    let (mut byte, told) = ([0], Duration::from_millis(10));
    let read = tokio::time::timeout(told, held.stream.read(&mut byte)).await;
    assert!(read.is_err(), "the stream has ended: {read:?}");
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn what_was_not_saved_by_it_is_refused() {
    let rig = rig("");
    let directory = rig.path("saved");
    fs_err::create_dir(&directory).unwrap();
    fs_err::write(directory.join("state"), "nonsense").unwrap();
    fs_err::write(directory.join("memory"), "memory").unwrap();
    let proven = soon(rig.hypervisor.prove(&rig.spec, &directory, &rig.walk)).await;
    let error = proven.unwrap_err().to_string();
    assert!(error.contains("refused `PUT /snapshot/load`: not a state"), "{error}");
    rig.clean().await;
}

#[tokio::test]
async fn one_that_stands_still_can_be_killed() {
    let rig = rig("");
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    soon(vm.pause()).await.unwrap();
    let Found::Alive(adopted) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
        panic!("not alive")
    };
    assert!(adopted.is_paused());
    soon(adopted.kill()).await.unwrap();
    assert_eq!(soon(vm.exited()).await, killed());
}
