//! SSH into a real guest, with the host's OpenSSH and what is built on it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use banger_e2e::{Home, Ran};
use rustix::process::{Pid, Signal, kill_process};

/// The client's configuration; there once the client was started by banger.
fn config(home: &Home) -> PathBuf {
    home.path().join("config/banger/ssh_config")
}

fn known_hosts(home: &Home) -> PathBuf {
    home.state_dir().join("ssh/known_hosts")
}

/// A program that takes the options of ssh.
fn client(home: &Home, program: &str, words: &[&str]) -> Command {
    let mut command = home.command(program);
    command.arg("-F").arg(config(home)).args(words);
    command
}

fn run(home: &Home, program: &str, words: &[&str]) -> Ran {
    Ran::of(client(home, program, words), b"")
}

#[test]
fn everything_that_speaks_ssh_reaches_a_vm() {
    let home = Home::new();
    let vm = home.create("web", &["--env", "FROM_VM=1"]);
    home.banger(["vm", "ssh", &vm, "--", "exit 7"]).expect_code(7);
    let said = home.banger(["ssh", &vm, "--", "echo $FROM_VM $USER; pwd; cat /etc/hostname"]);
    assert_eq!(said.expect_code(0).stdout, "1 root\n/root\nweb\n");

    // No session waits for a service manager of its user.
    let words = ["vm", "ssh", &vm, "--", "cat /proc/self/cgroup; systemctl is-active user@0"];
    let said = home.banger(words).expect_code(3).stdout;
    assert_eq!(said, "0::/banger\ninactive\n");

    files_go_both_ways(&home);
    repositories_are_cloned(&home, &vm);
    ports_are_forwarded(&home);
    another_key_is_not_believed(&home);
    sessions_end_with_the_daemon(&home);

    let posture = home.exec(&vm, &["cat", "/etc/ssh/sshd_config.d/99-banger.conf"]);
    assert!(posture.expect_code(0).stdout.contains("PasswordAuthentication no"));
    home.banger(["vm", "restart", &vm]).expect_code(0);
    home.banger(["vm", "ssh", &vm, "--", "true"]).expect_code(0);
    home.banger(["vm", "stop", &vm]).expect_code(0);
    run(&home, "ssh", &["web.vm", "true"])
        .expect_code(255)
        .expect_stderr(&["VM `web` does not run", "banger vm start web"]);
    home.banger(["vm", "delete", &vm]).expect_code(0);
    assert_eq!(fs::read_to_string(known_hosts(&home)).expect("known hosts"), "");
    assert!(!home.path().join("home/.ssh").exists(), "the user's own files are untouched");
    home.expect_nothing_left();
}

fn files_go_both_ways(home: &Home) {
    let (sent, back) = (home.path().join("sent"), home.path().join("back"));
    let bytes: Vec<u8> =
        (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&sent, &bytes).expect("a file");
    let at = |path: &Path| path.display().to_string();
    let same = |what: &str| {
        assert!(fs::read(&back).expect("a copy") == bytes, "{what}: another file came back");
        fs::remove_file(&back).expect("removable");
    };
    run(home, "scp", &[&at(&sent), "web.vm:by scp"]).expect_code(0);
    run(home, "scp", &["web.vm:by scp", &at(&back)]).expect_code(0);
    same("scp");

    let batch = home.path().join("batch");
    let script = format!("put {} by-sftp\nget by-sftp {}\n", at(&sent), at(&back));
    fs::write(&batch, script).expect("a batch");
    run(home, "sftp", &["-b", &at(&batch), "web.vm"]).expect_code(0);
    same("sftp");

    let shell = format!("ssh -F {}", at(&config(home)));
    for (from, to) in
        [(at(&sent), "web.vm:by-rsync".to_owned()), ("web.vm:by-rsync".to_owned(), at(&back))]
    {
        let mut rsync = home.command("rsync");
        rsync.args(["-a", "-e", &shell, &from, &to]);
        Ran::of(rsync, b"").expect_code(0);
    }
    same("rsync");
}

fn repositories_are_cloned(home: &Home, vm: &str) {
    let script = "git init -q repo && cd repo && git config user.email a@b && git config user.name a \
                  && echo hi > file && git add file && git commit -qm one";
    home.exec(vm, &["sh", "-c", script]).expect_code(0);
    let mut git = home.command("git");
    git.env("GIT_SSH_COMMAND", format!("ssh -F {}", config(home).display()));
    git.args(["clone", "-q", "ssh://web.vm/root/repo", "cloned"]);
    Ran::of(git, b"").expect_code(0);
    assert_eq!(fs::read_to_string(home.path().join("cloned/file")).expect("a file"), "hi\n");
}

/// A free port of this host; somebody else may take it before it is used, as rarely as ever.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

fn ports_are_forwarded(home: &Home) {
    let port = free_port();
    let forward = format!("{port}:127.0.0.1:7777");
    // Listens in the guest, and says so; the client forwards from before it runs the command.
    let server = "import socket; s = socket.create_server(('127.0.0.1', 7777)); \
                  print('listening', flush=True); c, _ = s.accept(); \
                  c.sendall(c.recv(100)[::-1]); c.close()";
    let command = format!("python3 -c \"{server}\"");
    let words = ["-oExitOnForwardFailure=yes", "-L", &forward, "web.vm", &command];
    let mut ssh = client(home, "ssh", &words).stdout(Stdio::piped()).spawn().expect("ssh");
    let mut stdout = BufReader::new(ssh.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "listening\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port");
    stream.write_all(b"abc").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "cba");
    // The client goes on for as long as a forwarded connection is open.
    drop(stream);
    assert!(ssh.wait().expect("it ends").success());
}

fn another_key_is_not_believed(home: &Home) {
    let path = known_hosts(home);
    let right = fs::read_to_string(&path).expect("known hosts");
    let words: Vec<&str> = right.split(' ').collect();
    let made =
        home.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", "other"]).status();
    assert!(made.expect("ssh-keygen").success());
    let other = fs::read_to_string(home.path().join("other.pub")).expect("a key");
    let other: Vec<&str> = other.split(' ').collect();
    fs::write(&path, right.replace(words[2], other[1])).expect("written");
    run(home, "ssh", &["web.vm", "true"])
        .expect_code(255)
        .expect_stderr(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "man-in-the-middle"]);
    fs::write(&path, right).expect("written");
}

fn sessions_end_with_the_daemon(home: &Home) {
    let words = ["web.vm", "echo here; cat"];
    let mut ssh = client(home, "ssh", &words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ssh");
    let mut line = String::new();
    BufReader::new(ssh.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "here\n");
    let daemon = Pid::from_raw(home.daemon_pid()).expect("a process");
    kill_process(daemon, Signal::KILL).expect("it runs");
    assert_eq!(ssh.wait().expect("it ends").code(), Some(255));
    // The next connection starts a daemon, and the VM has been running on.
    run(home, "ssh", &["web.vm", "true"]).expect_code(0);
}
