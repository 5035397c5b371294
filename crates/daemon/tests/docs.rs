//! What `docs/` says of the configuration and the interface is what the program has.
//!
//! `UPDATE_DOCS=1 cargo test -p banger-daemon docs_` writes the files instead of comparing them.

use std::fmt::Write as _;
use std::path::Path;

use banger_daemon::config::{KEYS, parse_config};
use banger_proto::api;
use banger_testkit::Interface;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A file that uses most keys. It is parsed below, so that it stays one that works.
const EXAMPLE: &str = r#"log_level = "debug"
accel = "tcg"
ready_timeout = 120

[vm_defaults]
vcpu = 4
memory = "4G"
disk_size = "20G"

[[file_sync]]
host = "~/.gitconfig"
guest = "~/.gitconfig"
"#;

const HEAD: &str = "\
<!-- Generated; to change it: UPDATE_DOCS=1 cargo test -p banger-daemon docs_config -->
# Configuration

banger needs no configuration. What you want otherwise goes into the TOML file
`$XDG_CONFIG_HOME/banger/config.toml`, which is `~/.config/banger/config.toml` where that variable
is not set. A file that is not there is an empty one.

";

const LAYERS: &str = "
## Where a value comes from

Every value has one of three origins, the first that has something to say:

| origin | what |
|---|---|
| `config` | the file |
| `auto` | worked out from this host: `vm_defaults.vcpu` and `vm_defaults.memory` only |
| `builtin` | the program |

`banger config show` shows every value with its origin, and needs no daemon; `banger config path`
prints where the file is. What a command is told itself (`--memory 4G`) comes before all three, for
that VM.

```console
$ banger config show
$ banger config show --json
```

As JSON: `path` and `exists` of the file, `settings` (a list with `key`, `value` as the file would have
it, null where there is none, and `origin`), and `warnings`.

The daemon reads the file when it starts. After a change, end it; the next command starts it anew,
and VMs that run go on running:

```console
$ banger daemon stop
```

A VM keeps the sizes, the image and the choice of kernel it was made with; `banger vm set` changes
them for that VM.

## Mistakes

- A key that does not exist is a warning of `banger config show` and in the daemon's log (`banger
  daemon status` says where that is), with the nearest key that does. The rest of the file holds.
- A value of the wrong type, or a file that is not TOML, is an error: the daemon does not start, and
  says file, line and key, as `banger config show` does.
";

const TABLE: &str = "
## Keys

Sizes are texts (`\"512M\"`, `\"4G\"`, `\"4GiB\"`) or numbers, which mean MiB. A dot in a name stands for
a table: `vm_defaults.vcpu` is `vcpu` under `[vm_defaults]`.

| key | when absent | purpose |
|---|---|---|
";

const NOTES: &str = "
- `[[file_sync]]` is a list of tables with `host`, `guest` and `mode`: [files that every VM gets](file-sync.md).
- `vmm = \"auto\"` is Firecracker where it is found and KVM is usable, else QEMU. `vmm = \"firecracker\"` has VMs run by
  Firecracker, 1.5 or later, or not at all. A snapshot goes on under the VMM that it was taken with.
- `accel = \"kvm\"` makes VMs fail where KVM is not usable, rather than be slow.
- `dns_listen` has to be an address of this host's loopback; a port that is taken is told by `banger
  daemon status`, and everything but names works without: [how programs come to ask there](dns-routing.md).
- The environment variable `BANGER_LOG`, if set where the daemon starts, comes before `log_level`.
";

fn render_config() -> String {
    let mut text = format!("{HEAD}```toml\n{EXAMPLE}```\n{LAYERS}{TABLE}");
    for key in KEYS {
        writeln!(text, "| `{}` | {} | {} |", key.name, key.default, key.purpose)
            .expect("a text takes everything");
    }
    text + NOTES
}

/// Compares `docs/<name>` with `expected`, or writes it when told so by `UPDATE_DOCS`.
fn assert_doc(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(&path, expected).expect("a document that can be written");
        return;
    }
    let actual = fs_err::read_to_string(&path).expect("a document");
    let line = actual.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(
        actual == expected,
        "docs/{name} is out of date from line {line}; write it anew: \
         UPDATE_DOCS=1 cargo test -p banger-daemon docs_"
    );
}

#[test]
fn docs_config_is_current() {
    let (_, warnings) = parse_config(EXAMPLE, "example".as_ref()).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_doc("config.md", &render_config());
}

#[test]
fn docs_openapi_is_current() {
    let description = banger_daemon::http::description().to_pretty_json().unwrap();
    assert_doc("api/openapi.json", &format!("{description}\n"));
}

/// Whether `value` is a `T` for serde.
fn is<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    serde_json::from_value::<T>(value.clone()).map(drop).map_err(|error| error.to_string())
}

/// Whether the handler of a call that takes a `name` takes `value`.
fn accepts(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "AttachToJob" => is::<api::AttachToJob>(value),
        "BringBranch" => is::<api::BringBranch>(value),
        "CollectGarbage" => is::<api::CollectGarbage>(value),
        "CreateVm" => is::<api::CreateVm>(value),
        "ExecVm" => is::<api::ExecVm>(value),
        "ForkVm" => is::<api::ForkVm>(value),
        "ImportImage" => is::<api::ImportImage>(value),
        "ImportKernel" => is::<api::ImportKernel>(value),
        "ObtainImage" => is::<api::ObtainImage>(value),
        "ObtainKernel" => is::<api::ObtainKernel>(value),
        "PrepareWorkspace" => is::<api::PrepareWorkspace>(value),
        "RegisterImage" => is::<api::RegisterImage>(value),
        "RestartVm" => is::<api::RestartVm>(value),
        "RestoreSnapshot" => is::<api::RestoreSnapshot>(value),
        "SetVm" => is::<api::SetVm>(value),
        "SignalJob" => is::<api::SignalJob>(value),
        "StartVm" => is::<api::StartVm>(value),
        "StopVm" => is::<api::StopVm>(value),
        "TakeSnapshot" => is::<api::TakeSnapshot>(value),
        "WaitVm" => is::<api::WaitVm>(value),
        other => Err(format!("no test knows the type `{other}`")),
    }
}

#[test]
fn docs_openapi_has_examples_that_are_right() {
    let description = serde_json::to_value(banger_daemon::http::description()).unwrap();
    let interface = Interface::of(description);
    let mut wrong = Vec::new();
    for (call, described) in interface.calls() {
        // Each of a media type's examples, checked; how many there were.
        let mut check = |what: &str, kind: &str, content: &Value| {
            let examples: Vec<_> = content["examples"].as_object().into_iter().flatten().collect();
            for (name, example) in &examples {
                let value = &interface.resolve(example)["value"];
                let mut checked = interface.check(content, value);
                if what == "request" {
                    let schema = content["schema"]["$ref"].as_str().unwrap_or_default();
                    let schema = schema.rsplit('/').next().unwrap_or_default();
                    checked = checked.and_then(|()| accepts(schema, value));
                }
                wrong.extend(checked.err().map(|why| format!("{call}, {what} `{name}`: {why}")));
            }
            // What a tar stream looks like is no text.
            let is_told = !examples.is_empty()
                || ["application/x-tar", "application/octet-stream"].contains(&kind);
            wrong.extend((!is_told).then(|| format!("{call}: no example of a {what}, {kind}")));
        };
        for (kind, content) in described["requestBody"]["content"].as_object().into_iter().flatten()
        {
            check("request", kind, content);
        }
        for (status, answer) in described["responses"].as_object().unwrap() {
            let contents = interface.resolve(answer)["content"].as_object();
            for (kind, content) in contents.into_iter().flatten() {
                check(status, kind, content);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
