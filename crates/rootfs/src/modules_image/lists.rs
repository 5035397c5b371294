//! The lists that `modprobe` finds modules by, as `depmod` makes them: kmod reads the binary ones
//! (`.bin`), BusyBox the texts, udev and systemd both (modules.dep(5), depmod(8)).
//!
//! `modules.symbols` stays empty: it is for the few drivers that ask for a symbol of a module that
//! they are not linked against.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::trie::Trie;
use crate::modinfo::{ModInfo, parse_builtin_aliases};

/// A module with all it needs.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    /// Name, with underscores.
    pub(super) name: &'a str,
    /// File below the directory of modules.
    pub(super) path: &'a str,
    /// What it says about itself.
    pub(super) info: &'a ModInfo,
    /// Files of the modules it needs, in the order in which they load.
    pub(super) needs: Vec<&'a str>,
}

/// The lists of `modules`, by the names of their files. The order of the modules is that in which
/// several of one alias are tried. `builtin` are the modules in the kernel itself, and what they say
/// about themselves.
pub(super) fn render_lists(
    modules: &[Listed<'_>],
    builtin: &BTreeSet<String>,
    builtin_modinfo: &[u8],
) -> Vec<(&'static str, Vec<u8>)> {
    let mut dep = (String::new(), Trie::default());
    let mut alias = ("# Other names of modules.\n".to_owned(), Trie::default());
    let mut softdep = "# What modules would like to have beside them.\n".to_owned();
    let mut devname = "# Device files whose opening loads a module.\n".to_owned();
    for (module, rank) in modules.iter().zip(0..) {
        let mut line = format!("{}:", module.path);
        // The last one is loaded first.
        for needed in module.needs.iter().rev() {
            line.push(' ');
            line.push_str(needed);
        }
        dep.1.insert(module.name, &line, rank);
        dep.0.push_str(&line);
        dep.0.push('\n');
        for text in module.info.aliases.iter().filter(|text| is_line(text)) {
            let _ = writeln!(alias.0, "alias {text} {}", module.name);
            alias.1.insert(&normalise_alias(text), module.name, rank);
        }
        for text in module.info.softdeps.iter().filter(|text| is_line(text)) {
            let _ = writeln!(softdep, "softdep {} {text}", module.name);
        }
        if let Some(device) = parse_device(&module.info.aliases) {
            let _ = writeln!(devname, "{} {device}", module.name);
        }
    }
    let (mut builtins, mut builtin_aliases) = (Trie::default(), Trie::default());
    for name in builtin {
        builtins.insert(name, "", 0);
    }
    for (text, name) in parse_builtin_aliases(builtin_modinfo) {
        builtin_aliases.insert(&normalise_alias(text), &name, 0);
    }
    vec![
        ("modules.alias", alias.0.into_bytes()),
        ("modules.alias.bin", alias.1.render()),
        ("modules.builtin.alias.bin", builtin_aliases.render()),
        ("modules.builtin.bin", builtins.render()),
        ("modules.dep", dep.0.into_bytes()),
        ("modules.dep.bin", dep.1.render()),
        ("modules.devname", devname.into_bytes()),
        ("modules.softdep", softdep.into_bytes()),
        ("modules.symbols", Vec::new()),
        ("modules.symbols.bin", Trie::default().render()),
    ]
}

/// Whether a text can stand in a line of a list.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// An alias as `modprobe` looks for it: hyphens are underscores, but not between brackets.
fn normalise_alias(alias: &str) -> String {
    let mut inside = false;
    let letters = alias.chars().map(|letter| {
        inside = (inside || letter == '[') && letter != ']';
        if letter == '-' && !inside { '_' } else { letter }
    });
    letters.collect()
}

/// The device file that is there before its module, which loads when it is opened: name, kind and
/// numbers.
fn parse_device(aliases: &[String]) -> Option<String> {
    let name = aliases.iter().find_map(|alias| alias.strip_prefix("devname:"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    if name.is_empty() || !name.chars().all(legal) {
        return None;
    }
    aliases.iter().find_map(|alias| {
        let (kind, numbers) = match alias.strip_prefix("char-major-") {
            Some(numbers) => ('c', numbers),
            None => ('b', alias.strip_prefix("block-major-")?),
        };
        let (major, minor) = numbers.split_once('-')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        Some(format!("{name} {kind}{major}:{minor}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_those_of_depmod() {
        let info = |aliases: &[&str], softdeps: &[&str]| ModInfo {
            aliases: aliases.iter().map(|&text| text.to_owned()).collect(),
            softdeps: softdeps.iter().map(|&text| text.to_owned()).collect(),
            depends: Vec::new(),
        };
        let fuse = info(&["devname:fuse", "char-major-10-229", "fs-fuse", "evil\nline"], &[]);
        let bridge = info(&["rtnl-link-bridge"], &["pre: stp"]);
        let modules = [
            Listed { name: "fuse", path: "kernel/fs/fuse.ko", info: &fuse, needs: Vec::new() },
            Listed {
                name: "bridge",
                path: "kernel/net/bridge.ko",
                info: &bridge,
                needs: vec!["kernel/net/llc.ko", "kernel/net/stp.ko"],
            },
        ];
        let lists = render_lists(&modules, &BTreeSet::new(), b"");
        let text = |name: &str| {
            let (_, text) = lists.iter().find(|(found, _)| *found == name).unwrap();
            let text = str::from_utf8(text).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>()
        };
        assert_eq!(
            text("modules.dep"),
            ["kernel/fs/fuse.ko:", "kernel/net/bridge.ko: kernel/net/stp.ko kernel/net/llc.ko"]
        );
        assert_eq!(
            text("modules.alias"),
            [
                "alias devname:fuse fuse",
                "alias char-major-10-229 fuse",
                "alias fs-fuse fuse",
                "alias rtnl-link-bridge bridge"
            ]
        );
        assert_eq!(text("modules.softdep"), ["softdep bridge pre: stp"]);
        assert_eq!(text("modules.devname"), ["fuse fuse c10:229"]);
    }

    #[test]
    fn hyphens_are_underscores_but_in_sets_of_letters() {
        assert_eq!(normalise_alias("fs-x:v[0-9]*-y"), "fs_x:v[0-9]*_y");
    }

    #[test]
    fn devices_have_a_name_and_numbers() {
        let parse = |aliases: &[&str]| {
            parse_device(&aliases.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        let tun = parse(&["devname:net/tun", "char-major-10-200"]);
        assert_eq!(tun.as_deref(), Some("net/tun c10:200"));
        for none in [
            &["devname:x"][..],
            &["char-major-10-229"],
            &["devname:../x y", "char-major-1-2"],
            &["devname:x", "char-major-*"],
        ] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }
}
