//! Copies: what is asked of the daemon, where things end up, and what a guest cannot do.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::process::{Child, Stdio};
use std::time::Instant;

use banger_proto::api::StateName;
use insta::assert_snapshot;

use crate::fake::{DEADLINE, Fake};
use crate::host::Host;

fn with_web(host: &Host) -> Fake {
    Fake::start(host).with("aabbccddeeff", "web", StateName::Running)
}

/// What is in a directory; no part of a file is among it.
fn names(host: &Host, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(host.path(directory)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.iter().any(|name| name.contains("partial")), "{names:?}");
    names
}

#[test]
fn a_tree_goes_in() {
    let host = Host::new();
    let fake = with_web(&host);
    std::fs::create_dir(host.path("home/site")).unwrap();
    std::fs::set_permissions(host.path("home/site"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::write(host.path("home/site/page"), "page").unwrap();
    std::fs::set_permissions(host.path("home/site/page"), PermissionsExt::from_mode(0o640))
        .unwrap();
    std::fs::write(host.path("home/a:b"), "").unwrap();
    std::fs::set_permissions(host.path("home/a:b"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_snapshot!(host.run(&["vm", "cp", "site", "web:/srv"]), @"-- exit 0");
    assert_snapshot!(host.run(&["vm", "cp", "site/.", "web:x y"]), @"-- exit 0");
    // How often it says how far it is depends on who is faster.
    let said = host.run(&["vm", "cp", "--progress", "plain", "./a:b", "web:"]);
    assert!(said.starts_with("-- stderr\ncopying to web\n"), "{said}");
    assert!(said.ends_with("\ncopied 1 entry, 0 B\n-- exit 0"), "{said}");
    assert_snapshot!(fake.log().join("\n"), @"
    copy in path=%2Fsrv
      site 750 0
      site/page 640 4
    copy in path=x+y
      ./ 750 0
      page 640 4
    copy in path=
      a:b 600 0
    ");
}

#[test]
fn a_tree_comes_out() {
    let host = Host::new();
    let fake = with_web(&host);
    assert_snapshot!(host.run(&["vm", "cp", "web:/site", "."]), @"
    -- stderr
    note: `site/pipe`: it is a pipe, which is not copied
    -- exit 0
    ");
    assert_snapshot!(host.run(&["vm", "cp", "--progress=plain", "web:/site", "new"]), @"
    -- stderr
    copying from web
    copying from web: received 2.5 KiB
    note: `site/pipe`: it is a pipe, which is not copied
    copied 2 entries, 4 B
    -- exit 0
    ");
    assert_eq!(names(&host, "home"), ["new", "site"]);
    let page = host.path("home/site/page").metadata().unwrap();
    // The guest says 6755: nothing of it runs as anybody else here.
    assert_eq!((page.mode() & 0o7777, page.mtime()), (0o755, 1_000_000_000));
    assert_eq!(std::fs::read_to_string(host.path("home/new/page")).unwrap(), "page");
    assert_eq!(fake.log(), ["copy out path=%2Fsite", "copy out path=%2Fsite"]);
}

#[test]
fn what_is_wrong_is_said_with_the_way_out() {
    let host = Host::new();
    let fake = with_web(&host);
    assert_snapshot!(host.run(&["vm", "cp", "a", "b"]), @"
    -- stderr
    banger: neither side is a VM
      hint: one side is VM:PATH: banger vm cp a web:
    -- exit 2
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:a", "web:b"]), @"
    -- stderr
    banger: both sides are VMs
      hint: copy to this host first, then to the other VM
    -- exit 2
    ");
    assert_snapshot!(host.run(&["vm", "cp", "-", "web:b"]), @"
    -- stderr
    banger: a copy is neither from standard input nor to standard output
      hint: a stream of one file: banger vm exec web -- cat FILE
      hint: a file of that name: ./-
    -- exit 2
    ");
    assert_snapshot!(host.run(&["vm", "cp", "A B:c", "."]), @"
    -- stderr
    banger: no VM can be called what `A B:c` begins with
      hint: a file of this host: ./A B:c
    -- exit 2
    ");
    assert_snapshot!(host.run(&["vm", "cp", "missing", "web:/x"]), @"
    -- stderr
    banger: cannot read `missing`
      caused by: No such file or directory (os error 2)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/site", "missing/x"]), @"
    -- stderr
    banger: cannot copy to `missing/x`
      caused by: No such file or directory (os error 2)
      hint: the directory that it goes into has to be there
    -- exit 1
    ");
    std::fs::create_dir(host.path("home/real")).unwrap();
    symlink("real", host.path("home/link")).unwrap();
    assert_snapshot!(host.run(&["vm", "cp", "web:/site", "link"]), @"
    -- stderr
    banger: cannot copy to `link`
      caused by: it is a link; with a slash at its end, the directory is meant
    -- exit 1
    ");
    assert_eq!(fake.log(), Vec::<String>::new(), "nothing was asked for yet");

    std::fs::write(host.path("home/big"), vec![7; 20_000_000]).unwrap();
    assert_snapshot!(host.run(&["vm", "cp", "web:/missing", "."]), @"
    -- stderr
    banger: not found: cannot read `/missing` in the guest
      caused by: No such file or directory
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "big", "web:/missing/x"]), @"
    -- stderr
    banger: not found: cannot copy to `/missing/x` in the guest
      caused by: No such file or directory
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "big", "web:/full"]), @"
    -- stderr
    banger: no space left in the guest
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "big", "wbe:/full"]), @"
    -- stderr
    banger: not found: no VM `wbe`
      caused by: the list is all there is
      hint: `banger ls` shows all VMs
      (op 0000000000aa)
    -- exit 1
    ");
    assert_eq!(names(&host, "home"), ["big", "link", "real"]);
}

#[test]
fn a_copy_that_is_not_whole_is_a_failure() {
    let host = Host::new();
    let _fake = with_web(&host);
    assert_snapshot!(host.run(&["vm", "cp", "web:/cut", "."]), @"
    -- stderr
    banger: the copy was cut: the daemon did not say that it is whole
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/unsaid", "."]), @"
    -- stderr
    banger: the copy was cut: the daemon did not say that it is whole
      (op 0000000000aa)
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/short", "."]), @"
    -- stderr
    banger: cannot copy to `.`
      caused by: cannot unpack `site/page`
      caused by: the archive ends before the file does
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/failed", "."]), @"
    -- stderr
    banger: no space left in the guest
      (op 0000000000aa)
    -- exit 1
    ");
    assert_eq!(names(&host, "home"), ["cut", "failed", "short", "unsaid"]);
    for cut in ["cut", "failed", "short"] {
        assert_eq!(names(&host, &format!("home/{cut}")), Vec::<String>::new());
    }
}

#[test]
fn a_guest_writes_nowhere_else() {
    let host = Host::new();
    let _fake = with_web(&host);
    std::fs::write(host.path("home/victim"), "untouched").unwrap();
    assert_snapshot!(host.run(&["vm", "cp", "web:/climbs", "."]), @"
    -- stderr
    banger: cannot copy to `.`
      caused by: cannot unpack `site/../../victim`
      caused by: its name leads out of the tree
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/absolute", "."]), @"
    -- stderr
    banger: cannot copy to `.`
      caused by: cannot unpack `/tmp/victim`
      caused by: its name leads out of the tree
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/link", "."]), @"
    -- stderr
    banger: cannot copy to `.`
      caused by: cannot unpack `site/out/victim`
      caused by: what would have to be a directory is a link or a file
    -- exit 1
    ");
    assert_snapshot!(host.run(&["vm", "cp", "web:/device", "."]), @"
    -- stderr
    banger: cannot copy to `.`
      caused by: cannot unpack `site/null`
      caused by: it is neither a file, a directory nor a link
    -- exit 1
    ");
    // A second time, with the link that the first one left.
    assert!(host.run(&["vm", "cp", "web:/link", "."]).ends_with("exit 1"));
    // What a guest calls it has no weight.
    assert!(host.run(&["vm", "cp", "web:/renamed", "."]).ends_with("exit 0"));
    assert_eq!(names(&host, "home"), ["climbs", "device", "link", "renamed", "victim"]);
    assert_eq!(std::fs::read_to_string(host.path("home/victim")).unwrap(), "untouched");
    assert_eq!(names(&host, "."), ["home", "run"]);
}

/// Starts a copy, and waits until `logged`, then presses Ctrl-C.
fn interrupted(host: &Host, fake: &Fake, args: &[&str], logged: &str) -> String {
    let mut command = host.banger(args);
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fake.wait_for(logged);
    if let Some(path) = args.last().filter(|path| !path.contains(':')) {
        // It has begun here, too.
        let deadline = Instant::now() + DEADLINE;
        while !host.path("home").join(path).join("").exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before");
            assert!(Instant::now() < deadline, "it does not begin");
        }
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    format!("{said}-- exit {:?}", child.wait().unwrap().code())
}

#[test]
fn ctrl_c_leaves_no_part_of_a_file() {
    let host = Host::new();
    let fake = with_web(&host);
    let said =
        interrupted(&host, &fake, &["vm", "cp", "web:/slow", "new"], "copy out path=%2Fslow");
    assert_snapshot!(said, @"
    banger: interrupted; files that were copied whole stay
    -- exit Some(130)
    ");
    assert_eq!(names(&host, "home/new"), Vec::<String>::new());

    // More than a daemon takes that reads slowly; and it is told.
    let big = std::fs::File::create(host.path("home/big")).unwrap();
    big.set_len(1 << 36).unwrap();
    let said = interrupted(&host, &fake, &["vm", "cp", "big", "web:/slow"], "copying in");
    assert_snapshot!(said, @"
    banger: interrupted; files that were copied whole stay
    -- exit Some(130)
    ");
    fake.wait_for("copy in closed");
}
