//! What an ELF kernel says about itself: its version, and the configuration it was built with where
//! it carries that (`CONFIG_IKCONFIG`).
//!
//! Both are found by their marks in the file's bytes, as `scripts/extract-ikconfig` of the kernel
//! does: no symbol table is needed, and a stripped kernel tells as much as any.

use memchr::memmem;

use crate::decompress::Compression;

/// How the version begins, as `/proc/version` shows it (`init/version.c`).
const BANNER: &[u8] = b"Linux version ";
/// Longest version that is believed (`__NEW_UTS_LEN`).
const MAX_VERSION: usize = 64;
/// What the configuration stands between, compressed with gzip (`kernel/configs.c`).
const CONFIG_START: &[u8] = b"IKCFG_ST";
const CONFIG_END: &[u8] = b"IKCFG_ED";
/// Largest configuration that is read, in bytes. Distributions' have some 300 KB.
const MAX_CONFIG: usize = 8 << 20;

/// The version of the kernel `vmlinux`, as `uname -r` gives it.
#[must_use]
pub fn find_version(vmlinux: &[u8]) -> Option<String> {
    // The format string of the same text comes in the file, too, with `%s` for the version.
    memmem::find_iter(vmlinux, BANNER).find_map(|at| {
        let text = vmlinux.get(at + BANNER.len()..)?;
        let text = text.get(..MAX_VERSION + 1).unwrap_or(text);
        let version = text.split(|&byte| byte == b' ').next()?;
        is_version(version).then(|| String::from_utf8_lossy(version).into_owned())
    })
}

/// Whether `text` can be a kernel's version: it stands in names of files and on terminals.
pub(crate) fn is_version(text: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_+~".contains(byte);
    text.len() <= MAX_VERSION
        && text.first().is_some_and(u8::is_ascii_digit)
        && text.contains(&b'.')
        && text.iter().all(legal)
}

/// The configuration in the kernel `vmlinux`: lines of `CONFIG_NAME=value`. `None` when it has none
/// that can be read.
#[must_use]
pub fn find_config(vmlinux: &[u8]) -> Option<String> {
    memmem::find_iter(vmlinux, CONFIG_START).find_map(|at| {
        let packed = vmlinux.get(at + CONFIG_START.len()..)?;
        let packed = &packed[..memmem::find(packed, CONFIG_END)?];
        if Compression::of(packed) != Some(Compression::Gzip) {
            return None;
        }
        let config = Compression::Gzip.decompress(packed, MAX_CONFIG).ok()?;
        Some(String::from_utf8_lossy(&config).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn the_version_is_that_of_the_banner() {
        let file = b"\x7fELF..Linux version %s (%s)\0..Linux version 6.12.1-banger (a@b) (gcc)\n\0";
        assert_eq!(find_version(file).as_deref(), Some("6.12.1-banger"));
        for none in [
            &b"no kernel"[..],
            b"Linux version ",
            b"Linux version 6 x",
            b"Linux version 6.1\x1b[31m x",
            &[BANNER, &[b'6'; 100]].concat(),
        ] {
            assert_eq!(find_version(none), None, "{}", none.escape_ascii());
        }
    }

    #[test]
    fn the_configuration_is_found_between_its_marks() {
        let text = "CONFIG_EXT4_FS=y\n";
        let packed = [b"code IKCFG_ST? ", CONFIG_START, &gzip(text), CONFIG_END, b" more"].concat();
        assert_eq!(find_config(&packed).as_deref(), Some(text));
        let torn = [CONFIG_START, &gzip(text)[..12], CONFIG_END].concat();
        let endless = [CONFIG_START, &gzip(text)].concat();
        let bomb = gzip(&"#".repeat(MAX_CONFIG + 1));
        let bomb = [CONFIG_START, &bomb, CONFIG_END].concat();
        for none in [&torn, &endless, &bomb, &CONFIG_START.to_vec(), &b"IKCFG_STIKCFG_ED".to_vec()]
        {
            assert_eq!(find_config(none), None);
        }
    }
}
