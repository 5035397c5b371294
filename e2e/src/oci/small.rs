//! Images that are small, or that somebody else's tool makes.

use std::fs;
use std::path::Path;

use super::layer::{Layer, mode};
use super::sample::Recipe;
use super::tools::run;

/// A statically linked busybox on the host.
const BUSYBOX: &str = "/bin/busybox";

/// What the distroless image runs: says how it runs, so that a test can tell.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char directory[4096];
    const char *greeting = getenv("GREETING");
    printf("%s from %d:%d in %s", greeting ? greeting : "nothing", getuid(), getgid(),
           getcwd(directory, sizeof directory));
    for (int at = 1; at < argc; at++)
        printf(" %s", argv[at]);
    puts("");
    return argc > 1 ? atoi(argv[1]) : 0;
}
"#;

/// Programs, a shell and users; no init.
pub(super) fn busybox(work: &Path) -> Recipe {
    let mut base = Layer::lowest(work, "base");
    for dir in ["bin", "dev", "etc", "home", "lib", "proc", "root", "run", "sys", "usr", "var"] {
        base.directory(dir, &mode(0o755));
    }
    base.directory("tmp", &mode(0o1777));
    let applets = [
        "sh", "cat", "echo", "env", "httpd", "id", "ls", "pwd", "sleep", "tr", "true", "uname",
        "wc", "wget",
    ];
    add_busybox(&mut base, &applets);
    base.file(
        "etc/passwd",
        &mode(0o644),
        b"root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada:/home/ada:/bin/sh\n",
    );
    base.file("etc/group", &mode(0o644), b"root:x:0:\nada:x:1000:\n");
    base.file("etc/hostname", &mode(0o644), b"a-name-of-the-image\n");

    let mut app = Layer::create(work, "app");
    app.directory("home/ada", &mode(0o700).owner(1000, 1000));
    app.directory("srv", &mode(0o755));
    app.directory("srv/app", &mode(0o755).owner(1000, 1000));
    app.file("srv/app/greeting", &mode(0o644).owner(1000, 1000), b"hello\n");
    let config = [
        ("env", "PATH=/bin"),
        ("env", "GREETING=hello world"),
        ("workingdir", "/srv/app"),
        ("user", "ada"),
        ("cmd", "/bin/sh"),
    ];
    Recipe::new(vec![base.finish(), app.finish()], &config)
}

/// Adds busybox as `/bin/busybox`, and links to it.
pub(super) fn add_busybox(layer: &mut Layer, applets: &[&str]) {
    let program = fs::read(BUSYBOX).expect("busybox-static is installed");
    layer.file("bin/busybox", &mode(0o755), &program);
    for applet in applets {
        layer.symlink(format!("bin/{applet}"), &mode(0o777), "busybox");
    }
}

/// One static program and nothing else.
pub(super) fn distroless(work: &Path) -> Recipe {
    let (source, program) = (work.join("hello.c"), work.join("hello"));
    fs::write(&source, PROGRAM).expect("source");
    run("cc", &["-static", "-Os", "-s", "-o"], [program.as_ref(), source.as_ref()]);
    let mut layer = Layer::lowest(work, "layer");
    layer.directory("app", &mode(0o755));
    layer.file("app/hello", &mode(0o755), &fs::read(&program).expect("program"));
    let config = [
        ("entrypoint", "/app/hello"),
        ("cmd", "7"),
        ("env", "GREETING=hello"),
        ("workingdir", "/app"),
        ("user", "65532:65532"),
    ];
    Recipe::new(vec![layer.finish()], &config)
}

/// Debian's smallest set of packages.
pub(super) fn debian(work: &Path) -> Recipe {
    let tar = work.join("debian.tar");
    run("mmdebstrap", &["--variant=minbase", "--quiet", "bookworm"], [tar.as_ref()]);
    Recipe::new(vec![tar], &[("cmd", "bash")])
}
