//! An ordinary user in a fresh account, without root.

use banger_e2e::SMALL;
use banger_e2e::host::{Host, INTERNET};

use super::{create, observe};

/// The recipe of docs/dns-routing.md, and its undoing.
const ROUTE_NAMES: &str = "
mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\\nDNS=127.0.0.1:42069\\nDomains=~vm\\n' >/etc/systemd/resolved.conf.d/banger.conf
systemctl restart systemd-resolved";
const UNROUTE_NAMES: &str = "
rm -r /etc/systemd/resolved.conf.d
systemctl restart systemd-resolved";

pub(crate) fn vms_of_an_ordinary_user(host: &Host) {
    let before = observe(host);
    let checks = host.user("banger doctor --json").json();
    let checks = checks["checks"].as_array().expect("checks");
    for name in ["kvm", "user-namespaces"] {
        let check = checks.iter().find(|check| check["name"] == name).expect(name);
        assert_eq!(check["status"], "PASS", "{check}");
    }

    let fetch = format!("wget -q -O - http://{INTERNET}/");
    let options = format!("--rm --nat --image {SMALL}");
    let fetched = host.user(&format!("banger vm run {options} -- {fetch}"));
    assert_eq!(fetched.expect_code(0).stdout, "from the internet\n");

    create(host, "one", "");
    create(host, "two", "");
    assert_eq!(host.user(&format!("banger vm exec one -- {fetch}")).expect_code(1).stdout, "");
    let neighbour = host.user("banger vm exec two -- wget -q -O - http://one:8080/name");
    assert_eq!(neighbour.expect_code(0).stdout, "one\n");
    host.root(ROUTE_NAMES).expect_code(0);
    let named = host.user("curl -sS http://one.vm:8080/name");
    assert_eq!(named.expect_code(0).stdout, "one\n");
    host.root(UNROUTE_NAMES).expect_code(0);

    host.user("banger vm delete --force one two && banger daemon stop").expect_code(0);
    assert_eq!(observe(host), before);
}
