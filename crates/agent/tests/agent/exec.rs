//! Commands: exit codes, bytes both ways, terminals, signals, hang-ups, floods.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use banger_proto::Code;
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ExecExit, ExecRequest, Service, TerminalSize};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use sha2::{Digest, Sha256};

use crate::host::{Stream, configured, run, sh, start, within};

fn code(code: u8) -> ExecExit {
    ExecExit { code: Some(code), signal: None }
}

fn argv(words: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    }
}

/// A process to be waited for.
pub(crate) fn watch(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// Waits for the end of all processes.
pub(crate) async fn ended(watched: impl IntoIterator<Item = OwnedFd> + Send + 'static) {
    let gone = tokio::task::spawn_blocking(move || {
        let mut watched = watched.into_iter();
        watched.try_for_each(|fd| {
            rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).map(drop)
        })
    });
    within(gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn exit_codes_and_output_arrive() {
    let context = configured().await;
    let done = run(&context, sh("echo out; echo err >&2; exit 7")).await;
    assert_eq!((done.text(), &done.stderr[..]), ("out\n", &b"err\n"[..]));
    assert_eq!(*done.exit(), code(7));
    assert_eq!(*run(&context, argv(&["true"])).await.exit(), code(0));
    let killed = run(&context, sh("kill -9 $$")).await;
    assert_eq!(*killed.exit(), ExecExit { code: None, signal: Some(9) });
}

#[tokio::test]
async fn what_cannot_be_started_looks_like_in_a_shell() {
    let context = configured().await;
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "not a program").unwrap();
    for (program, expected, says) in [
        ("no-such-command", 127, "command not found"),
        ("/no/such/file", 127, "no such file"),
        (plain.to_str().unwrap(), 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ] {
        let (started, stream) = start(&context, argv(&[program])).await;
        assert_eq!(started.pid, 0);
        let done = stream.finish().await;
        assert_eq!(*done.exit(), code(expected), "{program}");
        let message = String::from_utf8(done.stderr).unwrap();
        assert!(message.contains(program) && message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn environment_and_directory_are_layered() {
    let context = configured().await;
    let directory = tempfile::tempdir().unwrap();
    let cwd = directory.path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let env = BTreeMap::from([("BOTH".into(), "request".into()), ("OWN".into(), "é\n".into())]);
    let request = ExecRequest { env, cwd: Some(cwd.clone()), ..sh("pwd; env -0; umask") };
    let done = run(&context, request).await;
    let text = done.text();
    assert!(text.starts_with(&format!("{cwd}\n")), "{text}");
    for variable in ["FROM_GUEST=guest\0", "BOTH=request\0", "OWN=é\n\0", "PATH=/usr/local/sbin:"]
    {
        assert!(text.contains(variable), "{variable} in {text}");
    }
    assert!(!text.contains("CARGO"), "the agent's own environment leaks");
    assert!(text.ends_with("0022\n"));
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let context = configured().await;
    let wrong = [
        (ExecRequest { user: Some("no-such-user".into()), ..sh("true") }, Code::NotFound),
        (ExecRequest { cwd: Some("/no/such".into()), ..sh("true") }, Code::NotFound),
        (ExecRequest { cwd: Some("relative".into()), ..sh("true") }, Code::BadRequest),
        (argv(&["a\0b"]), Code::BadRequest),
    ];
    for (request, expected) in wrong {
        let mut stream = Stream::open(&context, &Service::Exec(Box::new(request))).await;
        let refused = stream.refused().await;
        assert_eq!(refused.code, expected);
        assert!(!refused.hints.is_empty() || expected == Code::BadRequest, "{refused:?}");
    }
    let request = ExecRequest { cwd: Some("/no/such".into()), ..sh("true") };
    let refused = Stream::open(&context, &Service::Exec(Box::new(request))).await.refused().await;
    assert_eq!(refused.message, "cannot enter the working directory `/no/such` in the guest");
}

#[tokio::test]
async fn a_user_is_become_with_all_that_belongs_to_it() {
    let context = configured().await;
    let script = "id -u; id -g; id -G; grep -c ^CapEff:.0000000000000000 /proc/self/status; \
                  echo >/dev/stdout; echo $HOME $USER $LOGNAME $SHELL";
    let request = ExecRequest { user: Some("4242:17".into()), ..sh(script) };
    if rustix::process::geteuid().is_root() {
        let done = run(&context, request).await;
        assert_eq!(done.text(), "4242\n17\n17\n1\n\n/ 4242 4242 /bin/sh\n");
    } else {
        // An agent without privilege never runs a command as somebody it was not asked for.
        let mut stream = Stream::open(&context, &Service::Exec(Box::new(request))).await;
        assert_eq!(stream.refused().await.causes, ["Operation not permitted (os error 1)"]);
    }
}

#[tokio::test]
async fn input_without_stdin_is_empty() {
    let context = configured().await;
    let done = run(&context, argv(&["cat"])).await;
    assert_eq!((done.text(), done.exit()), ("", &code(0)));
}

#[tokio::test]
async fn ten_megabytes_go_in_and_come_out() {
    let context = configured().await;
    let input: Vec<u8> = (0..10_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let request = ExecRequest { stdin: true, ..sh("tee /dev/stderr | sha256sum") };
    let done = start(&context, request).await.1.finish_with_input(&input).await;
    let hash: String = Sha256::digest(&input).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(done.text(), format!("{hash}  -\n"));
    assert!(done.stderr == input);
    assert_eq!(*done.exit(), code(0));
}

#[tokio::test]
async fn input_nobody_reads_does_not_hold_the_exit() {
    let context = configured().await;
    let request = ExecRequest { stdin: true, ..sh("exec <&-; echo closed; exit 3") };
    let (_, stream) = start(&context, request).await;
    assert_eq!(*stream.finish_with_input(&[0; 6_400_000]).await.exit(), code(3));
}

#[tokio::test]
async fn output_nobody_takes_stops_the_command() {
    let context = configured().await;
    // More than all buffers on the way together; the count shows where it was stopped.
    let (_, mut stream) = start(&context, sh("head -c 20000000 /dev/zero; echo done >&2")).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first.kind, Kind::Stdout);
    let done = stream.finish().await;
    assert_eq!(first.payload.len() + done.stdout.len(), 20_000_000);
    assert_eq!((&done.stderr[..], done.exit()), (&b"done\n"[..], &code(0)));
}

#[tokio::test]
async fn a_terminal_has_a_size_that_follows() {
    let context = configured().await;
    let script = "trap 'stty size; exit 5' WINCH; tty; stty size; echo $TERM; echo ready; \
                  while :; do read line; done";
    let terminal = Some(TerminalSize { rows: 24, cols: 80 });
    let (_, mut stream) = start(&context, ExecRequest { terminal, ..sh(script) }).await;
    let mut text = String::new();
    while !text.contains("ready") {
        text += str::from_utf8(&stream.next().await.unwrap().payload).unwrap();
    }
    assert!(text.starts_with("/dev/pts/") && text.contains("24 80\r\nxterm-256color"), "{text}");
    let size = TerminalSize { rows: 50, cols: 132 };
    stream.writer.send_json(Kind::Resize, &size).await.unwrap();
    let done = stream.finish().await;
    assert!(done.text().contains("50 132"), "{}", done.text());
    assert_eq!(*done.exit(), code(5));
}

#[tokio::test]
async fn a_terminal_interrupts_and_ends() {
    let context = configured().await;
    let terminal = Some(TerminalSize { rows: 24, cols: 80 });
    for (input, exit) in [(&b"\x03"[..], 130), (&b"\x04"[..], 0)] {
        let request = ExecRequest { terminal, stdin: true, ..sh("trap 'exit 130' INT; cat") };
        let (_, mut stream) = start(&context, request).await;
        stream.writer.send_bytes(Kind::Stdin, b"typed\n").await.unwrap();
        // Once by the terminal, once by cat: now cat runs, and a key is for it.
        let mut text = String::new();
        while text.matches("typed").count() < 2 {
            text += str::from_utf8(&stream.next().await.unwrap().payload).unwrap();
        }
        stream.writer.send_bytes(Kind::Stdin, input).await.unwrap();
        assert_eq!(*stream.finish().await.exit(), code(exit));
    }
}

#[tokio::test]
async fn no_command_means_a_login_shell() {
    let context = configured().await;
    let env = BTreeMap::from([("HOME".into(), "/".into())]);
    let request = ExecRequest { env, stdin: true, ..Default::default() };
    let (_, mut stream) = start(&context, request).await;
    stream.writer.send_bytes(Kind::Stdin, b"echo $0; exit 4\n").await.unwrap();
    let done = stream.finish().await;
    assert!(done.text().contains('-'), "{}", done.text());
    assert_eq!(*done.exit(), code(4));
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    let context = configured().await;
    // What the inner shell waits for is of the group, too.
    let script = "sh -c 'trap \"echo inner; exit\" TERM; tail -f /dev/null & echo ready; wait' & \
                  trap 'wait; echo outer; exit 9' TERM; wait";
    let (_, mut stream) = start(&context, sh(script)).await;
    assert_eq!(stream.next().await.unwrap().payload, b"ready\n");
    stream.writer.send_bytes(Kind::Signal, &[15]).await.unwrap();
    // Numbers that are no signals, and frames that are no signal, are passed over.
    stream.writer.send_bytes(Kind::Signal, &[200]).await.unwrap();
    stream.writer.send_bytes(Kind::Signal, &[]).await.unwrap();
    let done = stream.finish().await;
    assert_eq!((done.text(), done.exit()), ("inner\nouter\n", &code(9)));
}

#[tokio::test]
async fn a_background_process_does_not_hold_the_exit() {
    let context = configured().await;
    let done = run(&context, sh("sleep 300 & echo $!")).await;
    assert_eq!(*done.exit(), code(0));
    // It lives on, as in a shell.
    let pid = Pid::from_raw(done.text().trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_hang_up_ends_the_command_and_its_children() {
    let context = configured().await;
    // The child ignores the polite signal.
    let script = "(trap '' HUP; sleep 300) & echo $!; echo ready; wait";
    for terminal in [None, Some(TerminalSize { rows: 2, cols: 2 })] {
        let (started, mut stream) = start(&context, ExecRequest { terminal, ..sh(script) }).await;
        let mut text = String::new();
        while !text.contains("ready") {
            text += str::from_utf8(&stream.next().await.unwrap().payload).unwrap();
        }
        let child = text.split_whitespace().next().unwrap().parse().unwrap();
        let watched = [started.pid, child].map(watch);
        drop(stream);
        ended(watched).await;
    }
}

#[tokio::test]
async fn a_thousand_fast_exits_are_each_told_once() {
    let context = configured().await;
    for round in 0..1000_u32 {
        let expected = (round % 200) as u8;
        let done = run(&context, sh(&format!("exit {expected}"))).await;
        assert_eq!(*done.exit(), code(expected), "round {round}");
    }
}

#[tokio::test]
async fn many_at_once_do_not_mix() {
    let context = configured().await;
    let all_run = std::sync::Arc::new(tokio::sync::Barrier::new(100));
    let commands: Vec<_> = (0..100_u8)
        .map(|n| {
            let (context, all_run) = (context.clone(), all_run.clone());
            tokio::spawn(async move {
                let script = format!("echo {n}; read all_run; echo $all_run; exit {n}");
                let request = ExecRequest { stdin: true, ..sh(&script) };
                let (_, mut stream) = start(&context, request).await;
                assert_eq!(stream.next().await.unwrap().payload, format!("{n}\n").as_bytes());
                all_run.wait().await;
                let done = stream.finish_with_input(format!("go {n}\n").as_bytes()).await;
                assert_eq!((done.text(), done.exit()), (format!("go {n}\n").as_str(), &code(n)));
            })
        })
        .collect();
    for command in commands {
        within(command).await.unwrap();
    }
}

#[tokio::test]
async fn commands_of_a_directory_with_tools_go_through_mise() {
    let context = configured().await;
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("repo");
    std::fs::create_dir(&directory).unwrap();
    let request = |cwd: &std::path::Path| {
        let home = place.path().display().to_string();
        let path = format!("{home}:/usr/bin:/bin");
        ExecRequest {
            cwd: Some(cwd.to_str().unwrap().to_owned()),
            env: BTreeMap::from([("PATH".to_owned(), path), ("HOME".to_owned(), home)]),
            tools_of: Some(directory.to_str().unwrap().to_owned()),
            ..sh("echo \"$TOOL\"; exit 3")
        }
    };
    let ran = async |cwd: &std::path::Path| {
        let done = run(&context, request(cwd)).await;
        assert_eq!(*done.exit(), code(3));
        (done.text().to_owned(), String::from_utf8(done.stderr).unwrap())
    };
    let nothing = ("\n".to_owned(), String::new());
    assert_eq!(ran(&directory).await, nothing, "no tools are named");
    std::fs::write(directory.join("mise.toml"), "").unwrap();
    let (said, notice) = ran(&directory).await;
    assert_eq!(said, "\n");
    assert!(notice.contains("`mise.toml` names tools"), "{notice}");
    assert_eq!(ran(&directory).await, nothing, "it was said before");

    let mise = place.path().join("mise");
    std::fs::write(
        &mise,
        "#!/bin/sh\n[ \"$1 $2\" = 'exec --' ] && shift 2 && TOOL=yes exec \"$@\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&mise, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(ran(&directory).await.0, "yes\n");
    assert_eq!(ran(place.path()).await, nothing, "elsewhere other tools count");
    let own = ["mise", "exec", "--", "sh", "-c", "echo $TOOL"].map(str::to_owned).to_vec();
    let own = ExecRequest { argv: own, ..request(&directory) };
    // Not in PATH, where mise installs itself.
    let (local, path) = (place.path().join(".local/bin"), "/usr/bin:/bin".to_owned());
    std::fs::create_dir_all(&local).unwrap();
    std::fs::rename(&mise, local.join("mise")).unwrap();
    let own = ExecRequest {
        env: BTreeMap::from([("PATH".into(), path), ("HOME".into(), own.env["HOME"].clone())]),
        ..own
    };
    assert_eq!(run(&context, own).await.text(), "yes\n", "it is found, and not run through itself");
    std::fs::rename(local.join("mise"), &mise).unwrap();
    let shell = ExecRequest { argv: Vec::new(), stdin: false, ..request(&directory) };
    assert_eq!(*run(&context, shell).await.exit(), code(0));
}
