//! The real supervisor and the real backends, around fake VMMs: everything that happens
//! between daemon, supervisor and VMM, without a guest's boot.

#![expect(clippy::unwrap_used, reason = "a test program; its functions fail by panicking")]

mod fake_agent;
mod fake_firecracker;
mod fake_qemu;
mod firecracker;
mod rig;
mod scopes;

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use banger_daemon::guest::GuestError;
use banger_daemon::hypervisor::Found;
use banger_daemon::supervise;
use banger_proto::ByteSize;
use banger_proto::guest::{GuestConfig, InitChoice, ShutdownRequest, UnpackRequest, Unpacked};
use banger_proto::supervisor::{CONTROL_SOCKET, LINK_SOCKET, LOCK_FILE, STATE_FILE, VmmExit};
use rig::{Rig, command, gone, soon};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Not a test: the supervisor, when the rig starts this program as one.
#[test]
fn play_supervisor() {
    if let Ok(launch_file) = std::env::var(rig::SUPERVISOR_ROLE) {
        let code = supervise::run(launch_file.as_ref());
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

/// Not a test: QEMU, when the supervisor starts this program as one.
#[test]
fn play_fake_qemu() {
    if let Ok(behaviour) = std::env::var(fake_qemu::ROLE) {
        fake_qemu::play(&behaviour);
    }
}

/// Not a test: Firecracker, when the supervisor starts this program as one.
#[test]
fn play_fake_firecracker() {
    if let Ok(behaviour) = std::env::var(fake_firecracker::ROLE) {
        let arguments = std::env::var(fake_firecracker::ARGUMENTS).unwrap();
        let code = fake_firecracker::play(&behaviour, &arguments);
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs_err::metadata(path).unwrap().permissions().mode() & 0o777
}

fn killed() -> VmmExit {
    VmmExit { code: None, signal: Some(9), killed: true, stderr: String::new() }
}

#[tokio::test]
async fn a_life_from_launch_to_clean() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    assert_eq!(soon(guest.hello()).await.unwrap().agent_version, "fake");
    let state = rig.state();
    assert_eq!(
        (state.vmm_pid, state.link_up, state.exit),
        (vm.processes().map(|both| both.vmm.pid), true, None)
    );
    assert_eq!(mode(&rig.runtime_dir), 0o700);
    for socket in [CONTROL_SOCKET, LINK_SOCKET] {
        assert_eq!(mode(&rig.runtime_dir.join(socket)), 0o600);
    }
    let again = rig.hypervisor.launch(&rig.spec, &rig.walk).await.unwrap_err();
    assert!(again.to_string().contains("already runs"), "{again}");

    soon(vm.kill()).await.unwrap();
    assert_eq!(soon(vm.exited()).await, killed());
    assert_eq!(soon(vm.exited()).await, killed());
    assert!(!rig.runtime_dir.join(CONTROL_SOCKET).exists());
    assert!(!rig.runtime_dir.join(LINK_SOCKET).exists());
    assert_eq!(rig.state().exit, Some(killed()));
    soon(vm.kill()).await.unwrap();
    assert!(soon(vm.dial()).await.is_err());
    let Found::Ended(exit) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
        panic!("not ended")
    };
    assert_eq!(exit, killed());
    rig.clean().await;
    rig.clean().await;
    assert!(matches!(rig.hypervisor.adopt(&rig.spec.vm).await.unwrap(), Found::Gone));
    gone(state.supervisor_pid).await;
    let console = fs_err::read_to_string(rig.path("console.log")).unwrap();
    assert!(console.contains("fake console: "), "{console}");
}

#[tokio::test]
async fn the_power_button_ends_it_well() {
    let rig = Rig::new("");
    let (vm, _) = rig.launch().await;
    soon(vm.power_button()).await.unwrap();
    let exit = soon(vm.exited()).await;
    assert_eq!((exit.code, exit.signal, exit.killed), (Some(0), None, false));
    assert!(vm.power_button().await.is_err());
}

#[tokio::test]
async fn the_vmm_is_told_of_a_larger_disk() {
    let rig = Rig::new("");
    let (vm, _) = rig.launch().await;
    soon(vm.grow_disk(1, ByteSize::from_bytes(4096))).await.unwrap();
    let error = soon(vm.grow_disk(7, ByteSize::from_bytes(4096))).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "QEMU refused `block_resize`: no such disk");
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn a_vmm_that_dies_at_once_is_reported_with_its_words() {
    let rig = Rig::with_vmm_script("echo 'qemu: bad argument' >&2; exit 3");
    let error = soon(rig.hypervisor.launch(&rig.spec, &rig.walk)).await.unwrap_err().to_string();
    assert!(error.contains("exit code 3: qemu: bad argument"), "{error}");
    assert!(!rig.runtime_dir.join(CONTROL_SOCKET).exists());
    assert!(!rig.runtime_dir.join(STATE_FILE).exists());
    rig.clean().await;

    fs_err::remove_file(rig.path("fake-vmm")).unwrap();
    let error = soon(rig.hypervisor.launch(&rig.spec, &rig.walk)).await.unwrap_err().to_string();
    assert!(error.contains("fake-vmm"), "{error}");
}

#[tokio::test]
async fn a_dropped_launch_leaves_nothing_running() {
    let rig = Rig::new(fake_agent::MUTE);
    let state_file = rig.runtime_dir.join(STATE_FILE);
    // The console tells that the VMM runs; it will never answer.
    let console = rig.path("console.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &console,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let started = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(fs_err::File::open(console).unwrap()).lines();
        lines.map(Result::unwrap).find_map(|line| fake_agent::parse_processes(&line)).unwrap()
    });
    let (supervisor, vmm) = tokio::select! {
        launched = rig.hypervisor.launch(&rig.spec, &rig.walk) => panic!("{launched:?}"),
        processes = soon(started) => processes.unwrap(),
    };
    gone(vmm).await;
    gone(supervisor).await;
    assert!(!state_file.exists() && !rig.runtime_dir.join(CONTROL_SOCKET).exists());
    rig.clean().await;
}

#[tokio::test]
async fn cleaning_up_waits_for_a_supervisor_that_has_not_said_who_it_is() {
    let rig = Rig::new("");
    fs_err::create_dir_all(&rig.runtime_dir).unwrap();
    let lock = fs_err::File::create(rig.runtime_dir.join(LOCK_FILE)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // The first look at the lock comes before it is let go of.
    tokio::join!(soon(rig.clean()), async { drop(lock) });
}

#[tokio::test]
async fn a_vm_outlives_its_handle_and_is_adopted() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let processes = vm.processes();
    drop((vm, guest));
    let Found::Alive(vm) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
        panic!("not alive")
    };
    assert_eq!(vm.processes(), processes);
    soon(banger_daemon::guest::GuestClient::new(vm.clone()).hello()).await.unwrap();
    assert!(rig.hypervisor.clean(&rig.spec.vm).await.is_err(), "it runs");
    soon(vm.kill()).await.unwrap();
    rig.clean().await;
}

#[tokio::test]
async fn a_state_file_that_is_of_no_use_is_told_and_no_obstacle() {
    for (damage, told) in [(Some(""), "damaged"), (Some("{\"vm\":"), "damaged"), (None, "missing")]
    {
        let rig = Rig::new("");
        let (vm, guest) = rig.launch().await;
        soon(guest.hello()).await.unwrap();
        let state_file = rig.runtime_dir.join(STATE_FILE);
        let supervisor = rig.state().supervisor_pid;
        match damage {
            Some(content) => fs_err::write(&state_file, content).unwrap(),
            None => fs_err::remove_file(&state_file).unwrap(),
        }
        // While its supervisor lives nobody needs the file.
        let Found::Alive(_) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
            panic!("not alive")
        };
        signal(supervisor, Signal::KILL);
        soon(vm.exited()).await;
        gone(supervisor).await;
        let Found::Untold(why) = rig.hypervisor.adopt(&rig.spec.vm).await.unwrap() else {
            panic!("told")
        };
        assert_eq!(why, format!("its state file `{}` is {told}", state_file.display()));
        // It starts again all the same.
        let (vm, guest) = rig.launch().await;
        soon(guest.hello()).await.unwrap();
        soon(vm.kill()).await.unwrap();
        rig.clean().await;
    }
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_vmm_along() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    signal(rig.state().supervisor_pid, Signal::KILL);
    let exit = soon(vm.exited()).await;
    assert_eq!((exit.code, exit.signal, exit.killed), (None, None, false));
    gone(vm.processes().unwrap().vmm.pid).await;
    assert!(matches!(rig.hypervisor.adopt(&rig.spec.vm).await.unwrap(), Found::Gone));
    // The sockets it left are no obstacle.
    let (vm, guest) = rig.launch().await;
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn a_terminated_supervisor_ends_its_vmm_properly() {
    let rig = Rig::new("");
    let (vm, _) = rig.launch().await;
    let supervisor = rig.state().supervisor_pid;
    signal(supervisor, Signal::HUP);
    signal(supervisor, Signal::INT);
    signal(supervisor, Signal::TERM);
    assert_eq!(soon(vm.exited()).await, killed());
    gone(supervisor).await;
    assert_eq!(rig.state().exit, Some(killed()));
}

#[tokio::test]
async fn waiting_for_an_agent_ends_with_the_vmm() {
    let rig = Rig::new(fake_agent::NO_AGENT);
    let (vm, guest) = rig.launch().await;
    let raw = UnixStream::connect(rig.runtime_dir.join(LINK_SOCKET)).await.unwrap();
    let read_raw = async {
        let mut raw = raw;
        raw.read(&mut [0]).await
    };
    let (hello, read, killed) =
        soon(async { tokio::join!(guest.hello(), read_raw, vm.kill()) }).await;
    assert!(matches!(hello, Err(GuestError::Unreachable { .. })), "{hello:?}");
    assert_eq!(read.unwrap(), 0);
    killed.unwrap();
}

#[tokio::test]
async fn the_guests_last_words_arrive() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let mut session = soon(guest.exec(&command(&["exit"]))).await.unwrap();
    session.stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    soon(session.stream.read_to_end(&mut said)).await.unwrap();
    assert!(said.ends_with(b"{\"code\":0}"), "{said:?}");
    let exit = soon(vm.exited()).await;
    assert_eq!((exit.code, exit.killed), (Some(fake_agent::EXIT_CODE), false));
}

#[tokio::test]
async fn streams_are_half_closed_and_carry_bulk() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let session = soon(guest.exec(&command(&["echo"]))).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(session.stream);
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = soon(async { tokio::join!(send, reader.read_to_end(&mut received)) }).await;
    read.unwrap();
    assert!(received == sent);
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let session = soon(guest.exec(&command(&["hold"]))).await.unwrap();
    let mut health = soon(guest.watch()).await.unwrap();
    assert_eq!(soon(health.next()).await.unwrap().unwrap().commands, 1);
    drop(session);
    assert_eq!(soon(health.next()).await.unwrap().unwrap().commands, 0);
    soon(vm.kill()).await.unwrap();
    assert!(!matches!(soon(health.next()).await, Ok(Some(_))));
}

#[tokio::test]
async fn slow_and_hostile_clients_stall_nobody() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let mut floods = Vec::new();
    for _ in 0..5 {
        floods.push(soon(guest.exec(&command(&["flood"]))).await.unwrap());
    }
    let mut mutes = Vec::new();
    for _ in 0..50 {
        mutes.push(UnixStream::connect(rig.runtime_dir.join(LINK_SOCKET)).await.unwrap());
    }
    let mut nonsense = UnixStream::connect(rig.runtime_dir.join(CONTROL_SOCKET)).await.unwrap();
    let _ = nonsense.write_all(&[b'x'; 100_000]).await;
    let mut wrong = UnixStream::connect(rig.runtime_dir.join(CONTROL_SOCKET)).await.unwrap();
    wrong.write_all(b"{\"command\":\"fly\"}\n").await.unwrap();
    let mut answer = String::new();
    soon(wrong.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("{\"error\":\"not a command"), "{answer}");

    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn the_link_comes_back_after_the_agent_restarts() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let mut held = soon(guest.exec(&command(&["hold"]))).await.unwrap();
    // Its reply may or may not make it.
    let _ = soon(guest.exec(&command(&["restart-link"]))).await;
    // What was open breaks, what is opened then works.
    let _ = soon(held.stream.read(&mut [0])).await;
    soon(guest.hello()).await.unwrap();
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_dies_without_a_word_is_noticed() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let mut held = soon(guest.exec(&command(&["hold"]))).await.unwrap();
    let _ = soon(guest.exec(&command(&["die"]))).await;
    // The VMM holds its end of the link as before; what was open breaks all the same.
    let _ = soon(held.stream.read(&mut [0])).await;
    let patience = Duration::from_millis(100);
    let error = soon(guest.within(patience).hello()).await.unwrap_err();
    assert!(matches!(error, GuestError::Timeout { .. }), "{error:?}");
    assert!(!rig.state().link_up);
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_console_output_is_rotated_and_stalls_nothing() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let mut session = soon(guest.exec(&command(&["console", "20000000"]))).await.unwrap();
    soon(guest.hello()).await.unwrap();
    session.stream.shutdown().await.unwrap();
    soon(session.stream.read_to_end(&mut Vec::new())).await.unwrap();
    soon(vm.kill()).await.unwrap();
    let (current, rotated) = (rig.path("console.log"), rig.path("console.log.1"));
    for path in [&current, &rotated] {
        let len = fs_err::metadata(path).unwrap().len();
        assert!(len <= (8 << 20) + 4096, "{} has {len} bytes", path.display());
    }
    // All of it came by, or what did not is owned up to.
    let text = fs_err::read_to_string(&current).unwrap();
    assert!(text.ends_with("last words\n") || text.ends_with("lost]\n"));
}

#[tokio::test]
async fn what_the_agent_says_is_told_apart() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let Err(GuestError::Refused(problem)) = soon(guest.exec(&command(&["refused"]))).await else {
        panic!("not refused")
    };
    assert_eq!(problem.message, "no `such` program");
    let config = GuestConfig {
        hostname: "x".into(),
        machine_id: "0".repeat(32),
        clock_unix_nanos: 0,
        random_seed: String::new(),
        env: Default::default(),
        working_dir: None,
        service: None,
        extra_hosts: Vec::new(),
        ssh: None,
        network: None,
        init: InitChoice::Auto,
        base_serial: "base".into(),
        writable_serial: "writable".into(),
        modules_serial: None,
        rebuild: 0,
        previous_serial: None,
    };
    let malformed = soon(guest.configure(&config)).await;
    assert!(matches!(malformed, Err(GuestError::Protocol("configure"))), "{malformed:?}");
    let unexpected =
        soon(guest.shutdown(&ShutdownRequest { reboot: false, service_grace_ms: None })).await;
    assert!(matches!(unexpected, Err(GuestError::Protocol("shutdown"))), "{unexpected:?}");
    let silent = soon(guest.within(Duration::from_millis(50)).health()).await;
    assert!(matches!(silent, Err(GuestError::Timeout { service: "health", .. })), "{silent:?}");
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn trees_are_sent_and_refusals_interrupt_them() {
    let rig = Rig::new("");
    let (vm, guest) = rig.launch().await;
    let request = |directory: &str| UnpackRequest { directory: directory.into(), replace: None };
    let mut sink = soon(guest.unpack(&request("/root/x"))).await.unwrap();
    for _ in 0..4 {
        soon(sink.write(&[1; 300_000])).await.unwrap();
    }
    let unpacked = soon(sink.finish()).await.unwrap();
    assert_eq!(unpacked, Unpacked { bytes: 1_200_000, ..Unpacked::default() });

    // The agent reads no more: only its refusal can end this.
    let mut sink = soon(guest.unpack(&request("/full"))).await.unwrap();
    let refused = soon(async {
        loop {
            if let Err(error) = sink.write(&[1; 100_000]).await {
                break error;
            }
        }
    });
    assert!(matches!(refused.await, GuestError::Refused(_)));
    soon(vm.kill()).await.unwrap();
}

#[tokio::test]
async fn starting_is_quick() {
    // Not a bound, a number for whoever reads the output.
    let rig = Rig::new("");
    let begun = Instant::now();
    let (vm, guest) = rig.launch().await;
    let launched = begun.elapsed();
    soon(guest.hello()).await.unwrap();
    println!("launched in {launched:?}, hello after {:?}", begun.elapsed());
    soon(vm.kill()).await.unwrap();
}
