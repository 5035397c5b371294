//! What commands print with `--json`: valid, and documented field by field in `docs/json.md`.
//!
//! `UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_json` writes that page from the
//! interface's description instead of comparing it.

mod page;
mod schema;

use banger_proto::Problem;
use banger_proto::api::{EndReason, StateName};
use serde_json::{Value, json};

use crate::documents::assert_page;
use crate::examples::walk;
use crate::fake::Fake;
use crate::host::Host;
use schema::Schemas;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// A type of the interface.
    Api(&'static str),
    /// A list of those.
    ListOf(&'static str),
    /// The VMs that a command was for, a `VmList`.
    Done,
    /// A type of the command line's own.
    Own(&'static [Field]),
    /// The lines of the daemon's log, whose fields are those of what is logged.
    Log,
}

/// A field of a type of the command line's own: name, type, meaning. A dot stands between the name
/// of an object, or of a list of them, and that of its field.
type Field = (&'static str, &'static str, &'static str);

/// A command that has `--json`: its words, its other arguments, what it prints.
pub(crate) struct Command {
    pub(crate) words: &'static str,
    pub(crate) args: &'static str,
    shape: Shape,
}

const fn command(words: &'static str, args: &'static str, shape: Shape) -> Command {
    Command { words, args, shape }
}

const VMS: Shape = Shape::Api("VmList");

/// All of them, in the order of the page. None changes what another one shows.
pub(crate) const COMMANDS: &[Command] = &[
    command("ls", "", VMS),
    command("ps", "", VMS),
    command("vm list", "", VMS),
    command("vm show", "web", Shape::Api("VmView")),
    command("vm create", "--name new", Shape::Api("VmView")),
    command("vm fork", "web -n 2", Shape::Done),
    command("vm start", "db", Shape::Done),
    command("vm restart", "web", Shape::Done),
    command("vm pause", "web", Shape::Done),
    command("vm resume", "web", Shape::Done),
    command("vm set", "--nat web", Shape::Done),
    command("vm wait", "web", Shape::Done),
    command("vm stop", "web", Shape::Done),
    command("vm kill", "web", Shape::Done),
    command("vm delete", "old", Shape::Done),
    command("rm", "older", Shape::Done),
    command("vm prune", "-f", Shape::Done),
    command("vm stats", "", Shape::Api("StatsReport")),
    command("vm health", "web", Shape::Api("VmHealth")),
    command("vm ping", "web", Shape::Api("Pong")),
    command("vm ports", "web", Shape::ListOf("VmPorts")),
    command("vm jobs", "web", Shape::Api("JobList")),
    command("vm workspace status", "web", Shape::Api("WorkspaceStatus")),
    command("snapshot list", "", Shape::Api("SnapshotList")),
    command("snapshot create", "web", Shape::Api("SnapshotView")),
    command("image list", "", Shape::Api("ImageList")),
    command("image show", "team/app:1", Shape::Api("ImageDetails")),
    command("image cache prune", "", Shape::Api("Pruned")),
    command("kernel list", "", Shape::Api("KernelList")),
    command("kernel show", "debian", Shape::Api("KernelDetails")),
    command("daemon status", "", Shape::Api("DaemonStatus")),
    command("daemon logs", "", Shape::Log),
    command("doctor", "", Shape::Api("DoctorReport")),
    command("system gc", "--dry-run", Shape::Api("Garbage")),
    command("system status", "", Shape::Own(SYSTEM)),
    command("ssh-config", "", Shape::Own(SSH_CONFIG)),
    command("config show", "", Shape::Own(CONFIG)),
    command("config path", "", Shape::Own(CONFIG_PATH)),
    command("version", "", Shape::Own(VERSION)),
    command("update", "", Shape::Own(UPDATE)),
];

const SYSTEM: &[Field] = &[
    ("installed", "object, optional", "What is installed; null when nothing is."),
    ("installed.version", "text", "Version of the program that installed it."),
    ("installed.owner", "text", "Name of the user whose VMs they are."),
    ("installed.uid", "number", "That user's number."),
    ("installed.prefix", "text", "Directory that the programs are beneath."),
    ("installed.bridge", "text", "Name of the bridge that VMs are on."),
    ("installed.files", "list of text", "Files that were written."),
    ("installed.directories", "list of text, optional", "Directories that were made for them."),
    ("units", "list of objects", "The units of the service manager."),
    ("units.name", "text", "Name of the unit."),
    ("units.active", "text", "`active` when all is well."),
    ("units.sub", "text", "More of that: `running`, `listening`."),
    ("units.enabled", "text", "`enabled` when it starts at boot."),
];

const SSH_CONFIG: &[Field] = &[
    ("config", "text", "Path of the configuration that knows VMs."),
    ("include", "text", "The line that includes it."),
    ("user_config", "text", "Path of the user's own configuration."),
    ("installed", "true or false", "Whether that has the line."),
    ("changed", "true or false", "Whether it was changed now."),
];

const VERSION: &[Field] = &[
    ("version", "text", "Version of the program."),
    ("commit", "text, optional", "Commit that a release was built from."),
    ("built_at", "text, optional", "When that commit was made."),
    ("releases", "text, optional", "Where releases are that it is updated from."),
    ("release_key", "text, optional", "The public key that those are signed with, PEM."),
    ("api_version", "number", "Version of the interface that it speaks."),
    ("guest_generation", "number", "Generation of the protocol between host and agent."),
    ("os", "text", "Operating system that it was built for."),
    ("arch", "text", "Processors that it was built for."),
];

const CONFIG: &[Field] = &[
    ("path", "text", "The file."),
    ("exists", "true or false", "Whether it is there."),
    ("settings", "list of objects", "Every key that there is."),
    ("settings.key", "text", "Its name."),
    (
        "settings.value",
        "anything",
        "Its value, as the file would have it; null where that can only leave it out.",
    ),
    (
        "settings.origin",
        "text",
        "`config` (the file), `auto` (this host) or `builtin` (the program).",
    ),
    ("warnings", "list of text", "What is odd about the file."),
];

const CONFIG_PATH: &[Field] =
    &[("path", "text", "The file."), ("exists", "true or false", "Whether it is there.")];

const UPDATE: &[Field] = &[
    ("installed", "text", "The release that was in use, such as `v1.2.3`."),
    ("available", "text", "The newest, or the one that was asked for."),
    ("updated", "true or false", "Whether that is in use now."),
];

/// A daemon with something to tell of everything.
pub(crate) fn with_everything(host: &Host) -> Fake {
    let log = host.path("home/.local/state/banger/bangerd.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let line = r#"{"timestamp":"2026-08-05T12:00:01.5Z","level":"INFO","message":"daemon starts"}"#;
    std::fs::write(&log, format!("{line}\n")).unwrap();
    let image = |name: &str, local: bool| {
        serde_json::from_value(json!({
            "name": name, "description": "", "size": 0, "local": local, "distro": "debian",
            "run": { "env": { "A": "b" }, "user": "web", "entrypoint": ["/app"] },
        }))
        .unwrap()
    };
    let fake = Fake::start(host)
        .with("aabbccddeeff", "web", StateName::Running)
        .with("aacc00000000", "db", StateName::Stopped)
        .with("aadd00000000", "old", StateName::Error)
        .with("aaee00000000", "older", StateName::Stopped)
        .with_image(image("team/app:1", true))
        .with_image(image("more", false));
    fake.change("web", |vm| {
        let mut rich = serde_json::to_value(&*vm).unwrap();
        let more = json!({
            "address": "172.30.0.2", "loopback": "127.77.0.5", "nat": true,
            "host_ports": [8080], "published": [{ "host": 8080, "guest": 80 }],
            "guest": {
                "init": "agent", "state": "running", "boot_id": "b007",
                "service": { "state": "exited", "code": 3 },
            },
            "workspace": {
                "host_path": "/home/ada/repo", "guest_path": "/root/repo", "head": "c0ffee",
            },
            "history": [
                { "at": "2026-01-01T00:01:00Z", "state": "created", "cause": "create" },
            ],
        });
        rich.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        *vm = serde_json::from_value(rich).unwrap();
    });
    fake.change("old", |vm| {
        vm.ended = Some(EndReason::Failed("it did".into()));
        vm.problem = Some(Problem::new(banger_proto::Code::Timeout, "late").cause("x").hint("y"));
    });
    fake
}

/// The words of a command line of `command`, with `more` flags.
pub(crate) fn words(command: &Command, more: &'static [&'static str]) -> Vec<&'static str> {
    let given = command.words.split(' ').chain(more.iter().copied());
    given.chain(command.args.split_whitespace()).collect()
}

#[test]
fn every_command_with_json_is_known_here() {
    let mut there = Vec::new();
    let mut without = Vec::new();
    walk(&banger_cli::command(), "", &mut |words, command| {
        if command.has_subcommands() {
            return;
        }
        let words = words.trim().to_owned();
        let last = words.rsplit(' ').next().unwrap_or_default();
        let has_json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
        let shows =
            ["list", "show", "status", "ls", "ps", "stats", "ports", "health", "ping", "jobs"];
        if shows.contains(&last) && !has_json {
            without.push(words.clone());
        }
        there.extend(has_json.then_some(words));
    });
    assert!(without.is_empty(), "without --json: {without:?}");
    let mut known: Vec<_> = COMMANDS.iter().map(|command| command.words.to_owned()).collect();
    known.sort();
    there.sort();
    assert_eq!(there, known);
}

#[test]
fn every_field_that_is_printed_is_documented() {
    let host = Host::new();
    let _fake = with_everything(&host);
    let schemas = Schemas::load();
    let mut wrong = Vec::new();
    // An update wants an installation: its own tests look at what it prints.
    for command in COMMANDS.iter().filter(|command| command.words != "update") {
        let shown = host.run(&words(command, &["--json"]));
        // Some tell by their exit code that not all is well.
        let text = shown.rsplit_once("-- exit ").map_or(&*shown, |(text, _)| text);
        let text = text.split_once("-- stderr\n").map_or(text, |(text, _)| text);
        let said = match command.shape {
            Shape::Log => text
                .lines()
                .try_for_each(|line| serde_json::from_str::<Value>(line).map(drop))
                .map(|()| Vec::new()),
            Shape::Api(name) => {
                serde_json::from_str(text).map(|value: Value| schemas.undocumented(&value, name))
            }
            Shape::Done => serde_json::from_str(text)
                .map(|value: Value| schemas.undocumented(&value, "VmList")),
            Shape::ListOf(name) => serde_json::from_str(text).map(|values: Vec<Value>| {
                values.iter().flat_map(|value| schemas.undocumented(value, name)).collect()
            }),
            Shape::Own(fields) => {
                serde_json::from_str(text).map(|value: Value| undocumented(&value, fields, ""))
            }
        };
        match said {
            Ok(fields) => {
                wrong.extend(fields.iter().map(|field| format!("`{}`: {field}", command.words)));
            }
            Err(error) => wrong.push(format!("`{}`: {error} in {shown}", command.words)),
        }
    }
    assert!(wrong.is_empty(), "not documented:\n{}", wrong.join("\n"));
}

/// The fields of `value` that are not in `fields`.
fn undocumented(value: &Value, fields: &[Field], place: &str) -> Vec<String> {
    match value {
        Value::Array(values) => {
            values.iter().flat_map(|value| undocumented(value, fields, place)).collect()
        }
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let name = format!("{place}{name}");
                let known = fields.iter().any(|(field, ..)| *field == name);
                let below = undocumented(value, fields, &format!("{name}."));
                (!known).then_some(name).into_iter().chain(below).collect::<Vec<_>>()
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn what_is_not_documented_is_found() {
    let value = json!({ "version": "1", "more": [{ "deep": 1 }] });
    assert_eq!(undocumented(&value, VERSION, ""), ["more", "more.deep"]);
    let schemas = Schemas::load();
    let list = json!({ "vms": [{ "id": "aa", "problem": { "code": "x", "why": "y" } }], "all": 1 });
    assert_eq!(schemas.undocumented(&list, "VmList"), ["all", "vms.problem.why"]);
    // Of several forms, each has its fields.
    let job = json!({ "jobs": [{ "state": "exited", "code": 1, "pid": 7, "colour": "red" }] });
    assert_eq!(schemas.undocumented(&job, "JobList"), ["jobs.colour"]);
}

#[test]
fn docs_json_is_current() {
    assert_page("json.md", &page::render(&Schemas::load()));
}
