//! The daemon as the command line finds it.

use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;

#[test]
fn status_tells_whether_one_runs() {
    let host = Host::new();
    assert_snapshot!(host.run(&["daemon", "status"]), @r"
    -- stderr
    banger: the daemon is not running
      hint: the next command that needs it starts it, and so does `banger daemon start`
      hint: what it did last: `banger daemon logs`, from `$HOST/home/.local/state/banger/bangerd.log`
    -- exit 1
    ");
    assert_snapshot!(host.run(&["daemon", "stop"]), @r"
    -- stderr
    the daemon is not running
    -- exit 0
    ");
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["daemon", "status"]), @r"
    version:    0.1.0
    interface:  1
    build:      fake
    pid:        0
    started:    2026-08-05T12:00:00Z
    log:        /state/bangerd.log
    state:      /state
    vms:        2 (1 running)
    requests:   1
    network:    made when a VM needs it, in a network of your own
    names:      answered at 127.0.0.1:42069
    -- exit 0
    ");
}

#[test]
fn logs_are_read_without_a_daemon() {
    let host = Host::new();
    assert_snapshot!(host.run(&["daemon", "logs"]), @r"
    -- stderr
    banger: there is no log at `$HOST/home/.local/state/banger/bangerd.log`: no daemon has run yet
      hint: `banger daemon start` starts one
    -- exit 1
    ");
    let log = host.path("home/.local/state/banger/bangerd.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let line = |second: u8, message: &str| {
        format!(
            r#"{{"timestamp":"2026-08-05T12:00:0{second}.5Z","level":"INFO","message":"{message}"}}
"#
        )
    };
    std::fs::write(log.with_extension("log.1"), line(1, "daemon starts")).unwrap();
    std::fs::write(&log, line(2, "VM ready") + "{\"cut").unwrap();
    assert_snapshot!(host.run(&["daemon", "logs"]), @r#"
    2026-08-05T12:00:01.500Z  INFO   daemon starts
    2026-08-05T12:00:02.500Z  INFO   VM ready
    {"cut
    -- exit 0
    "#);
    assert_snapshot!(host.run(&["daemon", "logs", "--tail", "2", "--json"]), @r#"
    {"timestamp":"2026-08-05T12:00:02.5Z","level":"INFO","message":"VM ready"}
    {"cut
    -- exit 0
    "#);
}

#[test]
fn a_directory_others_may_enter_is_not_trusted() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    std::fs::set_permissions(host.path("run/banger"), PermissionsExt::from_mode(0o777)).unwrap();
    assert_snapshot!(host.run(&["daemon", "status"]), @r"
    -- stderr
    banger: refused to use runtime directory `$HOST/run/banger`: others may enter it (mode 777)
      hint: remove `$HOST/run/banger` and try again
    -- exit 1
    ");
}
