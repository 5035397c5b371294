//! Help: every command explains itself, every group answers shortly.

use insta::assert_snapshot;

use crate::config::configure;
use crate::examples::{after_help, walk, walk_shown};
use crate::fake::Fake;
use crate::host::Host;
use banger_proto::api::StateName;

#[test]
fn every_command_explains_itself() {
    banger_cli::command().debug_assert();
    walk(&banger_cli::command(), "banger", &mut |words, command| {
        let about = command.get_long_about().or(command.get_about()).unwrap_or_default();
        let lines = about.to_string().lines().count() + after_help(command).lines().count();
        let bounds = if command.has_subcommands() { 3..=10 } else { 2..=12 };
        assert!(bounds.contains(&lines), "`{words}`: {lines} lines");
    });
}

#[test]
fn every_command_has_an_example() {
    walk_shown(&banger_cli::command(), "banger", &mut |words, command| {
        let help = after_help(command);
        let short =
            command.get_about().is_some_and(|about| about.to_string().starts_with("Short for"));
        // One of a group is of a command in it, so that there is something to begin with.
        let own = |line: &&str| short || line.contains(words);
        let examples = help.lines().filter(|line| line.starts_with("  ")).filter(own).count();
        assert!(examples > 0, "`{words} --help` has no example: {help}");
    });
}

#[test]
fn defaults_are_those_of_this_host() {
    let host = Host::new();
    let of_the_host = host.run(&["vm", "create", "--help"]);
    assert!(!of_the_host.contains("the configured one"), "{of_the_host}");
    for default in ["[default: debian-bookworm]", "[default: 8G]", "[default: off]"] {
        assert!(of_the_host.contains(default), "{of_the_host}");
    }
    configure(&host, "default_image_name = \"mine\"\n[vm_defaults]\nvcpu = 77\n");
    let configured = host.run(&["vm", "create", "--help"]);
    assert!(
        configured.contains("[default: mine]") && configured.contains("[default: 77]"),
        "{configured}"
    );
    // Whoever has to mend the configuration can still read.
    configure(&host, "vmm = 1\n");
    let wrong = host.run(&["vm", "create", "--help"]);
    assert!(
        wrong.contains("[default: the configured one]") && wrong.ends_with("-- exit 0"),
        "{wrong}"
    );
}

#[test]
fn groups_answer_shortly() {
    let host = Host::new();
    configure(&host, "[vm_defaults]\nvcpu = 3\nmemory = \"3G\"\n");
    assert_snapshot!("vm", host.run(&["vm", "--help"]));
    assert_snapshot!("run", host.run(&["run", "-h"]));
}

#[test]
fn version_needs_nobody() {
    let host = Host::new();
    assert_snapshot!(host.run(&["version"]), @r"
    banger 0.1.0 (built from source)
    -- exit 0
    ");
    assert!(host.run(&["version", "--json"]).contains("\"api_version\": 1"));
}

#[test]
fn completion_asks_a_daemon_that_runs() {
    let host = Host::new();
    let script = host.run(&["completion", "bash"]);
    assert!(script.contains("COMPLETE=\"bash\""), "{script}");

    let complete = |words: &[&str]| {
        let mut args = vec!["--"];
        args.extend(words);
        let index = (words.len() - 1).to_string();
        let output = host
            .banger(&args)
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", index)
            .env("_CLAP_IFS", " ")
            .output()
            .unwrap();
        host.transcript(&output)
    };
    // None runs: no names, no words, no daemon started.
    assert_snapshot!(complete(&["banger", "vm", "delete", ""]), @"--json --color --progress --force --help-- exit 0");
    assert!(!host.socket().exists());
    let _fake = Fake::start(&host).with("aabbccddeeff", "web", StateName::Running).with(
        "aacc00000000",
        "db",
        StateName::Stopped,
    );
    assert_snapshot!(complete(&["banger", "vm", "show", ""]), @"web db --json --color --help-- exit 0");
    std::fs::write(host.path("home/web-site"), "").unwrap();
    assert_snapshot!(complete(&["banger", "vm", "cp", "w"]), @"web: web-site-- exit 0");
    assert_snapshot!(complete(&["banger", "rm", "web", ""]), @"db --json --color --progress --force --help-- exit 0");
    assert_snapshot!(complete(&["banger", "api", "p"]), @"post put patch-- exit 0");
    assert_snapshot!(complete(&["banger", "api", "post", "vms/web/s"]), @"vms/web/snapshots vms/web/snapshots/ vms/web/ssh vms/web/start vms/web/stop-- exit 0");
    assert_snapshot!(complete(&["banger", "api", "get", "/v1/vms/db/j"]), @"/v1/vms/db/jobs /v1/vms/db/jobs/-- exit 0");
}
