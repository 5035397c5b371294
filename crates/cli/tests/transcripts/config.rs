//! What is configured, told without a daemon.

use std::path::PathBuf;

use insta::assert_snapshot;
use serde_json::Value;

use crate::host::Host;

/// Writes the configuration file of `host`.
pub(crate) fn configure(host: &Host, text: &str) -> PathBuf {
    let directory = host.path("home/.config/banger");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A table whose columns are not as wide as this run's directories.
fn narrow(shown: &str) -> String {
    let line = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join("  ")
    };
    shown.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_path_is_told_whatever_is_there() {
    let host = Host::new();
    assert_snapshot!(host.run(&["config", "path"]), @r"
    $HOST/home/.config/banger/config.toml
    -- stderr
    note: there is no such file yet, and none is needed
    -- exit 0
    ");
    configure(&host, "this is no TOML");
    assert_snapshot!(host.run(&["config", "path"]), @r"
    $HOST/home/.config/banger/config.toml
    -- exit 0
    ");
    assert_snapshot!(host.run(&["config", "path", "--json"]), @r#"
    {
      "path": "$HOST/home/.config/banger/config.toml",
      "exists": true
    }
    -- exit 0
    "#);
}

#[test]
fn every_value_has_its_origin() {
    let host = Host::new();
    let text = "\
log_level = \"debug\"
dns_listen = \"off\"
idle_stop_after = 5400
qemu_bin = \"/opt/qemu\"
defualt_image_name = \"mine\"

[vm_defaults]
vcpu = 3
memory = 4096
nat = true

[[file_sync]]
host = \"~/.gitconfig\"
guest = \"~/.gitconfig\"

[[file_sync]]
host = \"~/.netrc\"
guest = \"/root/.netrc\"
mode = \"0640\"
";
    configure(&host, text);
    assert_snapshot!(narrow(&host.run(&["config", "show"])), @r"
    file: $HOST/home/.config/banger/config.toml

    KEY  VALUE  ORIGIN
    log_level  debug  config
    vmm  auto  builtin
    accel  auto  builtin
    firecracker_bin  (on the search path)  builtin
    qemu_bin  /opt/qemu  config
    default_image_name  debian-bookworm  builtin
    default_kernel_name  debian-bookworm-cloud  builtin
    catalog_url  (none)  builtin
    registry_auth_file  (that of Docker or Podman)  builtin
    ssh_key_path  (a key that banger makes)  builtin
    ready_timeout  90  builtin
    idle_stop_after  90m  config
    idle_pause_after  off  builtin
    warm_starts  true  builtin
    network  auto  builtin
    bridge_name  br-fc  builtin
    subnet  auto  builtin
    dns_listen  off  config
    vm_defaults.vcpu  3  config
    vm_defaults.memory  4G  config
    vm_defaults.disk_size  8G  builtin
    vm_defaults.nat  true  config
    file_sync  1: $HOST/home/.gitconfig to /root/.gitconfig, mode 0600  config
    file_sync  2: $HOST/home/.netrc to /root/.netrc, mode 0640  config
    -- stderr
    note: configuration `$HOST/home/.config/banger/config.toml` has an unknown key `defualt_image_name`; did you mean `default_image_name`?
    -- exit 0
    ");
    // Nobody had to be started for it.
    assert!(!host.path("home/.local/state/banger").exists());
}

#[test]
fn what_the_host_suggests_is_shown_as_that() {
    let host = Host::new();
    let shown = host.run(&["config", "show", "--json"]);
    let shown: Value = serde_json::from_str(shown.strip_suffix("-- exit 0").unwrap()).unwrap();
    assert_eq!(
        (&shown["exists"], &shown["warnings"]),
        (&Value::Bool(false), &Value::Array(vec![]))
    );
    let setting = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap()
    };
    let vcpu = setting("vm_defaults.vcpu");
    assert_eq!(vcpu["origin"], "auto");
    assert!((1..=4).contains(&vcpu["value"].as_u64().unwrap()), "{vcpu}");
    assert_eq!(setting("vm_defaults.disk_size")["value"], "8G");
    assert_eq!(setting("ready_timeout")["value"], 90);
    assert_eq!(setting("catalog_url")["value"], Value::Null);
    assert!(
        host.run(&["config", "show"])
            .starts_with("file: $HOST/home/.config/banger/config.toml (not there)\n")
    );
}

#[test]
fn what_is_wrong_is_named() {
    let host = Host::new();
    configure(&host, "[vm_defaults]\nvcpu = 2\nmemory = \"much\"\n");
    assert_snapshot!(host.run(&["config", "show"]), @r"
    -- stderr
    banger: configuration `$HOST/home/.config/banger/config.toml`, line 3, key `vm_defaults.memory`: `much` is not a size: write a number with K, M, G or T (like 512M or 4GiB); a bare number means MiB
    -- exit 1
    ");
    configure(&host, "[[file_sync]]\nhost = \"/etc/passwd\"\nguest = \"~/x\"\n");
    assert_snapshot!(host.run(&["config", "show"]), @r"
    -- stderr
    banger: configuration `$HOST/home/.config/banger/config.toml`, entry 1 of `file_sync`, key `host`: `/etc/passwd` is not in your home, `$HOST/home`
    -- exit 1
    ");
    configure(&host, "ready_timeout = 1\nvmm = auto\n");
    assert_snapshot!(host.run(&["config", "show"]), @r"
    -- stderr
    banger: configuration `$HOST/home/.config/banger/config.toml`, line 2, key `vmm`: string values must be quoted, expected literal string
    -- exit 1
    ");
}
