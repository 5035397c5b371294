//! The default image as somebody finds it who works in it.

use std::time::{SystemTime, UNIX_EPOCH};

use banger_e2e::{Home, Ran};

/// Terminals that people sit at.
const TERMINALS: [&str; 12] = [
    "alacritty",
    "foot",
    "linux",
    "rxvt-unicode-256color",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt220",
    "xterm",
    "xterm-256color",
    "xterm-kitty",
];

/// What Linux calls an error on a machine that has no PCI, and means to have none.
const NO_PCI: &str = "PCI: Fatal: No config space access function found";

#[test]
fn a_machine_as_one_expects_it() {
    let home = Home::new();
    let vm = home.create("golden", &["--wait", "system"]);
    let shell = |script: &str| home.exec(&vm, &["sh", "-ec", script]).expect_code(0);
    let lines = |ran: Ran| ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>();

    let system = shell("systemctl is-system-running; systemctl --failed --no-legend");
    assert_eq!(system.stdout, "running\n");
    let mut errors =
        lines(shell("journalctl --boot --priority=err --no-pager --quiet --output=cat"));
    errors.retain(|line| line != NO_PCI);
    assert_eq!(errors, Vec::<String>::new());
    the_time_is_right(&home, &vm);

    // A machine, not a container, for all who look.
    let kind = shell("systemd-detect-virt --vm; systemd-detect-virt --container || true");
    let kind = lines(kind);
    assert!(["kvm", "qemu"].contains(&kind[0].as_str()) && kind[1] == "none", "{kind:?}");
    shell("! ls /.dockerenv /run/.containerenv 2>/dev/null");

    let names = lines(shell("hostname; hostname --fqdn; getent hosts golden localhost | wc -l"));
    assert_eq!(names, ["golden", "golden", "2"]);

    // Nobody but root gets to be root without a password.
    let sudo = "sudo -n id -un; sudo -n -u nobody id -un; useradd -G sudo eve; \
                sudo -n -u eve sudo -n true 2>/dev/null || echo refused";
    assert_eq!(lines(shell(sudo)), ["root", "nobody", "refused"]);

    let locale =
        shell("locale; printf '\\303\\244\\342\\202\\254' | wc -m; perl -e 1; python3 -c 1");
    assert_eq!(locale.stderr, "");
    assert!(locale.stdout.contains("LC_CTYPE=\"C.UTF-8\"") && locale.stdout.ends_with("\n2\n"));

    let known =
        format!("for t in {}; do infocmp $t >/dev/null || echo $t; done", TERMINALS.join(" "));
    assert_eq!(shell(&known).stderr, "");

    let modes = lines(shell("stat -c '%a %U' /root /root/.ssh /tmp"));
    assert_eq!(modes, ["700 root", "700 root", "1777 root"]);

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}

/// The guest's clock lies between the host's before and after asking, but for the second that
/// boot may have cost.
#[track_caller]
fn the_time_is_right(home: &Home, vm: &str) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let before = now();
    let said = home.exec(vm, &["date", "+%s"]).expect_code(0).stdout;
    let after = now();
    let said: u64 = said.trim().parse().expect("seconds");
    assert!((before - 2..=after + 2).contains(&said), "{said} is not {before} to {after}");
}
