//! `docs/exit-codes.md` has the constants of the program, with what their sources say of them; and
//! the program ends with them.

use banger_proto::exit_code;

use crate::documents::{assert_page, checkout};
use crate::fake::Fake;
use crate::host::Host;

const HEAD: &str = "\
<!-- Generated; to change it: UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_exit_codes -->
# Exit codes

| code | name | when |
|---|---|---|
";

const TAIL: &str = "
The command of `banger vm run -- COMMAND`, `banger vm exec` and `banger vm ssh` ends with its own code,
whatever that is; what banger has to say of it comes as text on standard error. So a code of 125 may be
the command's own, as with `docker run` and `timeout`.

A command with several VMs goes on past those that fail, tells each failure, and ends with the greatest
code among them. `banger doctor` ends with 1 when a check failed; warnings are no failure.

banger itself ends as if by the signal when it is interrupted (130 after Ctrl-C), and with 141 when
nobody reads its output any more.

```console
$ banger run --rm . -- make test
$ banger vm wait --timeout 60 web
```
";

/// Name, value and meaning of every constant in the source.
fn constants() -> Vec<(String, u8, String)> {
    let source = checkout().join("crates/proto/src/exit_code.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let mut meaning = String::new();
    let mut found = Vec::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push_str(text);
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let (name, value) = constant.split_once(": u8 = ").expect("a code");
            let value = value.trim_end_matches(';').parse().expect("a number");
            found.push((name.to_owned(), value, std::mem::take(&mut meaning).trim().to_owned()));
        }
    }
    found
}

#[test]
fn docs_exit_codes_are_current() {
    let constants = constants();
    let all: Vec<u8> = constants.iter().map(|(_, code, _)| *code).collect();
    assert!(all.is_sorted() && all.contains(&exit_code::EXEC_FAILURE), "{all:?}");
    let mut page = HEAD.to_owned();
    for (name, code, meaning) in constants {
        assert!(!meaning.is_empty(), "`{name}` has no meaning");
        let code =
            if code == exit_code::SIGNAL_BASE { format!("{code}+n") } else { code.to_string() };
        page.push_str(&format!("| {code} | `{name}` | {meaning} |\n"));
    }
    assert_page("exit-codes.md", &(page + TAIL));
}

#[test]
fn the_program_ends_with_them() {
    let host = Host::new();
    let _fake = Fake::start(&host)
        .with("aabbccddeeff", "web", banger_proto::api::StateName::Running)
        .with("aacc00000000", "slow", banger_proto::api::StateName::Running);
    for (words, code) in [
        ("ls", exit_code::OK),
        ("vm show nobody", exit_code::FAILURE),
        ("vm stop web nobody", exit_code::FAILURE),
        ("vm fly", exit_code::USAGE),
        ("run -d --rm", exit_code::USAGE),
        ("vm wait --timeout 5 slow", exit_code::TIMED_OUT),
        ("exec web -- refused", exit_code::EXEC_FAILURE),
        ("exec web -- exit 126", exit_code::COMMAND_NOT_EXECUTABLE),
        ("exec web -- exit 127", exit_code::COMMAND_NOT_FOUND),
        ("exec web -- exit 3", 3),
    ] {
        let shown = host.run(&words.split(' ').collect::<Vec<_>>());
        assert!(shown.ends_with(&format!("-- exit {code}")), "{words}: {shown}");
    }
}
