//! The configuration as people are shown it: every key with its value and where that came from.

use std::path::PathBuf;

use banger_proto::{Code, Problem};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Config, FileSync, IdleSetting, KEYS, ListenSetting, Origin, Setting, SubnetSetting,
    load_resolved, observe_host,
};
use crate::lifecycle::Options;

/// What is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The file.
    pub file: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// Every key, in the order of [`KEYS`].
    pub settings: Vec<ShownSetting>,
    /// What is odd about the file.
    pub warnings: Vec<String>,
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownSetting {
    /// Its name, as in [`KEYS`].
    pub key: &'static str,
    /// Its value as the file would have it; null where the file can only leave it out.
    pub value: Value,
    /// Its value for people: a line, or for a list a line an entry.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads the configuration as a daemon that starts now would.
///
/// # Errors
/// When the file cannot be read, or is wrong.
pub fn show(options: &Options) -> Result<Shown, Problem> {
    let file = options.paths.config_file.clone();
    let (config, warnings) = load_resolved(&file, options.env.home(), observe_host())
        .map_err(|error| Problem::from_error(Code::OperationFailed, &error))?;
    let settings = list_settings(&config);
    Ok(Shown { exists: file.exists(), file, settings, warnings })
}

/// Every key of `config`, in the order of [`KEYS`].
fn list_settings(config: &Config) -> Vec<ShownSetting> {
    let setting = |key: &'static super::Key| {
        let (value, origin) = look_up(config, key.name)?;
        let text = match &value {
            Value::Null => format!("({})", key.default),
            Value::Array(_) => render_file_sync(&config.file_sync, key.default),
            value => render_value(value),
        };
        Some(ShownSetting { key: key.name, value, text, origin })
    };
    KEYS.iter().filter_map(setting).collect()
}

/// The value of a key as the file would have it, and its origin; none for a key that does not exist.
fn look_up(config: &Config, key: &str) -> Option<(Value, Origin)> {
    let defaults = &config.vm_defaults;
    Some(match key {
        "log_level" => plain(&config.log_level),
        "vmm" => plain(&config.vmm),
        "accel" => plain(&config.accel),
        "firecracker_bin" => plain(&config.firecracker_bin),
        "qemu_bin" => plain(&config.qemu_bin),
        "default_image_name" => plain(&config.default_image_name),
        "default_kernel_name" => plain(&config.default_kernel_name),
        "catalog_url" => plain(&config.catalog_url),
        "registry_auth_file" => plain(&config.registry_auth_file),
        "ssh_key_path" => plain(&config.ssh_key_path),
        "ready_timeout" => written(&config.ready_timeout, |period| json!(period.as_secs())),
        "idle_stop_after" => written(&config.idle_stop_after, |idle| json!(IdleSetting(*idle))),
        "idle_pause_after" => written(&config.idle_pause_after, |idle| json!(IdleSetting(*idle))),
        "warm_starts" => plain(&config.warm_starts),
        "network" => plain(&config.network),
        "bridge_name" => plain(&config.bridge_name),
        "subnet" => written(&config.subnet, |subnet| json!(SubnetSetting(*subnet))),
        "dns_listen" => written(&config.dns_listen, |listen| json!(ListenSetting(*listen))),
        "vm_defaults.vcpu" => plain(&defaults.vcpu),
        "vm_defaults.memory" => written(&defaults.memory, |size| json!(size.to_string())),
        "vm_defaults.disk_size" => written(&defaults.disk_size, |size| json!(size.to_string())),
        "vm_defaults.nat" => plain(&defaults.nat),
        "file_sync" => (list_file_sync(&config.file_sync), origin_of_list(&config.file_sync)),
        _ => return None,
    })
}

/// A value that is written as it is.
fn plain<T: Serialize>(setting: &Setting<T>) -> (Value, Origin) {
    written(setting, |value| json!(value))
}

fn written<T>(setting: &Setting<T>, write: impl Fn(&T) -> Value) -> (Value, Origin) {
    (write(&setting.value), setting.origin)
}

/// A list has no default entries.
fn origin_of_list<T>(list: &[T]) -> Origin {
    if list.is_empty() { Origin::Builtin } else { Origin::Config }
}

fn list_file_sync(entries: &[FileSync]) -> Value {
    let entry = |entry: &FileSync| {
        let FileSync { host, guest, mode, .. } = entry;
        json!({ "host": host, "guest": guest, "mode": render_mode(*mode) })
    };
    entries.iter().map(entry).collect()
}

fn render_file_sync(entries: &[FileSync], none: &str) -> String {
    if entries.is_empty() {
        return format!("({none})");
    }
    let line = |entry: &FileSync| {
        let mode = render_mode(entry.mode);
        format!("{}: {} to {}, mode {mode}", entry.number, entry.host.display(), entry.guest)
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn render_mode(mode: u32) -> String {
    format!("{mode:04o}")
}

fn render_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, HostFacts, parse_config, resolve};

    #[test]
    fn every_key_is_shown_and_what_is_shown_is_what_the_file_takes() {
        let shown = list_settings(&resolve(ConfigFile::default(), HostFacts::default()));
        let names: Vec<_> = shown.iter().map(|setting| setting.key).collect();
        assert_eq!(names, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
        for setting in shown.iter().filter(|setting| !setting.value.is_null()) {
            let text = match setting.key.split_once('.') {
                Some((table, key)) => format!("[{table}]\n{key} = {}\n", setting.value),
                None => format!("{} = {}\n", setting.key, setting.value),
            };
            let (file, warnings) = parse_config(&text, "c".as_ref()).unwrap();
            assert_eq!(warnings, Vec::<String>::new());
            let again = list_settings(&resolve(file, HostFacts::default()));
            let again = again.into_iter().find(|again| again.key == setting.key).unwrap();
            assert_eq!((&again.value, &again.text), (&setting.value, &setting.text));
            let list = setting.value.is_array();
            assert_eq!(again.origin, if list { Origin::Builtin } else { Origin::Config }, "{text}");
        }
    }

    #[test]
    fn entries_of_a_list_are_numbered() {
        let entry = |number, mode| FileSync {
            number,
            host: format!("/home/u/{number}").into(),
            guest: format!("/root/{number}"),
            mode,
        };
        let config = resolve(ConfigFile::default(), HostFacts::default());
        let config = Config { file_sync: vec![entry(1, 0o600), entry(2, 0o640)], ..config };
        let shown = list_settings(&config).pop().unwrap();
        assert_eq!((shown.key, shown.origin), ("file_sync", Origin::Config));
        insta::assert_snapshot!(shown.text, @r"
        1: /home/u/1 to /root/1, mode 0600
        2: /home/u/2 to /root/2, mode 0640
        ");
        assert_eq!(
            shown.value[1],
            json!({"host": "/home/u/2", "guest": "/root/2", "mode": "0640"})
        );
    }
}
