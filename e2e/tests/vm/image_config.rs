//! What an image says about running it, in real guests made of images by hand.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use banger_e2e::{Home, OciImage, Ran};
use serde_json::{Value, json};

/// Takes the image into `home`, under a name of this process; goes when dropped.
struct Image<'a> {
    home: &'a Home,
    name: String,
}

impl<'a> Image<'a> {
    fn import(home: &'a Home, name: &str, image: OciImage) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let archive = home.path().join(format!("{name}.tar"));
        image.write(&archive);
        let archive = archive.to_str().expect("path");
        home.banger(["image", "import", "--name", &name, archive]).expect_code(0);
        Self { home, name }
    }

    /// `vm run` of it with `flags`, and `--` and `command` if there is one.
    fn run(&self, flags: &[&str], command: &[&str]) -> Ran {
        let mut args = [&["vm", "run", "--image", &self.name], flags].concat();
        if !command.is_empty() {
            args.extend([&["--"], command].concat());
        }
        self.home.banger(args)
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // A failed test says why; its image is of no use to anybody.
        let _ = self.home.banger(["image", "delete", &self.name]);
    }
}

/// A busybox with a shell, a few commands and an ordinary user.
fn small(config: Value) -> OciImage {
    let applets = ["cat", "echo", "id", "kill", "ls", "poweroff", "reboot", "sh", "stat", "tail"];
    let image = OciImage::new(config)
        .busybox("bin/busybox")
        .file(
            "etc/passwd",
            0o644,
            b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\nweb:x:33:app\n");
    applets.iter().fold(image, |image, name| image.link(&format!("bin/{name}"), "busybox"))
}

/// A script that ends with code 4 on `SIGQUIT`, after saying so.
const SERVICE: &str = "trap 'kill $!; echo got QUIT; exit 4' QUIT; \
                       echo serving in $PWD as $(id -un) with $1; echo to stdout >/dev/stdout; \
                       tail -f /dev/null & wait";

/// Waits until the VM's console has shown `text` on `times` lines.
fn await_line(home: &Home, vm: &str, text: &str, times: usize) {
    let mut logs = home.spawn_banger(["vm", "logs", "-f", vm]);
    let lines = BufReader::new(logs.stdout.take().expect("piped")).lines();
    let found = lines.map(|line| line.expect("text")).filter(|line| line.contains(text));
    assert_eq!(found.take(times).count(), times, "the console ended without `{text}`");
    logs.kill().and_then(|()| logs.wait()).expect("logs ends");
}

fn disk_is_clean(home: &Home, vm: &str) {
    let shown = home.show(vm);
    let id = shown["id"].as_str().expect("id");
    let disk = home.state_dir().join("vms").join(id).join("writable.ext4");
    let checked = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(&disk).output().expect("e2fsck");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && !said.contains("recover"), "{said}");
}

#[test]
fn environment_directory_and_user_are_the_images() {
    let home = Home::new();
    let config = json!({
        "Env": ["GREETING=hello", "PATH=/opt/bin:/bin"],
        "WorkingDir": "/srv/made/for/it",
        "User": "app",
        "Cmd": ["/bin/echo", "the images own"],
    });
    let image = Image::import(&home, "config", small(config));
    // A command is run as it is; a shell is what no command means.
    let script = "echo $GREETING $PATH; echo $PWD $HOME $USER $LOGNAME $SHELL; id\n";
    let expected = "hello /opt/bin:/bin\n\
                    /srv/made/for/it /home/app app app /bin/sh\n\
                    uid=1000(app) gid=1000(app) groups=33(web),1000(app)\n";
    let vm = home.create("plain", &["--image", &image.name, "--env", "FROM_VM=1"]);
    assert_eq!(home.exec(&vm, &["sh", "-c", script]).expect_code(0).stdout, expected);
    let shell = home.banger_with_input(["vm", "exec", &vm], script.as_bytes()).expect_code(0);
    assert_eq!(shell.stdout, expected);

    let exec = |flags: &[&str], script: &str| {
        let args = [&["vm", "exec"], flags, &[&vm, "--", "sh", "-c", script]].concat();
        home.banger(args).expect_code(0).stdout
    };
    assert_eq!(exec(&["--env", "GREETING=hi"], "echo $GREETING $FROM_VM"), "hi 1\n");
    assert_eq!(exec(&["--workdir", "/"], "pwd"), "/\n");
    assert_eq!(exec(&["--user", "root"], "id -u; echo $HOME"), "0\n/root\n");
    assert_eq!(exec(&["--user", "4242:17"], "id -u; id -G; echo $HOME"), "4242\n17\n/\n");
    assert_eq!(exec(&["--user", "app:web"], "id -un; id -Gn"), "app\nweb\n");

    // Processes whose parents have gone are process 1's, and there is no systemd.
    let orphans = "for n in $(busybox seq 300); do (:&); done; \
                   busybox timeout 60 sh -c \
                   'while busybox grep -qs State:.Z /proc/[0-9]*/status; do :; done' && echo none";
    assert_eq!(exec(&["--user", "root"], orphans), "none\n");

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn the_images_program_as_the_command() {
    let home = Home::new();
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c", "echo $PWD $(id -u) $*; exit 7", "entry"],
        "Cmd": ["default"],
        "User": "1000",
    });
    let image = Image::import(&home, "attached", small(config));
    let ran = image.run(&["--rm", "--entrypoint"], &[]).expect_code(7);
    assert_eq!(ran.stdout, "/ 1000 default\n");
    let ran = image.run(&["--rm", "--entrypoint", "--user", "0"], &["-a", "b"]).expect_code(7);
    assert_eq!(ran.stdout, "/ 0 -a b\n");
    home.expect_nothing_left();
}

#[test]
fn the_images_program_as_a_service() {
    let home = Home::new();
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c", SERVICE, "entry"],
        "Cmd": ["default"],
        "User": "app",
        "WorkingDir": "/srv",
        "StopSignal": "SIGQUIT",
    });
    let image = Image::import(&home, "service", small(config));
    let ran = image.run(&["-d", "--entrypoint", "--name", "web"], &["arguments"]).expect_code(0);
    assert_eq!(ran.stdout, "web\n");
    await_line(&home, "web", "to stdout", 1);
    assert_eq!(home.show("web")["guest"]["service"]["state"], "running");
    home.banger(["vm", "stop", "web"]).expect_code(0);
    let served = ["serving in /srv as app with arguments", "to stdout", "got QUIT"];
    let end = "the image's program exited with code 4";
    let logged = |times: usize| {
        let log = home.banger(["vm", "logs", "web"]).expect_code(0).stdout;
        for line in served.into_iter().chain([end]) {
            assert_eq!(log.matches(line).count(), times, "{line} in {log}");
        }
    };
    logged(1);
    assert_eq!(home.show("web")["ended"], "powered_off");
    disk_is_clean(&home, "web");

    // It is there at every boot, and ends in its own way whoever ends the guest.
    for (times, command) in [(2, "poweroff"), (3, "reboot")] {
        home.banger(["vm", "start", "web"]).expect_code(0);
        await_line(&home, "web", "to stdout", times);
        let mut logs = home.spawn_banger(["vm", "logs", "-f", "web"]);
        // The shell may be gone before it can say how it ended.
        let _ = home.banger(["vm", "exec", "--user", "root", "web", "--", command]);
        // Following ends with the VM.
        assert!(logs.wait().expect("logs").success());
        logged(times);
        assert_eq!(home.show("web")["ended"], "powered_off");
        disk_is_clean(&home, "web");
    }
    home.banger(["vm", "delete", "-f", "web"]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn a_service_that_ends_is_shown() {
    let home = Home::new();
    let config = json!({ "Cmd": ["/bin/sh", "-c", "cat /proc/self/status >/tmp/s; exit 3"] });
    let image = Image::import(&home, "ended", small(config));
    let vm = home.create("brief", &["--image", &image.name, "--entrypoint"]);
    await_line(&home, &vm, "the image's program exited with code 3", 1);
    // The daemon hears of it a moment later.
    let deadline = Instant::now() + Duration::from_secs(60);
    let service = loop {
        let service = home.show(&vm)["guest"]["service"].clone();
        if service["state"] != "running" || Instant::now() > deadline {
            break service;
        }
    };
    assert_eq!((&service["state"], &service["code"]), (&json!("exited"), &json!(3)));
    // The guest lives on.
    home.exec(&vm, &["cat", "/tmp/s"]).expect_code(0);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn an_image_of_one_program_and_nothing_else() {
    let home = Home::new();
    let config = json!({ "Entrypoint": ["/program"], "WorkingDir": "/data" });
    // Called by another name, busybox does what its first argument says.
    let scratch = OciImage::new(config).busybox("busybox").link("program", "busybox");
    let image = Image::import(&home, "scratch", scratch);

    let refused = image.run(&["--name", "bare"], &[]).expect_code(1);
    let _ = refused.expect_stderr(&["has no shell", "-- COMMAND", "--entrypoint", &image.name]);
    let script = "stat -c '%a %n' /tmp /var/tmp /root /proc /sys /dev/pts /dev/shm /run /etc; \
                  cat /etc/hostname; grep -c ^nameserver /etc/resolv.conf; grep -c bare /etc/hosts; \
                  echo $PWD $HOME $USER; id -u; ls /proc/self/fd >/dev/null && echo to >/dev/stdout";
    let ran = home.exec("bare", &["/busybox", "sh", "-c", script]).expect_code(0);
    let expected = "1777 /tmp\n1777 /var/tmp\n700 /root\n555 /proc\n555 /sys\n755 /dev/pts\n\
                    1777 /dev/shm\n755 /run\n755 /etc\nbare\n1\n1\n/data /root root\n0\nto\n";
    assert_eq!(ran.stdout, expected);
    home.banger(["vm", "stop", "bare"]).expect_code(0);
    assert_eq!(home.show("bare")["ended"], "powered_off");
    disk_is_clean(&home, "bare");
    home.banger(["vm", "delete", "bare"]).expect_code(0);

    // `program` is no applet: it says so itself, which shows that it ran.
    let ran = image.run(&["--rm", "--entrypoint"], &[]).expect_code(127);
    assert!(ran.stderr.contains("program: applet not found"), "{}", ran.stderr);
    home.expect_nothing_left();
}

#[test]
fn an_image_without_a_program_is_refused_before_it_boots() {
    let home = Home::new();
    let image = Image::import(&home, "silent", small(json!({})));
    for (flags, code) in [(["--rm", "--entrypoint"], 125), (["-d", "--entrypoint"], 1)] {
        let refused = image.run(&flags, &[]).expect_code(code);
        let _ = refused.expect_stderr(&[&image.name, "neither an entrypoint", "-- COMMAND"]);
        assert!(home.list().is_empty());
    }
    home.expect_nothing_left();
}
