//! `scripts/record_session.py`, which the demonstration is recorded with.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::documents::checkout;
use crate::examples::{check, commands};
use crate::host::Host;

/// Records `script`; where the recording goes, and how that ended.
fn record(host: &Host, script: &str, words: &[&str]) -> (std::path::PathBuf, Output) {
    let recorder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/record_session.py");
    let (typed, cast) = (host.path("typed"), host.path("demo.cast"));
    std::fs::write(&typed, script).unwrap();
    let mut command = Command::new("python3");
    command.arg(recorder).arg(typed).arg(&cast).args(words);
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", host.path("home"));
    (cast, output.output().unwrap())
}

#[test]
fn a_session_is_recorded_as_it_was() {
    let host = Host::new();
    let (cast, output) = record(&host, "# a sum\n\necho a$((1 + 1))\n", &["elsewhere"]);
    assert!(output.status.success(), "{output:?}");
    let cast = std::fs::read_to_string(cast).unwrap();
    let lines: Vec<Value> = cast.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (header, events) = lines.split_first().unwrap();
    assert_eq!((&header["version"], &header["width"]), (&2.into(), &100.into()));
    let shown: String = events.iter().map(|event| event[2].as_str().unwrap()).collect();
    assert_eq!(shown, "$ echo a$((1 + 1))\r\na2\r\n$ \r\n");
    assert!(events.iter().all(|event| event[1] == "o"), "{cast}");
    let times: Vec<f64> = events.iter().map(|event| event[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn what_went_wrong_or_tells_too_much_is_not_kept() {
    let host = Host::new();
    let (cast, output) = record(&host, "sh -c 'exit 3'\n", &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`sh -c 'exit 3'` ended with 3"), "{said}");
    assert!(!cast.exists());
    let (cast, output) = record(&host, "echo my-own-$((1))-host\n", &["my-own-1-host"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("tells of ['my-own-1-host']"), "{said}");
    assert!(!cast.exists());
    // A machine that is called like a word of a command tells nothing by it.
    let (cast, output) = record(&host, "echo vm\n", &["vm"]);
    assert!(output.status.success(), "{output:?}");
    assert!(cast.exists());
}

/// `docs/demo.cast` was recorded once, and its commands have to be those of this program still.
#[test]
fn the_recording_is_of_commands_that_there_are() {
    let cast = std::fs::read_to_string(checkout().join("docs/demo.cast")).unwrap();
    let mut lines = cast.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap()["version"], 2);
    let shown: String = lines.map(|event| event[2].as_str().unwrap().to_owned()).collect();
    let typed: Vec<_> =
        shown.lines().filter_map(|line| line.strip_prefix("$ ")).flat_map(commands).collect();
    assert!(typed.len() >= 8, "{typed:?}");
    for words in typed {
        check(&words).unwrap();
    }
}
