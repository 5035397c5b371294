//! Completion as the shells themselves do it, each by its own means.

use banger_proto::api::StateName;
use clap::Arg;
use clap_complete::{ArgValueCandidates, ArgValueCompleter};
use serde_json::json;

use crate::examples::walk_shown;
use crate::fake::Fake;
use crate::host::Host;
use crate::terminal::Terminal;

/// What is typed, the last word not finished, and what a shell can make of it.
const TYPED: [(&str, &str); 13] = [
    ("vm sh", "show"),
    ("vm show w", "web web-2"),
    ("rm w", "web web-2"),
    // A name that is there already is left out, but not from under the cursor.
    ("rm web w", "web-2"),
    ("rm db web-2", "web-2"),
    ("run --progress ", "auto plain none"),
    ("run --wait ", "agent system"),
    ("vm wait --for s", "system stopped"),
    ("run --image deb", "debian-bookworm"),
    ("run --kernel m", "mine"),
    ("kernel delete mine ge", "generic"),
    ("snapshot restore web b", "before"),
    ("snapshot delete db b", "birth"),
];

fn with_vms(host: &Host) -> Fake {
    let image = json!({
        "name": "debian-bookworm", "description": "Debian 12", "digest": "00ff", "size": 1,
        "local": true, "source": "recipe debian-bookworm",
    });
    Fake::start(host)
        .with("aabbccddeeff", "web", StateName::Running)
        .with("aacc00000000", "db", StateName::Stopped)
        .with("aadd00000000", "web-2", StateName::Running)
        .with_image(serde_json::from_value(image).unwrap())
}

/// What a shell prints that is asked by `args`.
fn ask(host: &Host, shell: &str, args: &[&str]) -> String {
    let output = host.shell(shell, args).output().unwrap();
    assert!(output.status.success(), "{}", host.transcript(&output));
    assert!(output.stderr.is_empty(), "{}", host.transcript(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The function that is registered, called as the shell calls it.
const BASH: &str = r#"
source <(banger completion bash)
[[ $(complete -p banger) =~ -F\ ([^ ]+) ]] && completer=${BASH_REMATCH[1]}
IFS=' ' read -ra COMP_WORDS <<<"$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$completer" banger "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes() {
    let host = Host::new();
    let _fake = with_vms(&host);
    for (typed, expected) in TYPED {
        let line = format!("banger {typed}");
        let answer = ask(&host, "bash", &["--norc", "--noprofile", "-c", BASH, "bash", &line]);
        assert_eq!(answer.lines().collect::<Vec<_>>().join(" "), expected, "`{line}`");
    }
}

#[test]
fn fish_completes() {
    let host = Host::new();
    let _fake = with_vms(&host);
    let script = "banger completion fish | source; complete -C $argv[1]";
    for (typed, expected) in TYPED {
        let line = format!("banger {typed}");
        let answer = ask(&host, "fish", &["--no-config", "-c", script, &line]);
        // A word, and after a tab what it means.
        let words = answer.lines().map(|line| line.split('\t').next().unwrap_or_default());
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "`{line}`");
    }
}

/// A key that shows the line as it is, between two words that nothing else shows.
const ZSHRC: &str = r#"
autoload -Uz compinit && compinit -D -u
source <(banger completion zsh)
show-line() { zle -I; print -r -- "line[$BUFFER]"; BUFFER= }
zle -N show-line
bindkey '^T' show-line
PS1='ready> '
"#;

#[test]
fn zsh_completes() {
    let host = Host::new();
    let _fake = with_vms(&host);
    std::fs::write(host.path("home/.zshrc"), ZSHRC).unwrap();
    let mut terminal = Terminal::open();
    let mut shell = terminal.start(host.shell("zsh", &["--no-global-rcs", "-i"]));
    terminal.wait_for("ready> ");
    // It completes what is common to all that can be meant; the whole word, with a blank, is the only one.
    for (typed, expected) in [
        ("vm sh", "vm show "),
        ("rm w", "rm web"),
        ("rm web w", "rm web web-2 "),
        ("run --progress p", "run --progress plain "),
        ("run --wait s", "run --wait system "),
        ("run --image deb", "run --image debian-bookworm "),
        ("snapshot restore web b", "snapshot restore web before "),
    ] {
        terminal.press(format!("banger {typed}\t\x14").as_bytes());
        terminal.wait_for("line[banger ");
        let line = terminal.wait_for("]");
        assert_eq!(line, format!("{expected}]"), "`{typed}`");
    }
    terminal.press(b"exit\n");
    assert!(shell.wait().unwrap().success());
}

/// Arguments that name something, by their ids.
const NAMES: [&str; 8] =
    ["vm", "vms", "image", "images", "kernel", "kernels", "snapshot", "snapshots"];
/// Positional arguments that are the user's own words, by their ids: commands and their arguments, names
/// of what is new, and jobs, which only the guest knows.
const FREE: [&str; 4] = ["command", "arguments", "name", "job"];

#[test]
fn every_name_can_be_completed() {
    let (mut named, mut wrong) = (0, Vec::new());
    walk_shown(&banger_cli::command(), "banger", &mut |words, command| {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let is_name = NAMES.contains(&id);
            named += usize::from(is_name);
            let unknown = arg.is_positional() && !has_completion(arg) && !FREE.contains(&id);
            if unknown || (is_name && !has_completer(arg)) {
                wrong.push(format!("`{words}`: `{id}`"));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
    assert!(named > 40, "only {named} names were found");
}

fn has_completer(arg: &Arg) -> bool {
    arg.get::<ArgValueCandidates>().is_some() || arg.get::<ArgValueCompleter>().is_some()
}

/// Whether a shell has anything to offer for it.
fn has_completion(arg: &Arg) -> bool {
    let hint = arg.get_value_hint() != clap::ValueHint::Unknown;
    has_completer(arg) || hint || !arg.get_possible_values().is_empty()
}
