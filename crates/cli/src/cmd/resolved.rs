//! Help with the defaults that they are on this host.

use clap::Command;

use crate::hooks::Configured;

/// What help says where a default is configured, or worked out from the host.
const CONFIGURED: &str = "[default: the configured one]";

/// Arguments whose default is configured, by their ids, and the key of each.
const KEYS: [(&str, &str); 6] = [
    ("image", "default_image_name"),
    ("vcpu", "vm_defaults.vcpu"),
    ("memory", "vm_defaults.memory"),
    ("disk_size", "vm_defaults.disk_size"),
    ("idle_stop", "idle_stop_after"),
    ("idle_pause", "idle_pause_after"),
];

/// The same grammar with what is configured in the help of its arguments.
pub(super) fn resolve_defaults(grammar: Command, settings: &[Configured]) -> Command {
    let grammar = grammar.mut_args(|arg| {
        let key = KEYS.iter().find(|(id, _)| arg.get_id() == *id);
        let setting = key.and_then(|(_, key)| settings.iter().find(|setting| setting.key == *key));
        let (Some(setting), Some(help)) = (setting, arg.get_help()) else { return arg };
        let help = help.to_string().replace(CONFIGURED, &format!("[default: {}]", setting.text));
        arg.help(help)
    });
    grammar.mut_subcommands(|child| resolve_defaults(child, settings))
}
