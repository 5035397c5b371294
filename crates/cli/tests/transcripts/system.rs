//! banger as a whole.

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;

#[test]
fn leftovers_are_shown_before_they_are_removed() {
    let host = Host::new();
    let _fake = Fake::start(&host);
    assert_snapshot!(host.run(&["system", "gc", "--dry-run"]), @r"
    VM            KIND     SIZE   PATH
    0123456789ab  process  8 KiB  /run/vms/0123456789ab
    0123456789ab  disk     3 GiB  /state/vms/0123456789ab
    -- stderr
    note: `/run/vms/aa` is of somebody else
    3 GiB would be freed; nothing was removed
    -- exit 0
    ");
    // What could not be removed is told, and not counted.
    assert_snapshot!(host.run(&["system", "gc"]), @r"
    VM            KIND     SIZE   PATH
    0123456789ab  process  8 KiB  /run/vms/0123456789ab
    0123456789ab  disk     3 GiB  /state/vms/0123456789ab
    -- stderr
    note: `/run/vms/aa` is of somebody else
    freed 8 KiB
    banger: cannot remove the files
    -- exit 1
    ");
    let json = host.run(&["system", "gc", "--dry-run", "--json"]);
    assert!(json.contains(r#""kind": "process""#) && json.ends_with("-- exit 0"), "{json}");
}
