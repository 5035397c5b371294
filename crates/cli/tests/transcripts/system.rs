//! banger as a whole.

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

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
    assert_snapshot!(host.run(&["system", "gc", "-f"]), @r"
    VM            KIND     SIZE   PATH
    0123456789ab  process  8 KiB  /run/vms/0123456789ab
    0123456789ab  disk     3 GiB  /state/vms/0123456789ab
    -- stderr
    note: `/run/vms/aa` is of somebody else
    freed 8 KiB
    banger: cannot remove the files
    -- exit 1
    ");
    // Without being able to ask nothing is done.
    assert_snapshot!(host.run(&["system", "gc"]), @r"
    -- stderr
    banger: nobody can be asked here, because this is no terminal
      hint: to see what would be removed: banger system gc --dry-run
      hint: to remove it without being asked: banger system gc -f
    -- exit 2
    ");
    let json = host.run(&["system", "gc", "--dry-run", "--json"]);
    assert!(json.contains(r#""kind": "process""#) && json.ends_with("-- exit 0"), "{json}");
}

#[test]
fn a_person_is_asked_before_anything_is_removed() {
    let host = Host::new();
    let fake = Fake::start(&host);
    for (answer, removed, code) in [("n\n", false, 1), ("y\n", true, 1)] {
        let mut terminal = Terminal::open();
        let mut child = terminal.start(host.banger(&["system", "gc"]));
        let shown = terminal.wait_for("Remove all this, for good (3 GiB)? [y/N] ");
        assert!(shown.contains("0123456789ab  disk     3 GiB"), "{shown}");
        assert!(!fake.log().contains(&"gc".to_owned()));
        terminal.press(answer.as_bytes());
        terminal.wait_for(if removed { "freed 8 KiB" } else { "nothing was removed" });
        // Of what is to be removed, one cannot be.
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(fake.log().contains(&"gc".to_owned()), removed);
    }
}
