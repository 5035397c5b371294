//! Pictures of models, as text: at the sizes that people have, and at those that nobody has.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use banger_proto::api::{StatsReport, VmPorts};

use super::*;
use crate::top::keys::Key;
use crate::top::model::{Act, Update, tests as models};

fn picture(model: &Model, width: u16, height: u16, colour: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, Look::new(colour))).unwrap();
    terminal.backend().buffer().clone()
}

/// The picture as lines, without the blanks at their ends.
fn shown(model: &Model, width: u16, height: u16) -> String {
    let buffer = picture(model, width, height, false);
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

fn usage() -> Update {
    let process =
        |cpu: f64| serde_json::json!({"pid": 7, "cpu_percent": cpu, "cpu_ms": 1, "rss": 100 << 20});
    let report: StatsReport = serde_json::from_value(serde_json::json!({
        "at": "2026-08-05T12:00:00Z", "interval_ms": 1000, "vms": [{
            "id": "aabbccddeeff", "name": "web", "state": "running", "vcpu": 2,
            "memory": 1u64 << 31, "disk": {"used": 0, "total": 0},
            "host": {"vmm": process(101.5), "supervisor": process(0.1)},
            "guest": {
                "uptime_ms": 5000, "cpus": 2, "cpu_percent": 99.0, "cpu_ms": 900,
                "memory": {"used": 150 << 20, "total": 2u64 << 30},
                "disk": {"used": 1 << 20, "total": 1 << 30},
            },
        }],
    }))
    .unwrap();
    Update::Usage(report)
}

fn ports() -> Update {
    let port = |port: u16, process: &str, rest: serde_json::Value| {
        let mut view = serde_json::json!({
            "protocol": "tcp", "address": "0.0.0.0", "port": port,
            "process": {"pid": 7, "name": process},
        });
        view.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        view
    };
    let told: VmPorts = serde_json::from_value(serde_json::json!({
        "id": "aabbccddeeff", "name": "web",
        "ports": [
            port(80, "nginx", serde_json::json!({"url": "http://127.77.0.5:8080"})),
            port(5432, "\u{1b}]0;owned\u{7}\u{1b}[2Jpostgres\r\n", serde_json::json!({
                "problem": "`127.77.0.5:5432` is taken on the host",
            })),
            port(6379, "redis", serde_json::json!({"endpoint": "127.77.0.5:6379"})),
        ],
    }))
    .unwrap();
    Update::Ports(told.id, Ok(told.ports))
}

/// Two VMs with all that may be known of them.
fn full() -> Model {
    let mut model = models::model();
    model.take(usage());
    model.take(ports());
    model.take(models::state("aacc00000000", "db", StateName::Error));
    model.press(Key::Char('p'));
    let why =
        ["VM `web` cannot do this now", "caused by: it does not run", "hint: banger vm start web"];
    let why = why.map(str::to_owned).to_vec();
    model.take(Update::Done("aabbccddeeff".parse().unwrap(), Act::Pause, Err(why)));
    model
}

#[test]
fn a_wide_screen_has_it_all() {
    let mut model = full();
    let mut vms = model.all().to_vec();
    vms[0].published = ["8000:80".parse().unwrap()].into();
    model.take(Update::Vms(vms));
    assert_snapshot!(shown(&model, 100, 20), @r"
    banger top  2 VMs, 1 running  host CPU 101.6%  host MEM 200 MiB
      NAME  STATE    IMAGE            CPU    MEM            DISK           PORTS    AGE
    > web   running  debian-bookworm  99.0%  150 MiB/2 GiB  1 MiB/1 GiB    8000:80  3h
      db    error    debian-bookworm  -      -/2 GiB        1.2 GiB/8 GiB  -        3h

    -- ports of web ------------------------------------------------------------------------------------
    tcp 80  nginx  http://127.77.0.5:8080
    tcp 5432  postgres  (`127.77.0.5:5432` is taken on the host)
    tcp 6379  redis  127.77.0.5:6379
    -- events ------------------------------------------------------------------------------------------
    12:00:05 db error
    12:00:00 pausing web
    12:00:00 VM `web` cannot do this now
             caused by: it does not run
             hint: banger vm start web




    Enter shell  l logs  s start/stop  p pause  d delete  / filter  ? help  q quit
    ");
}

#[test]
fn a_usual_screen_leaves_little_out() {
    assert_snapshot!(shown(&full(), 80, 24), @r"
    banger top  2 VMs, 1 running  host CPU 101.6%  host MEM 200 MiB
      NAME  STATE    IMAGE            CPU    MEM            DISK           AGE
    > web   running  debian-bookworm  99.0%  150 MiB/2 GiB  1 MiB/1 GiB    3h
      db    error    debian-bookworm  -      -/2 GiB        1.2 GiB/8 GiB  3h

    -- ports of web ----------------------------------------------------------------
    tcp 80  nginx  http://127.77.0.5:8080
    tcp 5432  postgres  (`127.77.0.5:5432` is taken on the host)
    tcp 6379  redis  127.77.0.5:6379
    -- events ----------------------------------------------------------------------
    12:00:05 db error
    12:00:00 pausing web
    12:00:00 VM `web` cannot do this now
             caused by: it does not run
             hint: banger vm start web








    Enter shell  l logs  s start/stop  p pause  d delete  / filter  ? help  q quit
    ");
}

#[test]
fn a_narrow_screen_has_what_matters() {
    assert_snapshot!(shown(&full(), 40, 10), @r"
    2 VMs, 1 running  host CPU 101.6%
      NAME  STATE    CPU    MEM
    > web   running  99.0%  150 MiB/2 GiB
      db    error    -      -/2 GiB
    -- events ------------------------------
    12:00:00 pausing web
    12:00:00 VM `web` cannot do this now
             caused by: it does not run
             hint: banger vm start web
    Enter shell  ? help  q quit
    ");
}

#[test]
fn the_chosen_one_is_shown_of_many() {
    let mut model = models::model();
    let vm = |n: usize| models::vm(&format!("{n:012x}"), &format!("vm-{n}"), StateName::Running);
    model.take(Update::Vms((0..40).map(vm).collect()));
    model.press(Key::End);
    let screen = shown(&model, 40, 10);
    assert!(screen.contains("> vm-39") && !screen.contains("vm-3 "), "{screen}");
}

#[test]
fn no_size_is_too_small() {
    let mut model = full();
    for keys in ["", "d", "n?", "x/abc", "\r"] {
        for key in keys.chars() {
            model.press(if key == '\r' { Key::Enter } else { Key::Char(key) });
        }
        for (width, height) in [(1, 1), (2, 2), (5, 3), (20, 5), (300, 4), (8, 100)] {
            shown(&model, width, height);
        }
    }
    model.press(Key::Escape);
    model.press(Key::Char('l'));
    shown(&model, 1, 1);
}

#[test]
fn a_question_is_seen_whole_and_names_the_vm() {
    let mut model = models::empty();
    let name = format!("{}-end", "a-long-name".repeat(4));
    model.take(Update::Vms(vec![models::vm("aabbccddeeff", &name, StateName::Running)]));
    model.press(Key::Char('d'));
    assert_snapshot!(shown(&model, 40, 10), @r"
    banger top  1 VM, 1 running
      NAME                           STATE
    > a-long-namea-long-namea-long-  running
    -- events ------------------------------


    Delete VM
    `a-long-namea-long-namea-long-namea-long
    -name-end` with its disk, for good?
    [y/N]
    ");
}

#[test]
fn help_tells_every_key() {
    let mut model = models::model();
    model.press(Key::Char('?'));
    assert_snapshot!(shown(&model, 60, 12), @r"
    banger top  2 VMs, 1 running
    up down j k    choose a VM; also PgUp, PgDn, g, G
    Enter e        a shell in it; its end comes back here
    l              its console, as it goes on
    s              start it, or stop it
    p              pause it, or have it go on
    d              delete it with its disk, after a question
    /              show only names with a text; Esc shows all
    q Ctrl-C       leave; the VMs go on


    any key goes back
    ");
}

#[test]
fn a_console_fills_the_screen() {
    let mut model = models::model();
    model.press(Key::Char('l'));
    let id: banger_proto::VmId = "aabbccddeeff".parse().unwrap();
    let said = b"\x1b[2J\x1b[32mOK\x1b[0m started\r\n\x1b]0;owned\x07a\ttab\r\nlast\n";
    model.take(Update::Console(id.clone(), said.as_slice().into()));
    assert_snapshot!(shown(&model, 40, 6), @r"
    console of web
    OK started
    a       tab
    last

    arrows, PgUp, PgDn move  q back
    ");
    model.press(Key::Up);
    model.take(Update::ConsoleEnded(id, "the VM is down".to_owned()));
    assert_snapshot!(shown(&model, 50, 4), @r"
    console of web  ended: the VM is down
    OK started
    a       tab
    arrows, PgUp, PgDn move  q back
    ");
}

#[test]
fn a_filter_is_seen_while_it_is_typed() {
    let mut model = models::model();
    for key in "/db".chars() {
        model.press(Key::Char(key));
    }
    assert_snapshot!(shown(&model, 40, 7), @r"
    banger top  2 VMs, 1 running  only `db`
      NAME  STATE    CPU  MEM
    > db    stopped  -    -/2 GiB



    /db
    ");
}

#[test]
fn without_vms_and_without_a_daemon_that_is_said() {
    let mut model = models::empty();
    assert_snapshot!(shown(&model, 40, 4), @r"
    banger top  asking the daemon


    Enter shell  ? help  q quit
    ");
    model.take(Update::Vms(vec![]));
    assert_snapshot!(shown(&model, 40, 4), @r"
    banger top  0 VMs, 0 running
    no VMs: `banger run` makes one

    Enter shell  ? help  q quit
    ");
    let mut model = models::model();
    model.take(Update::Away(vec!["the daemon went away".to_owned()]));
    assert_snapshot!(shown(&model, 60, 5), @r"
    the daemon is away, trying again: the daemon went away
      NAME  STATE    CPU  MEM      DISK
    > web   running  -    -/2 GiB  1.2 GiB/8 GiB
      db    stopped  -    -/2 GiB  1.2 GiB/8 GiB
    Enter shell  l logs  s start/stop  d delete  ? help  q quit
    ");
}

#[test]
fn nobodys_words_act_on_the_terminal() {
    let mut model = models::empty();
    let mut vm = models::vm("aabbccddeeff", "web", StateName::Running);
    vm.image = "\u{1b}[2Jimage\u{202e}".to_owned();
    model.take(Update::Vms(vec![vm]));
    let problem = "console:\u{1b}]52;c;eA==\u{7}\u{9b}1mpanic\u{8}";
    let event = serde_json::json!({
        "event": "state", "seq": 1, "at": "2026-08-05T12:00:05Z", "vm": "aabbccddeeff",
        "name": "web", "state": "error", "problem": problem,
    });
    model.take(Update::Event(serde_json::from_value(event).unwrap()));
    model.take(Update::Away(vec!["\u{1b}[31mgone".to_owned()]));
    let screen = shown(&model, 100, 20);
    assert!(screen.contains("web error: console:panic\u{fffd}"), "{screen}");
    assert!(screen.contains("trying again: gone"), "{screen}");
    assert!(!screen.chars().any(|c| c != '\n' && c.is_control()), "{screen:?}");
}

#[test]
fn without_colour_there_is_none() {
    let model = full();
    let coloured = |colour| {
        let buffer = picture(&model, 80, 24, colour);
        buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(true));
    assert!(!coloured(false));
    let chosen = |colour| {
        let buffer = picture(&model, 80, 24, colour);
        buffer.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED))
    };
    assert!(chosen(true) && chosen(false), "what is chosen is seen either way");
}
