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
      hint: what it did last is in `$HOST/home/.local/state/banger/bangerd.log`
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
    -- exit 0
    ");
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
