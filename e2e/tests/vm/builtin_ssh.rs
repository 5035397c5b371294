//! SSH into a guest whose image has no server: the agent's own, with the host's OpenSSH.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use banger_e2e::{Home, OciImage, Ran};
use serde_json::json;

fn client(home: &Home, program: &str, words: &[&str]) -> Command {
    let mut command = home.command(program);
    command.arg("-F").arg(home.path().join("config/banger/ssh_config")).args(words);
    command
}

fn run(home: &Home, program: &str, words: &[&str]) -> Ran {
    Ran::of(client(home, program, words), b"")
}

/// Brings in an image that is a busybox and nothing else, under a name of this process.
fn import(home: &Home) -> String {
    let applets = ["cat", "echo", "httpd", "ls", "md5sum", "sh", "stat", "tty", "zcat"];
    let image = OciImage::new(json!({ "Env": ["FROM_IMAGE=1"] })).busybox("bin/busybox");
    let image =
        applets.iter().fold(image, |image, name| image.link(&format!("bin/{name}"), "busybox"));
    let archive = home.path().join("image.tar");
    image.write(&archive);
    let archive = archive.display().to_string();
    let name = format!("bare-{}", std::process::id());
    home.banger(["image", "import", "--name", &name, &archive]).expect_code(0);
    name
}

#[test]
fn images_without_a_server_are_reached_all_the_same() {
    let home = Home::new();
    let image = import(&home);
    let vm = home.create("bare", &["--image", &image]);
    home.banger(["vm", "ssh", &vm, "--", "exit 7"]).expect_code(7);
    let said = run(&home, "ssh", &["bare.vm", "echo $FROM_IMAGE $USER; cat /etc/hostname"]);
    assert_eq!(said.expect_code(0).stdout, "1 root\nbare\n");
    let said = run(&home, "ssh", &["-tt", "bare.vm", "tty"]).expect_code(0).stdout;
    assert!(said.starts_with("/dev/pts/"), "{said}");

    trees_go_both_ways(&home);
    ports_are_forwarded(&home);

    home.banger(["vm", "delete", &vm]).expect_code(0);
    home.banger(["image", "delete", &image]).expect_code(0);
    home.expect_nothing_left();
}

fn trees_go_both_ways(home: &Home) {
    let sent = home.path().join("sent");
    fs::create_dir_all(sent.join("a directory")).expect("directories");
    let bytes: Vec<u8> =
        (0..8_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(sent.join("a directory/large"), &bytes).expect("a file");
    let at = |name: &str| home.path().join(name).display().to_string();
    run(home, "scp", &["-r", "-p", &at("sent"), "bare.vm:there"]).expect_code(0);
    run(home, "scp", &["-r", "-p", "bare.vm:there", &at("back")]).expect_code(0);
    let back = home.path().join("back/a directory/large");
    assert!(fs::read(&back).expect("a copy") == bytes, "another file came back");
    let changed = |path| fs::metadata(path).and_then(|file| file.modified()).expect("a time");
    let seconds = |path| {
        let since = changed(path).duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        since.as_secs()
    };
    assert_eq!(seconds(back), seconds(sent.join("a directory/large")));

    let script = "cd there\nrename \"a directory\" d\nchmod 600 d/large\nls -l d\n";
    fs::write(home.path().join("batch"), script).expect("a batch");
    let said = run(home, "sftp", &["-b", &at("batch"), "bare.vm"]).expect_code(0).stdout;
    assert!(said.contains("-rw-------"), "{said}");
}

fn ports_are_forwarded(home: &Home) {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let forward = format!("{port}:localhost:7777");
    let serve = "echo served >/root/page; httpd -p 127.0.0.1:7777 -h /root; echo up; cat";
    let words = ["-oExitOnForwardFailure=yes", "-L", &forward, "bare.vm", serve];
    let mut command = client(home, "ssh", &words);
    let mut ssh = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh");
    let mut line = String::new();
    BufReader::new(ssh.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "up\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port");
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("served\n"), "{answer}");
    // The client stays for as long as a forwarded connection is open on its side.
    drop((stream, ssh.stdin.take()));
    assert!(ssh.wait().expect("it ends").success());
}
