//! Supervisors of a daemon that is a service of the system: each is moved out of it, or does not start.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::JoinHandle;

use banger_proto::helper::{MAX_PACKET, Reply, Request};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    listen, recv, send, socket_with,
};

use crate::rig::{Rig, soon};

/// What a helper was asked, and by which process.
type Asked = (Request, u32);

/// A helper at `socket` that gives each of `answers` to one connection; nothing for none.
fn helper(socket: &Path, answers: Vec<Option<Reply>>) -> JoinHandle<Vec<Asked>> {
    let listener =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    std::thread::spawn(move || answers.into_iter().map(|reply| answer(&listener, reply)).collect())
}

fn answer(listener: &OwnedFd, reply: Option<Reply>) -> Asked {
    let client = accept(listener).unwrap();
    let mut packet = vec![0; MAX_PACKET];
    let (received, _) = recv(&client, packet.as_mut_slice(), RecvFlags::empty()).unwrap();
    let request = serde_json::from_slice(&packet[..received]).unwrap();
    let process = socket_peercred(&client).unwrap().pid.as_raw_nonzero().get().unsigned_abs();
    if let Some(reply) = reply {
        let reply = serde_json::to_vec(&reply).unwrap();
        send(&client, &reply, SendFlags::NOSIGNAL).unwrap();
    }
    (request, process)
}

#[tokio::test]
async fn a_supervisor_asks_for_its_scope_before_it_starts_anything() {
    let rig = Rig::new("");
    let socket = rig.path("helper.sock");
    let rig = rig.with_scopes(&socket);
    let helper = helper(&socket, vec![Some(Reply::Done {})]);
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    let asked = helper.join().unwrap();
    let supervisor = rig.state().supervisor_pid;
    // 128 MiB for the guest, a sixteenth of that, and 1.5 GiB.
    let memory = Some((128 << 20) + (8 << 20) + (1536 << 20));
    let entering = Request::EnterScope { vm: rig.spec.vm.clone(), memory };
    assert_eq!(asked, [(entering, supervisor)]);
    soon(vm.kill()).await.unwrap();
    rig.clean().await;
}

#[tokio::test]
async fn nothing_starts_in_the_daemons_service() {
    // A VMM that would tell that it was started.
    let rig = Rig::with_vmm_script("echo started >&2; exit 3");
    let socket = rig.path("helper.sock");
    let rig = rig.with_scopes(&socket);
    let failed = Reply::Failed { reason: "no scope".into(), causes: vec!["no bus".into()] };
    let refused = Reply::Refused { reason: "not you".into() };
    let odd = Reply::Observed(Default::default());
    let helper = helper(&socket, vec![Some(failed), Some(refused), Some(odd), None]);
    for told in ["no scope: no bus", "not you", "something unknown", "without an answer"] {
        let error = soon(rig.hypervisor.launch(&rig.spec, &rig.walk)).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("cannot leave the daemon's service"), "{error}");
        assert!(error.contains(told) && !error.contains("started"), "{error}");
        rig.clean().await;
    }
    assert_eq!(helper.join().unwrap().len(), 4);

    fs_err::remove_file(&socket).unwrap();
    let error = soon(rig.hypervisor.launch(&rig.spec, &rig.walk)).await.unwrap_err().to_string();
    assert!(error.contains("helper.sock") && !error.contains("started"), "{error}");
    rig.clean().await;
}
