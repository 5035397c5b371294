//! What belongs to no VM: told, and removed only when that is asked for.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use banger_proto::VmId;
use banger_proto::api::{CheckStatus, DoctorReport, Garbage, LeftoverKind};
use banger_proto::supervisor::{LAUNCH_FILE, LaunchSpec, LinkTransport, VmmControl};
use banger_testkit::{TestDaemon, TestEnv};
use hyper::Method;

use super::{assert_nothing_left, create, delete, list};

async fn collect(daemon: &TestDaemon, dry_run: bool) -> Garbage {
    let asked = serde_json::json!({ "dry_run": dry_run });
    daemon.client.call(Method::POST, "/v1/system/gc", asked).await.ok()
}

fn kinds(garbage: &Garbage) -> Vec<(LeftoverKind, bool)> {
    garbage.leftovers.iter().map(|leftover| (leftover.kind, leftover.removed)).collect()
}

/// What the doctor says about leftovers.
async fn examined(daemon: &TestDaemon) -> CheckStatus {
    let report: DoctorReport = daemon.client.get("/v1/doctor").await;
    report.checks.iter().find(|check| check.name == "leftovers").expect("a check").status
}

/// Writes down whose VM this is, as the start of a supervisor does.
pub(super) fn write_launch_file(env: &TestEnv, vm: &VmId, console_log: &str) {
    let launch = LaunchSpec {
        vm: vm.clone(),
        vmm: vec![],
        jailed: false,
        link: LinkTransport::Inherited,
        control: VmmControl::Qmp,
        link_magic: String::new(),
        console_log: console_log.to_owned(),
        console_limit: 0,
        log: String::new(),
        memory_limit: None,
        memory: None,
        metrics: None,
        scope_helper: None,
        saved: None,
    };
    let dir = env.paths.vm_runtime_dir(vm);
    fs_err::create_dir_all(&dir).expect("a directory");
    let launch = serde_json::to_vec(&launch).expect("JSON");
    fs_err::write(dir.join(LAUNCH_FILE), launch).expect("a file");
}

/// Loses the database, as somebody does who puts a damaged one aside.
fn lose_database(env: &TestEnv) {
    for ending in ["", "-wal", "-shm"] {
        let mut path = env.paths.database().into_os_string();
        path.push(ending);
        let _ = fs_err::remove_file(path);
    }
}

#[tokio::test]
async fn directories_without_a_vm_are_told_and_go_when_that_is_asked() {
    let env = TestEnv::new();
    let orphan: VmId = "0123456789ab".parse().unwrap();
    let (lasting, runtime) = (env.paths.vm_state_dir(&orphan), env.paths.vm_runtime_dir(&orphan));
    for dir in [&lasting, &runtime, &env.paths.state_dir.join("vms/notes")] {
        fs_err::create_dir_all(dir).unwrap();
    }
    fs_err::write(lasting.join("writable.ext4"), "somebody's work").unwrap();
    fs_err::write(lasting.join("notes.txt"), "mine").unwrap();
    let daemon = TestDaemon::start(&env).await;
    assert!(lasting.join("writable.ext4").exists(), "a start removes nothing");
    assert_eq!(examined(&daemon).await, CheckStatus::Warn);
    let told = collect(&daemon, true).await;
    let expected = [(LeftoverKind::Runtime, false), (LeftoverKind::Disk, false)];
    assert_eq!(kinds(&told), expected);
    assert!(told.leftovers[1].size.bytes() > 0);
    assert!(lasting.join("writable.ext4").exists() && runtime.exists());

    let removed = collect(&daemon, false).await;
    // A file that banger did not make keeps its directory.
    assert_eq!(kinds(&removed), [(LeftoverKind::Runtime, true), (LeftoverKind::Disk, false)]);
    let problem = removed.leftovers[1].problem.as_ref().unwrap();
    assert!(problem.message.ends_with("holds files that banger did not make"), "{problem:?}");
    assert!(lasting.join("notes.txt").exists() && !lasting.join("writable.ext4").exists());
    fs_err::remove_file(lasting.join("notes.txt")).unwrap();
    assert_eq!(kinds(&collect(&daemon, false).await), [(LeftoverKind::Disk, true)]);
    assert_eq!(collect(&daemon, false).await, Garbage::default());
    assert_eq!(examined(&daemon).await, CheckStatus::Pass);
    assert!(env.paths.state_dir.join("vms/notes").exists());
    daemon.stop().await;
}

#[tokio::test]
async fn what_belongs_to_a_vm_stays() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    assert_eq!(collect(&daemon, false).await, Garbage::default());
    assert_eq!(env.world.running(), [vm.id]);
    delete(&daemon, "web").await;
    assert_nothing_left(&env, &daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_vm_of_a_lost_database_runs_on_until_its_removal_is_asked_for() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let vm = create(&daemon, "web").await;
    write_launch_file(&env, &vm.id, &vm.console_log);
    daemon.kill().await;
    lose_database(&env);
    let daemon = TestDaemon::start(&env).await;
    assert_eq!(list(&daemon).await, []);
    assert_eq!(env.world.running(), std::slice::from_ref(&vm.id));
    let told = collect(&daemon, true).await;
    let expected = [(LeftoverKind::Process, false), (LeftoverKind::Disk, false)];
    assert_eq!(kinds(&told), expected);
    assert_eq!(env.world.running(), [vm.id]);
    // The runtime directory's file is the supervisor's to remove, and the world has none.
    collect(&daemon, false).await;
    assert_eq!(env.world.running(), []);
    daemon.stop().await;
}

#[tokio::test]
async fn vms_of_others_are_left_alone() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    let unknown = create(&daemon, "unknown").await;
    let other = create(&daemon, "other").await;
    fs_err::create_dir_all(env.paths.vm_runtime_dir(&unknown.id)).unwrap();
    write_launch_file(&env, &other.id, "/elsewhere/vms/x/console.log");
    daemon.kill().await;
    lose_database(&env);
    let daemon = TestDaemon::start(&env).await;
    let garbage = collect(&daemon, false).await;
    // Their disks stay with them: what runs writes to its disk.
    assert_eq!(garbage.leftovers, []);
    assert_eq!(garbage.notices.len(), 2, "{:?}", garbage.notices);
    assert_eq!(env.world.running().len(), 2);
    daemon.stop().await;
}

/// A process like a supervisor: called so, started with a launch file, writing to a log. It
/// waits for the file for ever.
fn start_supervisor(env: &TestEnv, vm: &VmId, log: &Path) -> Child {
    fs_err::create_dir_all(log.parent().expect("a directory")).expect("a directory");
    Command::new("tail")
        .arg0("banger-supervisor")
        .arg(env.paths.vm_runtime_dir(vm).join(LAUNCH_FILE))
        .args(["-F", "-n", "1"])
        .stdout(std::fs::File::create(log).expect("a log"))
        .stderr(Stdio::null())
        .spawn()
        .expect("tail starts")
}

#[tokio::test]
async fn processes_whose_directory_was_taken_away_are_found() {
    let env = TestEnv::new();
    let [ours, foreign]: [VmId; 2] = ["0123456789ab", "0123456789ac"].map(|id| id.parse().unwrap());
    let mut lost =
        start_supervisor(&env, &ours, &env.paths.vm_state_dir(&ours).join("supervisor.log"));
    let mut other = start_supervisor(&env, &foreign, &env.dir().join("elsewhere/supervisor.log"));
    let daemon = TestDaemon::start(&env).await;
    let told = collect(&daemon, true).await;
    assert_eq!(kinds(&told), [(LeftoverKind::Process, false), (LeftoverKind::Disk, false)]);
    assert_eq!(told.leftovers[0].vm, Some(ours));
    assert!(told.notices[0].contains(&format!("process {} is kept", other.id())), "{told:?}");
    assert_eq!(lost.try_wait().unwrap(), None);

    let removed = collect(&daemon, false).await;
    assert_eq!(kinds(&removed), [(LeftoverKind::Process, true), (LeftoverKind::Disk, true)]);
    assert!(!lost.wait().unwrap().success());
    assert_eq!(other.try_wait().unwrap(), None);
    // What is reached in its directory is no such process.
    write_launch_file(&env, &foreign, "/elsewhere/console.log");
    assert!(!collect(&daemon, true).await.notices[0].contains("process"));
    other.kill().and_then(|()| other.wait()).unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_left_of_a_network_is_told_and_goes_when_that_is_asked() {
    let env = TestEnv::new();
    let daemon = TestDaemon::start(&env).await;
    create(&daemon, "web").await;
    env.network.leave_file("/run/somebody/network.json");
    assert_eq!(examined(&daemon).await, CheckStatus::Warn);
    let told = collect(&daemon, true).await;
    assert_eq!(kinds(&told), [(LeftoverKind::Network, false)]);
    assert_eq!(told.leftovers[0].vm, None);
    assert_eq!(told.leftovers[0].path, "/run/somebody/network.json");
    env.network.break_it("not now");
    let kept = collect(&daemon, false).await;
    assert_eq!(kinds(&kept), [(LeftoverKind::Network, false)]);
    assert!(kept.leftovers[0].problem.is_some());
    env.network.mend();
    assert_eq!(kinds(&collect(&daemon, false).await), [(LeftoverKind::Network, true)]);
    assert_eq!(collect(&daemon, false).await, Garbage::default());
    delete(&daemon, "web").await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_needs_no_judgement_is_repaired_and_nothing_else() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let env = TestEnv::new();
    let orphan: VmId = "0123456789ab".parse().unwrap();
    let (lasting, runtime) = (env.paths.vm_state_dir(&orphan), env.paths.vm_runtime_dir(&orphan));
    for dir in [&lasting, &runtime] {
        fs_err::create_dir_all(dir).unwrap();
    }
    fs_err::write(lasting.join("writable.ext4"), "somebody's work").unwrap();
    let daemon = TestDaemon::start(&env).await;
    env.network.leave_file("/run/somebody/network.json");
    let run = &env.paths.runtime_dir;
    let set_mode =
        |mode| fs_err::set_permissions(run, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o755);

    let told: DoctorReport = daemon.client.get("/v1/doctor").await;
    let shown = |report: &DoctorReport| {
        let shown = report.repairs.iter().map(|repair| (repair.what.clone(), repair.done));
        shown.collect::<Vec<_>>()
    };
    let all = [
        format!("close `{}` to other users (mode 700)", run.display()),
        format!("remove `{}`, which is of no VM", runtime.display()),
        "remove `/run/somebody/network.json`, which is of a network that nobody is on".to_owned(),
    ];
    assert_eq!(shown(&told), all.clone().map(|what| (what, false)));
    assert!(runtime.exists(), "who only looks changes nothing");
    assert_eq!(fs_err::metadata(run).unwrap().mode() & 0o777, 0o755);

    let repaired: DoctorReport = daemon.client.call(Method::POST, "/v1/doctor", ()).await.ok();
    assert_eq!(shown(&repaired), all.map(|what| (what, true)));
    assert_eq!(fs_err::metadata(run).unwrap().mode() & 0o777, 0o700);
    assert!(!runtime.exists());
    assert!(lasting.join("writable.ext4").exists(), "that is for its owner to decide");
    let again: DoctorReport = daemon.client.call(Method::POST, "/v1/doctor", ()).await.ok();
    assert_eq!(again.repairs, []);
    daemon.stop().await;
}
