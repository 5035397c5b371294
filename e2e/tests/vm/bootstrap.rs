//! Tools that a repository names, installed over the guest's network by a mise that the user brings.

use std::fs;

use banger_e2e::{Home, Repository, WebServer};

/// What it is asked for it fetches from the port in place of `PORT`; to run a command it just runs it.
const MISE: &str = r#"#!/bin/bash
case "$*" in
install)
    echo "in $PWD, $MISE_YES, $MISE_TRUSTED_CONFIG_PATHS"
    exec 3<>/dev/tcp/host.vm/PORT || exit 7
    printf 'GET /tool HTTP/1.0\r\n\r\n' >&3
    sed '1,/^\r$/d' <&3 >/tmp/tool
    test -s /tmp/tool || { echo 'no such tool' >&2; exit 9; }
    install /tmp/tool /usr/local/bin/tool ;;
'exec -- '*)
    shift 2; exec "$@" ;;
*)
    echo "asked for $*" >&2; exit 64 ;;
esac
"#;

#[test]
fn mise_installs_what_the_repository_names() {
    let home = Home::new();
    let repository = Repository::create(&home.path().join("repo"));
    repository.write("mise.toml", "[tools]\n");
    repository.git(&["add", "--all"]);
    repository.git(&["commit", "--quiet", "-m", "tools"]);
    let shelf = home.path().join("shelf");
    fs::create_dir(&shelf).expect("directory");
    fs::write(shelf.join("tool"), "#!/bin/sh\necho from the shelf\n").expect("tool");
    let url = WebServer::start(&shelf).url("");
    let port = url.trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    let mise = home.path().join("home/mise");
    fs::write(&mise, MISE.replace("PORT", &port)).expect("mise");
    home.configure(
        "[vm_defaults]\nnat = true\n\
         [[file_sync]]\nhost = \"~/mise\"\nguest = \"~/.local/bin/mise\"\nmode = \"0755\"\n",
    );
    let run = |args: &[&str]| {
        let words = ["vm", "run", "--host-port", &port].into_iter();
        home.banger(words.chain(args.iter().copied()).chain([repository.arg()]))
    };

    // In the background it is there when the command returns, and what was said is kept.
    let made = run(&["-d", "--name", "web"]).expect_code(0);
    assert_eq!(made.stdout, "web\n");
    assert!(made.stderr.contains("in /root/repo, 1, /root/repo\n"), "{}", made.stderr);
    assert_eq!(home.exec("web", &["tool"]).expect_code(0).stdout, "from the shelf\n");
    let jobs = home.banger(["vm", "jobs", "--json", "web"]).expect_code(0).json();
    let job = jobs["jobs"][0]["id"].as_str().expect("a job");
    let log = home.banger(["vm", "job", "logs", "web", job]).expect_code(0);
    assert_eq!(log.stdout, "in /root/repo, 1, /root/repo\n");

    // A shell does not wait for it.
    let shell = run(&["--name", "shell"]).expect_code(0);
    let hint =
        shell.stderr.lines().find_map(|line| line.split_once("banger vm job logs -f shell "));
    let (_, job) = hint.unwrap_or_else(|| panic!("no hint: {}", shell.stderr));
    home.banger(["vm", "job", "logs", "-f", "shell", job]).expect_code(0);
    assert_eq!(home.exec("shell", &["tool"]).expect_code(0).stdout, "from the shelf\n");

    // One that fails leaves its VM.
    fs::remove_file(shelf.join("tool")).expect("removed");
    let failed = run(&["-d", "--name", "worse"]).expect_code(1);
    assert_eq!(failed.stdout, "worse\n");
    assert!(failed.stderr.contains("no such tool\n"), "{}", failed.stderr);
    assert!(failed.stderr.contains("exit code 9"), "{}", failed.stderr);
    home.exec("worse", &["true"]).expect_code(0);
    home.banger(["rm", "web", "shell", "worse"]).expect_code(0);
    home.expect_nothing_left();
}
