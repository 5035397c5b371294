//! Words that guests and images choose, wherever they are shown.

use banger_proto::api::{EndReason, StateName, VmView};
use banger_proto::guest::ServiceState;
use banger_proto::{Code, Problem};
use serde_json::Value;

use crate::fake::Fake;
use crate::host::Host;

/// A clipboard, a screen, a reordering, an overwritten line, and one sequence in each coding.
const NASTY: &str = "w\u{1b}]52;c;eA==\u{7}o\u{1b}[2Jr\u{202e}d\rs\u{9b}1m \u{8}\0é";
/// What is left of it on a line.
const HARMLESS: &str = "wor\u{fffd}d s \u{fffd}\u{fffd}é";

fn assert_harmless(shown: &str) {
    let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(acts), "{shown:?}");
}

/// A VM that had a bad end, with words of its own for everything.
fn with_nasty_vm(host: &Host) -> Fake {
    let fake = Fake::start(host).with("aabbccddeeff", "web", StateName::Error);
    fake.change("web", |vm| {
        vm.image = NASTY.into();
        vm.kernel = NASTY.into();
        vm.ended = Some(EndReason::Failed(NASTY.into()));
        vm.problem = Some(Problem::new(Code::OperationFailed, NASTY).cause(NASTY).hint(NASTY));
        let service = ServiceState::Failed { reason: NASTY.into() };
        vm.guest = serde_json::from_value(serde_json::json!({
            "boot_id": NASTY, "init": "agent", "state": "running", "service": service
        }))
        .ok();
        assert!(vm.guest.is_some());
    });
    fake
}

#[test]
fn tables_and_errors_show_them_without_doing_what_they_say() {
    let host = Host::new();
    let fake = with_nasty_vm(&host);
    for (args, words) in [(&["vm", "show", "web"][..], 8), (&["ls"], 1)] {
        let shown = host.run(args);
        assert_harmless(&shown);
        assert_eq!(shown.matches(HARMLESS).count(), words, "{shown}");
    }
    // The end of a word is the end of what it began.
    fake.change("web", |vm| vm.image = "debian\u{1b}]0;".into());
    assert!(host.run(&["vm", "show", "web"]).contains("image:    debian\nkernel:"));
}

#[test]
fn json_carries_them_exactly() {
    let host = Host::new();
    let _fake = with_nasty_vm(&host);
    let shown = host.run(&["vm", "show", "--json", "web"]);
    assert_harmless(&shown);
    let json = shown.strip_suffix("-- exit 0").unwrap();
    let vm: VmView = serde_json::from_str(json).unwrap();
    assert_eq!(vm.image, NASTY);
    assert_eq!(vm.problem.unwrap().message, NASTY);
    let listed = host.run(&["ls", "--json"]);
    assert_harmless(&listed);
    let listed: Value = serde_json::from_str(listed.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(listed["vms"][0]["image"], NASTY);
}
