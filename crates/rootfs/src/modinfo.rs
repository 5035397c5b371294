//! What a kernel module says about itself, in its `.modinfo` section: `key=value` texts, each ended
//! by a NUL (`include/linux/module.h` in the kernel).

use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use crate::modules::normalise;

/// What a module says about itself, as far as loading it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModInfo {
    /// Modules whose symbols it uses, with underscores.
    pub(crate) depends: Vec<String>,
    /// Modules it would like to have before or after it, as it says so: `pre: a b post: c`.
    pub(crate) softdeps: Vec<String>,
    /// What else it is asked for by, with `*`, `?` and `[…]` standing for more.
    pub(crate) aliases: Vec<String>,
}

impl ModInfo {
    /// Reads that of the file `module`, which is not compressed; `None` when it is no module.
    pub(crate) fn parse(module: &[u8]) -> Option<Self> {
        let header = FileHeader64::<LittleEndian>::parse(module).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, module).ok()?;
        let (_, section) = sections.section_by_name(endian, b".modinfo")?;
        let mut info = Self::default();
        for (key, value) in texts(section.data(endian, module).ok()?) {
            match key {
                "depends" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    info.depends.extend(names.map(normalise));
                }
                "softdep" => info.softdeps.push(value.to_owned()),
                "alias" => info.aliases.push(value.to_owned()),
                _ => {}
            }
        }
        Some(info)
    }

    /// Names of the modules it would like to have loaded before it, with underscores.
    pub(crate) fn before(&self) -> impl Iterator<Item = String> {
        self.softdeps.iter().flat_map(|softdep| {
            let names = softdep.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
            names.take_while(|word| *word != "post:").map(normalise)
        })
    }
}

/// The aliases in `modules.builtin.modinfo`, which has `NAME.key=value`, as (alias, name).
pub(crate) fn parse_builtin_aliases(modinfo: &[u8]) -> Vec<(&str, String)> {
    let aliases = texts(modinfo).filter_map(|(key, value)| {
        let name = key.strip_suffix(".alias")?;
        Some((value, normalise(name)))
    });
    aliases.collect()
}

fn texts(modinfo: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let texts = modinfo.split(|&byte| byte == 0);
    texts.filter_map(|text| str::from_utf8(text).ok()?.split_once('='))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A relocatable ELF file with nothing but a `.modinfo`.
    pub(crate) fn module(modinfo: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let data_at = 64_u64;
        let names_at = data_at + modinfo.len() as u64;
        let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([1, 0, 62, 0, 1, 0, 0, 0]);
        file.extend([0; 16]);
        file.extend(sections_at.to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend(modinfo.as_bytes());
        file.extend(names);
        file.resize(usize::try_from(sections_at).unwrap(), 0);
        file.extend([0; 64]);
        let sections = [(1_u32, 1_u32, data_at, modinfo.len()), (10, 3, names_at, names.len())];
        for (name, kind, at, len) in sections {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend(at.to_le_bytes());
            file.extend((len as u64).to_le_bytes());
            file.extend([0; 8]);
            file.extend(1_u64.to_le_bytes());
            file.extend([0; 8]);
        }
        file
    }

    #[test]
    fn what_a_module_says_is_read() {
        let modinfo = "license=GPL\0alias=fs-x\0alias=char-major-10-229\0depends=a-b,c\0\
                       softdep=pre: d-e f post: g\0softdep=post: h\0odd\0";
        let info = ModInfo::parse(&module(modinfo)).unwrap();
        assert_eq!(info.depends, ["a_b", "c"]);
        assert_eq!(info.aliases, ["fs-x", "char-major-10-229"]);
        assert_eq!(info.softdeps, ["pre: d-e f post: g", "post: h"]);
        assert_eq!(info.before().collect::<Vec<_>>(), ["d_e", "f"]);
        assert_eq!(ModInfo::parse(b"\x7fELF but no more"), None);
    }

    #[test]
    fn so_is_what_is_built_in() {
        let aliases = parse_builtin_aliases(b"ext4.alias=fs-ext4\0ext4.license=GPL\0a-b.alias=x\0");
        assert_eq!(aliases, [("fs-ext4", "ext4".to_owned()), ("x", "a_b".to_owned())]);
    }
}
