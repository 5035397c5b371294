//! Keys and updates go in, and what follows is looked at.

use banger_proto::api::StatsReport;

use super::*;

const WEB: &str = "aabbccddeeff";
const DB: &str = "aacc00000000";

pub(in crate::top) fn vm(id: &str, name: &str, state: StateName) -> VmView {
    serde_json::from_value(serde_json::json!({
        "id": id, "name": name, "state": state, "image": "debian-bookworm", "kernel": "debian",
        "vcpu": 2, "memory": 1u64 << 31, "disk_size": 8u64 << 30, "disk_used": 1_288_490_189u64,
        "backend": {"vmm": "qemu", "accel": "tcg"}, "ephemeral": false,
        "created_at": "2026-08-05T09:00:00Z", "console_log": "/state/console.log"
    }))
    .unwrap()
}

pub(in crate::top) fn state(id: &str, name: &str, state: StateName) -> Update {
    Update::Event(
        serde_json::from_value(serde_json::json!({
            "event": "state", "seq": 1, "at": "2026-08-05T12:00:05Z", "vm": id, "name": name,
            "state": state,
        }))
        .unwrap(),
    )
}

fn deleted(id: &str, name: &str) -> Update {
    Update::Event(
        serde_json::from_value(serde_json::json!({
            "event": "deleted", "seq": 2, "at": "2026-08-05T12:00:06Z", "vm": id, "name": name,
        }))
        .unwrap(),
    )
}

pub(in crate::top) fn empty() -> Model {
    Model::new("2026-08-05T12:00:00Z".parse().unwrap(), TimeZone::UTC)
}

/// Two VMs, of which `web` runs and is chosen.
pub(in crate::top) fn model() -> Model {
    let mut model = empty();
    let vms = vec![vm(WEB, "web", StateName::Running), vm(DB, "db", StateName::Stopped)];
    assert_eq!(model.take(Update::Vms(vms)), [Command::Ports(Some(WEB.parse().unwrap()))]);
    model
}

fn name(model: &Model) -> &str {
    model.chosen().map_or("-", |vm| vm.name.as_str())
}

fn journal(model: &Model) -> Vec<&str> {
    model.journal.last(usize::MAX).map(|entry| entry.text.as_str()).collect()
}

/// What was asked to be done, without what follows of the choice.
fn acts(commands: Vec<Command>) -> Vec<(String, Act)> {
    let act = |command| match command {
        Command::Act(vm, act) => Some((vm.name.to_string(), act)),
        _ => None,
    };
    commands.into_iter().filter_map(act).collect()
}

fn press(model: &mut Model, keys: &str) -> Vec<Command> {
    keys.chars().flat_map(|c| model.press(Key::Char(c))).collect()
}

#[test]
fn keys_move_among_the_vms() {
    let mut model = model();
    assert_eq!(name(&model), "web");
    for (key, then) in [
        (Key::Up, "web"),
        (Key::Down, "db"),
        (Key::Down, "db"),
        (Key::Char('k'), "web"),
        (Key::Char('j'), "db"),
        (Key::Home, "web"),
        (Key::Char('G'), "db"),
        (Key::PageUp, "web"),
        (Key::PageDown, "db"),
    ] {
        model.press(key);
        assert_eq!(name(&model), then, "{key:?}");
    }
}

#[test]
fn nothing_is_chosen_where_nothing_is() {
    let mut model = empty();
    for key in [Key::Up, Key::Down, Key::End, Key::Enter, Key::Char('d'), Key::Char('s')] {
        assert_eq!(model.press(key), []);
    }
    assert!(matches!(model.mode, Mode::Table));
}

#[test]
fn the_same_vm_stays_chosen_whatever_happens_to_the_list() {
    let mut model = model();
    press(&mut model, "j");
    let mut vms = vec![vm("aa0000000000", "api", StateName::Running)];
    vms.extend(model.all().to_vec());
    model.take(Update::Vms(vms));
    assert_eq!(name(&model), "db");
    // What takes its place is chosen once it is gone.
    model.take(deleted(DB, "db"));
    assert_eq!(name(&model), "web");
    assert_eq!(journal(&model), ["db deleted"]);
    model.take(Update::Vms(vec![]));
    assert_eq!(model.position(), None);
}

#[test]
fn events_change_states_and_are_told() {
    let mut model = model();
    assert_eq!(model.take(state(WEB, "web", StateName::Stopping)), [Command::Ports(None)]);
    assert_eq!(model.all()[0].state, StateName::Stopping);
    // Of one that is not listed yet, too; its guest's progress is nothing to tell.
    model.take(state("bb0000000000", "new", StateName::Created));
    model.take(state(WEB, "web", StateName::Stopping));
    assert_eq!(journal(&model), ["web stopping", "new created"]);
}

#[test]
fn a_key_does_what_the_state_allows() {
    let cases = [
        ("s", StateName::Running, Some(Act::Stop)),
        ("s", StateName::Paused, Some(Act::Stop)),
        ("s", StateName::Booting, Some(Act::Stop)),
        ("s", StateName::Stopped, Some(Act::Start)),
        ("s", StateName::Error, Some(Act::Start)),
        ("s", StateName::Stopping, None),
        ("p", StateName::Running, Some(Act::Pause)),
        ("p", StateName::Paused, Some(Act::Resume)),
        ("p", StateName::Stopped, None),
    ];
    for (key, state, act) in cases {
        let mut model = empty();
        model.take(Update::Vms(vec![vm(WEB, "web", state)]));
        let expected: Vec<_> = act.into_iter().map(|act| ("web".to_owned(), act)).collect();
        assert_eq!(acts(press(&mut model, key)), expected, "{key} of {state:?}");
        assert_eq!(journal(&model).len(), 1, "{key} of {state:?} says something");
    }
}

#[test]
fn the_same_is_not_asked_for_twice() {
    let mut model = model();
    assert_eq!(acts(press(&mut model, "ss")).len(), 1);
    assert_eq!(journal(&model), ["stopping web", "web is being stopped already"]);
    model.take(Update::Done(WEB.parse().unwrap(), Act::Stop, Ok(())));
    assert_eq!(acts(press(&mut model, "s")).len(), 1);
}

#[test]
fn failures_are_told_with_the_way_out() {
    let mut model = model();
    press(&mut model, "p");
    let why =
        vec!["VM `web` cannot do this now".to_owned(), "hint: banger vm start web".to_owned()];
    model.take(Update::Done(WEB.parse().unwrap(), Act::Pause, Err(why.clone())));
    assert_eq!(journal(&model)[1..], why);
}

#[test]
fn a_vm_is_deleted_after_a_yes_and_nothing_else() {
    for (keys, deleted) in [("dy", true), ("dY", true), ("dn", false), ("dxy", true), ("dq", false)]
    {
        let mut model = model();
        let expected: &[(String, Act)] =
            if deleted { &[("web".to_owned(), Act::Delete)] } else { &[] };
        assert_eq!(acts(press(&mut model, keys)), expected, "{keys}");
        assert!(matches!(model.mode, Mode::Table), "{keys}");
    }
    for no in [Key::Enter, Key::Escape] {
        let mut model = model();
        press(&mut model, "d");
        assert_eq!(model.press(no), []);
        assert_eq!(acts(press(&mut model, "y")), [], "{no:?}");
    }
}

#[test]
fn the_question_means_the_vm_that_was_chosen() {
    let mut model = model();
    press(&mut model, "jd");
    let Mode::Question(question) = &model.mode else { panic!("{:?}", model.mode) };
    assert_eq!(question.render(), "Delete VM `db` with its disk, for good? [y/N]");
    // The list changes, and keys that move are no answer.
    model.take(Update::Vms(vec![
        vm(WEB, "web", StateName::Running),
        vm("bb0000000000", "other", StateName::Running),
        vm(DB, "db", StateName::Stopped),
    ]));
    model.press(Key::Up);
    assert_eq!(acts(press(&mut model, "y")), [("db".to_owned(), Act::Delete)]);

    // One that is gone needs no answer, and a late one means nobody.
    model.take(Update::Done(DB.parse().unwrap(), Act::Delete, Ok(())));
    press(&mut model, "d");
    model.take(deleted(DB, "db"));
    assert!(matches!(model.mode, Mode::Table));
    assert_eq!(acts(press(&mut model, "y")), []);
}

#[test]
fn a_vm_is_deleted_as_it_is_by_then() {
    let mut model = model();
    press(&mut model, "jd");
    model.take(state(DB, "db", StateName::Running));
    let commands = press(&mut model, "y");
    // One that runs is shut down before.
    let Command::Act(vm, Act::Delete) = &commands[0] else { panic!("{commands:?}") };
    assert_eq!((vm.name.as_str(), vm.state), ("db", StateName::Running));
}

#[test]
fn leaving_asks_when_that_breaks_something_off() {
    let mut quiet = model();
    assert_eq!(press(&mut quiet, "q"), [Command::Quit]);
    assert_eq!(model().press(Key::Interrupt), [Command::Quit]);
    // A stop goes on in the daemon.
    let mut stopping = model();
    press(&mut stopping, "s");
    assert_eq!(press(&mut stopping, "q"), [Command::Quit]);

    let mut starting = model();
    press(&mut starting, "js");
    assert_eq!(press(&mut starting, "q"), []);
    let Mode::Question(question) = &starting.mode else { panic!("{:?}", starting.mode) };
    assert_eq!(question.render(), "Still starting `db`. Leave, and break it off? [y/N]");
    assert_eq!(press(&mut starting, "nq"), []);
    assert_eq!(press(&mut starting, "y"), [Command::Quit]);
    press(&mut starting, "q");
    assert_eq!(starting.press(Key::Interrupt), [Command::Quit]);
    press(&mut starting, "q");
    assert_eq!(starting.press(Key::Escape), []);
    starting.take(Update::Done(DB.parse().unwrap(), Act::Start, Ok(())));
    assert_eq!(press(&mut starting, "q"), [Command::Quit]);
}

#[test]
fn interrupting_a_question_deletes_nothing() {
    let mut model = model();
    press(&mut model, "d");
    assert_eq!(model.press(Key::Interrupt), [Command::Quit]);
}

#[test]
fn a_shell_is_in_the_chosen_vm() {
    for key in [Key::Enter, Key::Char('e')] {
        let mut model = model();
        let commands = model.press(key);
        assert!(matches!(&commands[..], [Command::Shell(vm)] if vm.name.as_str() == "web"));
    }
}

#[test]
fn a_console_is_that_of_the_chosen_vm() {
    let mut model = model();
    let web: VmId = WEB.parse().unwrap();
    // Ports are of no interest meanwhile.
    assert_eq!(press(&mut model, "l"), [Command::Console(Some(web.clone())), Command::Ports(None)]);
    model.take(Update::Console(web.clone(), "one\ntwo\n".into()));
    // What was on its way from another one.
    model.take(Update::Console(DB.parse().unwrap(), "other\n".into()));
    let Mode::Console(console) = &model.mode else { panic!("{:?}", model.mode) };
    assert_eq!(console.shown(5).collect::<Vec<_>>(), ["one", "two"]);
    // Keys of the table mean nothing here.
    assert_eq!(press(&mut model, "sdp"), []);
    model.take(Update::ConsoleEnded(web.clone(), "the VM is down".into()));
    assert_eq!(press(&mut model, "q"), [Command::Console(None)]);
    assert!(matches!(model.mode, Mode::Table));
    assert_eq!(press(&mut model, "l").len(), 1);
    assert_eq!(model.press(Key::Escape)[0], Command::Console(None));
}

#[test]
fn ports_are_asked_of_the_chosen_vm_while_it_runs() {
    let mut model = model();
    let web: VmId = WEB.parse().unwrap();
    model.take(Update::Ports(web.clone(), Ok(vec![])));
    assert_eq!(model.ports(), Some(Ok(&[][..])));
    // One that does not run is not asked, and the answer of another is not its.
    assert_eq!(press(&mut model, "j"), [Command::Ports(None)]);
    model.take(Update::Ports(web.clone(), Ok(vec![])));
    assert_eq!(model.ports(), None);
    assert_eq!(press(&mut model, "k"), [Command::Ports(Some(web.clone()))]);
    // Whatever is paused, by whomever, is left alone.
    assert_eq!(model.take(state(WEB, "web", StateName::Paused)), [Command::Ports(None)]);
    assert_eq!(model.take(state(WEB, "web", StateName::Running)), [Command::Ports(Some(web))]);
}

#[test]
fn a_daemon_that_is_away_leaves_the_vms() {
    let mut model = model();
    let usage: StatsReport = serde_json::from_value(serde_json::json!({
        "at": "2026-08-05T12:00:00Z", "interval_ms": 1000, "vms": [{
            "id": WEB, "name": "web", "state": "running", "vcpu": 2, "memory": 1u64 << 31,
            "disk": {"used": 0, "total": 0}, "host": null, "guest": null,
        }],
    }))
    .unwrap();
    model.take(Update::Usage(usage));
    assert!(model.usage(&model.all()[0]).is_some());
    let away = model.take(Update::Away(vec!["the daemon went away".into(), "hint: x".into()]));
    assert_eq!(away, [Command::Ports(None)]);
    assert_eq!(model.link, Link::Away("the daemon went away; hint: x".into()));
    assert_eq!(model.all().len(), 2);
    // Numbers of then say nothing of now.
    assert!(model.usage(&model.all()[0]).is_none());
    model.take(Update::Vms(vec![vm(WEB, "web", StateName::Running)]));
    assert_eq!((&model.link, model.all().len()), (&Link::Up, 1));
}

#[test]
fn what_cannot_be_measured_says_why() {
    let mut model = model();
    model.take(Update::NoUsage(None));
    model.take(Update::NoUsage(Some(vec!["bad version: of the daemon".into()])));
    assert_eq!(journal(&model), ["bad version: of the daemon"]);
}

#[test]
fn a_filter_shows_names_with_a_text() {
    let mut model = model();
    press(&mut model, "/d");
    assert_eq!((name(&model), model.shown().count()), ("db", 1));
    // Keys of the table are letters here.
    press(&mut model, "q");
    assert_eq!((name(&model), model.shown().count()), ("-", 0));
    model.press(Key::Backspace);
    model.press(Key::Enter);
    assert!(matches!(model.mode, Mode::Table));
    assert_eq!((name(&model), model.filter.as_str()), ("db", "d"));
    model.press(Key::Escape);
    assert_eq!((model.shown().count(), model.filter.as_str()), (2, ""));
    press(&mut model, "/web");
    model.press(Key::Escape);
    assert_eq!(model.shown().count(), 2);
    press(&mut model, "/");
    assert_eq!(model.press(Key::Interrupt), [Command::Quit]);
}

#[test]
fn help_goes_with_any_key() {
    let mut model = model();
    press(&mut model, "?");
    assert!(matches!(model.mode, Mode::Help));
    assert_eq!(press(&mut model, "s"), []);
    assert!(matches!(model.mode, Mode::Table));
}
