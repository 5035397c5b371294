//! The file `config.toml`: its keys, its parser and what it says about mistakes.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use banger_proto::{BridgeName, ByteSize, Period, Subnet};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AccelChoice, FileSyncEntry, LogLevel, NetworkChoice, VmmChoice};

/// The file as it is written; an absent key is left to host or program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ConfigFile {
    /// See [`super::Config::log_level`].
    pub log_level: Option<LogLevel>,
    /// See [`super::Config::vmm`].
    pub vmm: Option<VmmChoice>,
    /// See [`super::Config::accel`].
    pub accel: Option<AccelChoice>,
    /// See [`super::Config::firecracker_bin`].
    pub firecracker_bin: Option<PathBuf>,
    /// See [`super::Config::qemu_bin`].
    pub qemu_bin: Option<PathBuf>,
    /// See [`super::Config::default_image_name`].
    pub default_image_name: Option<String>,
    /// See [`super::Config::default_kernel_name`].
    pub default_kernel_name: Option<String>,
    /// See [`super::Config::catalog_url`].
    pub catalog_url: Option<String>,
    /// See [`super::Config::registry_auth_file`].
    pub registry_auth_file: Option<PathBuf>,
    /// See [`super::Config::ssh_key_path`].
    pub ssh_key_path: Option<KeyPath>,
    /// Seconds.
    pub ready_timeout: Option<NonZeroU32>,
    /// See [`super::Config::warm_starts`].
    pub warm_starts: Option<bool>,
    /// See [`super::Config::idle_stop_after`].
    pub idle_stop_after: Option<IdleSetting>,
    /// See [`super::Config::idle_pause_after`].
    pub idle_pause_after: Option<IdleSetting>,
    /// See [`super::Config::network`].
    pub network: Option<NetworkChoice>,
    /// See [`super::Config::bridge_name`].
    pub bridge_name: Option<BridgeName>,
    /// See [`super::Config::subnet`].
    pub subnet: Option<SubnetSetting>,
    /// See [`super::Config::dns_listen`].
    pub dns_listen: Option<ListenSetting>,
    /// See [`super::Config::vm_defaults`].
    pub vm_defaults: VmDefaultsFile,
    /// See [`super::Config::file_sync`].
    pub file_sync: Vec<FileSyncEntry>,
}

/// The table `[vm_defaults]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct VmDefaultsFile {
    /// Virtual processors.
    pub vcpu: Option<u32>,
    /// Memory.
    pub memory: Option<SizeSetting>,
    /// Writable disk.
    pub disk_size: Option<SizeSetting>,
    /// Whether it may go out.
    pub nat: Option<bool>,
}

/// The path of a key: absolute, or beginning with `~/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct KeyPath(pub PathBuf);

impl TryFrom<PathBuf> for KeyPath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        match path.is_absolute() || (path.starts_with("~") && path.components().count() > 1) {
            true => Ok(Self(path)),
            false => Err("a path that is absolute or begins with `~/` is expected"),
        }
    }
}

/// A size in the file: a text like `"4G"`, or a number of MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeSetting(pub ByteSize);

impl<'de> Deserialize<'de> for SizeSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = SizeSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like \"4G\" or a number of MiB")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SizeSetting, E> {
                text.parse().map(SizeSetting).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, mib: i64) -> Result<SizeSetting, E> {
                // Through the parser, which knows about too large numbers.
                self.visit_str(&mib.to_string())
            }
        }
        deserializer.deserialize_any(Size)
    }
}

impl Serialize for SizeSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A period in the file: a text like `"30m"`, a number of seconds, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleSetting(pub Option<Period>);

impl<'de> Deserialize<'de> for IdleSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Idle;
        impl Visitor<'_> for Idle {
            type Value = IdleSetting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a period like \"30m\", a number of seconds, or \"off\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<IdleSetting, E> {
                match text {
                    "off" => Ok(IdleSetting(None)),
                    text => text.parse().map(|period| IdleSetting(Some(period))).map_err(E::custom),
                }
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<IdleSetting, E> {
                // Through the parser, which knows about too large numbers.
                self.visit_str(&seconds.to_string())
            }
        }
        deserializer.deserialize_any(Idle)
    }
}

impl Serialize for IdleSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(period) => serializer.collect_str(period),
            None => serializer.serialize_str("off"),
        }
    }
}

/// The network of VMs in the file: a text like `"172.30.0.0/24"`, or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubnetSetting(pub Option<Subnet>);

impl TryFrom<String> for SubnetSetting {
    type Error = banger_proto::subnet::ParseSubnetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "auto" => Ok(Self(None)),
            text => text.parse().map(|subnet| Self(Some(subnet))),
        }
    }
}

impl From<SubnetSetting> for String {
    fn from(setting: SubnetSetting) -> Self {
        setting.0.map_or_else(|| "auto".to_owned(), |subnet| subnet.to_string())
    }
}

/// Where names are answered in the file: a loopback address and a port like `"127.0.0.1:42069"`, or
/// `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenSetting(pub Option<SocketAddr>);

impl TryFrom<String> for ListenSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "off" {
            return Ok(Self(None));
        }
        match text.parse::<SocketAddr>() {
            // Names and addresses of VMs are this host's business.
            Ok(address) if !address.ip().is_loopback() => Err(format!(
                "`{text}` is not an address of this host's loopback: take one like 127.0.0.1:42069"
            )),
            Ok(address) if address.port() == 0 => {
                Err(format!("`{text}` has no port: nobody could find what listens on any"))
            }
            Ok(address) => Ok(Self(Some(address))),
            Err(_) => Err(format!(
                "`{text}` is not an address and a port: write one like 127.0.0.1:42069, or off"
            )),
        }
    }
}

impl From<ListenSetting> for String {
    fn from(setting: ListenSetting) -> Self {
        setting.0.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// One key of the file, for documentation and suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name, with the table in front (`vm_defaults.vcpu`).
    pub name: &'static str,
    /// What it is when absent.
    pub default: &'static str,
    /// What it is for, a fragment.
    pub purpose: &'static str,
}

/// Every key. A test holds it against [`ConfigFile`].
pub const KEYS: &[Key] = &[
    key("log_level", "info", "how much the daemon logs: error, warn, info, debug or trace"),
    key("vmm", "auto", "which VMM runs VMs: auto, firecracker or qemu"),
    key("accel", "auto", "how guest code runs: auto, kvm or tcg"),
    key("firecracker_bin", "on the search path", "path of Firecracker"),
    key("qemu_bin", "on the search path", "path of QEMU"),
    key("default_image_name", "debian-bookworm", "image of a VM that asks for none"),
    key(
        "default_kernel_name",
        "debian-bookworm-cloud",
        "kernel when neither VM nor image asks for one",
    ),
    key(
        "catalog_url",
        "none",
        "where a catalog of more images is: https://, file://, or http:// of this host",
    ),
    key(
        "registry_auth_file",
        "that of Docker or Podman",
        "path of a file with the credentials for registries",
    ),
    key(
        "ssh_key_path",
        "a key that banger makes",
        "path of your own private key for SSH into VMs: absolute, or beginning with ~/",
    ),
    key("ready_timeout", "90", "seconds a VM may take to become ready; six times that without KVM"),
    key(
        "idle_stop_after",
        "off",
        "how long a VM may be idle before it is stopped, like 90s, 30m or 2h, or off; who uses it starts it",
    ),
    key(
        "idle_pause_after",
        "off",
        "the same before it is paused, which gives back the processors only; who uses it has it go on",
    ),
    key(
        "warm_starts",
        "true",
        "whether VMs begin from one that has booted, of which a template is made for each kind; false boots all",
    ),
    key(
        "network",
        "auto",
        "how VMs get a network: auto, user (without root) or system (`banger system install`)",
    ),
    key(
        "bridge_name",
        "br-fc",
        "the bridge of VMs in a network of your own, from the next time it is made; in the host's it is \
         `banger system install --bridge` that names it",
    ),
    key(
        "subnet",
        "auto",
        "network of VMs, a private one like 172.30.0.0/24; auto takes a free /24",
    ),
    key(
        "dns_listen",
        "127.0.0.1:42069",
        "where names of VMs are answered on this host, a loopback address and a port, or off; see dns-routing.md",
    ),
    key("vm_defaults.vcpu", "a quarter of the host's, 1 to 4", "virtual processors"),
    key("vm_defaults.memory", "an eighth of the host's, 512M to 8G", "memory"),
    key("vm_defaults.disk_size", "8G", "size of the writable disk"),
    key("vm_defaults.nat", "false", "whether VMs may reach the outside: true or false"),
    key("file_sync", "none", "files that every VM gets a copy of at each start; see file-sync.md"),
];

const fn key(name: &'static str, default: &'static str, purpose: &'static str) -> Key {
    Key { name, default, purpose }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read; the error names it.
    #[error("cannot read the configuration")]
    Read(#[source] std::io::Error),
    /// The file is not TOML, or a value has the wrong type.
    #[error("configuration `{path}`, line {line}{of_key}: {message}", of_key = of_key(.key.as_deref()))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key on that line, when there is one.
        key: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// An entry of a list makes no sense.
    #[error("configuration `{path}`, entry {number} of `{list}`, key `{key}`: {message}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The list.
        list: &'static str,
        /// Its place in the list, from 1.
        number: usize,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

fn of_key(key: Option<&str>) -> String {
    key.map(|key| format!(", key `{key}`")).unwrap_or_default()
}

/// Reads the text of a configuration file; `path` is for messages. Also returns a warning for
/// every key that does not exist.
///
/// # Errors
/// When the text is not TOML or a value has the wrong type, naming key, file and line.
pub fn parse_config(text: &str, path: &Path) -> Result<(ConfigFile, Vec<String>), ConfigError> {
    let wrong = |error: &toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let (line, key) = locate(text, offset);
        ConfigError::Wrong {
            path: path.to_owned(),
            line,
            key,
            message: error.message().trim_end().replace('\n', "; "),
        }
    };
    let mut warnings = Vec::new();
    let deserializer = toml::Deserializer::parse(text).map_err(|error| wrong(&error))?;
    let file = serde_ignored::deserialize(deserializer, |key| {
        warnings.push(render_unknown(&key.to_string(), path));
    })
    .map_err(|error| wrong(&error))?;
    Ok((file, warnings))
}

fn render_unknown(key: &str, path: &Path) -> String {
    // Half of the characters may differ, else the suggestion is noise.
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known.name, key), known.name))
        .min()
        .filter(|(distance, name)| *distance * 2 <= name.len());
    let suggestion = nearest.map(|(_, name)| format!("; did you mean `{name}`?"));
    format!(
        "configuration `{}` has an unknown key `{key}`{}",
        path.display(),
        suggestion.unwrap_or_default()
    )
}

/// Line of a byte offset, from 1, and the dotted name of the key on that line.
fn locate(text: &str, offset: usize) -> (usize, Option<String>) {
    let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count();
    let mut table = None;
    let mut key = None;
    for candidate in text.lines().take(line + 1).map(str::trim) {
        if let Some(header) = candidate.strip_prefix('[') {
            table = header.split(']').next().map(|name| name.trim_matches('[').trim().to_owned());
        }
        key = candidate.split_once('=').map(|(key, _)| key.trim().to_owned());
    }
    let key = match (table, key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (_, key) => key,
    };
    (line + 1, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(ConfigFile, Vec<String>), String> {
        parse_config(text, "/c/config.toml".as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_keys_is_the_struct() {
        let serde_json::Value::Object(file) = serde_json::to_value(ConfigFile::default()).unwrap()
        else {
            panic!("not a table");
        };
        let mut names = Vec::new();
        for (name, value) in file {
            match value {
                serde_json::Value::Object(table) => {
                    names.extend(table.keys().map(|key| format!("{name}.{key}")));
                }
                _ => names.push(name),
            }
        }
        let mut known: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        names.sort();
        known.sort();
        assert_eq!(names, known);
    }

    #[test]
    fn sizes_are_texts_or_mebibytes() {
        let (file, warnings) =
            parse("[vm_defaults]\nmemory = \"4GiB\"\ndisk_size = 512\n").unwrap();
        assert!(warnings.is_empty());
        assert_eq!(file.vm_defaults.memory, Some(SizeSetting(ByteSize::from_mib(4096))));
        assert_eq!(file.vm_defaults.disk_size, Some(SizeSetting(ByteSize::from_mib(512))));
    }

    #[test]
    fn idleness_is_a_period_or_off() {
        let idle = |value: &str| {
            let parsed = parse(&format!("idle_stop_after = {value}\n"));
            parsed.map(|(file, _)| file.idle_stop_after.unwrap().0.map(Period::seconds))
        };
        assert_eq!(idle("\"30m\""), Ok(Some(1800)));
        assert_eq!(idle("90"), Ok(Some(90)));
        assert_eq!(idle("\"off\""), Ok(None));
        for wrong in ["0", "-5", "\"soon\"", "true"] {
            let message = idle(wrong).unwrap_err();
            assert!(message.contains("line 1, key `idle_stop_after`"), "{message}");
        }
    }

    #[test]
    fn a_keys_path_does_not_depend_on_where_one_is() {
        for good in ["/k", "~/.ssh/id"] {
            let (file, _) = parse(&format!("ssh_key_path = \"{good}\"\n")).unwrap();
            assert_eq!(file.ssh_key_path, Some(KeyPath(good.into())));
        }
        for wrong in ["id", "~", "~other/id", ""] {
            let message = parse(&format!("ssh_key_path = \"{wrong}\"\n")).unwrap_err();
            assert!(message.contains("line 1, key `ssh_key_path`"), "{message}");
        }
    }

    #[test]
    fn a_network_is_private_or_worked_out() {
        let (file, warnings) = parse("network = \"user\"\nsubnet = \"10.9.8.0/24\"\n").unwrap();
        assert!(warnings.is_empty());
        assert_eq!(file.network, Some(NetworkChoice::User));
        assert_eq!(file.subnet, Some(SubnetSetting(Some("10.9.8.0/24".parse().unwrap()))));
        let (file, _) = parse("subnet = \"auto\"\n").unwrap();
        assert_eq!(file.subnet, Some(SubnetSetting(None)));
        for (text, says) in [
            (
                "bridge_name = \"br 0\"\n",
                "line 1, key `bridge_name`: `br 0` is not a name of a bridge",
            ),
            (
                "bridge_name = \"up0\"\n",
                "line 1, key `bridge_name`: `up0` is no name for the bridge",
            ),
            (
                "subnet = \"8.8.8.0/24\"\n",
                "line 1, key `subnet`: network `8.8.8.0/24` is not private",
            ),
            (
                "subnet = 24\n",
                "line 1, key `subnet`: invalid type: integer `24`, expected a string",
            ),
            ("network = \"none\"\n", "line 1, key `network`: unknown variant `none`"),
            ("[vm_defaults]\nnat = \"yes\"\n", "line 2, key `vm_defaults.nat`: invalid type"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn names_are_answered_on_the_loopback_or_nowhere() {
        let listen = |value: &str| {
            let parsed = parse(&format!("dns_listen = {value}\n"));
            parsed.map(|(file, _)| file.dns_listen.unwrap().0.map(|address| address.to_string()))
        };
        assert_eq!(listen("\"127.0.0.53:5353\""), Ok(Some("127.0.0.53:5353".to_owned())));
        assert_eq!(listen("\"[::1]:53\""), Ok(Some("[::1]:53".to_owned())));
        assert_eq!(listen("\"off\""), Ok(None));
        for (wrong, says) in [
            ("\"0.0.0.0:53\"", "is not an address of this host's loopback"),
            ("\"192.168.1.1:53\"", "is not an address of this host's loopback"),
            ("\"127.0.0.1:0\"", "has no port"),
            ("\"127.0.0.1\"", "is not an address and a port"),
            ("42069", "invalid type"),
        ] {
            let message = listen(wrong).unwrap_err();
            assert!(message.contains("line 1, key `dns_listen`"), "{message}");
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn unknown_keys_warn_with_a_suggestion() {
        let (_, warnings) = parse("log_lvel = \"info\"\n[vm_defaults]\ncpus = 3\n").unwrap();
        assert_eq!(
            warnings,
            [
                "configuration `/c/config.toml` has an unknown key `log_lvel`; \
                 did you mean `log_level`?",
                "configuration `/c/config.toml` has an unknown key `vm_defaults.cpus`; \
                 did you mean `vm_defaults.vcpu`?",
            ]
        );
    }

    #[test]
    fn wrong_values_name_key_file_and_line() {
        let message = parse("vmm = \"qemu\"\n\n[vm_defaults]\nmemory = \"lots\"\n").unwrap_err();
        assert!(
            message.starts_with(
                "configuration `/c/config.toml`, line 4, key `vm_defaults.memory`: `lots` is not a size"
            ),
            "{message}"
        );
        let message = parse("accel = \"warp\"\n").unwrap_err();
        assert!(message.contains("line 1, key `accel`"), "{message}");
        assert!(message.contains("`tcg`"), "{message}");
        let message = parse("vcpu = [\n").unwrap_err();
        assert!(message.contains("line 1"), "{message}");
        assert!(parse("ready_timeout = 0\n").unwrap_err().contains("line 1, key `ready_timeout`"));
    }
}
