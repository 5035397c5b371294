//! The initramfs that VMs boot with: the agent and the kernel's modules.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::Paths;
use banger_rootfs::cpio::CpioWriter;
use banger_rootfs::digest::{render_hex, sha256};

use super::known_digests::KnownDigests;
use super::{Kernel, KernelError};
use crate::artifact::save_atomically;

/// Version of what is put together here; another one makes files of other names.
const LAYOUT: &str = "1";
/// Digits of the content's digest in a file's name.
const SHORT_DIGEST: usize = 32;

/// The initramfs of `agent` for `kernel`; made if it is not in the cache. The same agent and
/// modules always have the same file, and a file that is there is complete.
///
/// # Errors
/// When a part cannot be read or the file cannot be written.
pub fn ensure_initramfs(
    paths: &Paths,
    kernel: &Kernel,
    agent: &Path,
    known: &mut KnownDigests,
) -> Result<PathBuf, KernelError> {
    let directory = paths.cache_dir.join("initramfs");
    let modules = match &kernel.modules {
        Some(modules) => known.digest(modules)?,
        None => sha256(&mut io::empty())?,
    };
    let path = directory.join(render_name(&known.digest(agent)?, &modules)?);
    if path.is_file() {
        return Ok(path);
    }
    fs_err::create_dir_all(&directory)?;
    let agent = fs_err::read(agent)?;
    let modules = kernel.modules.as_ref().map(fs_err::read).transpose()?.unwrap_or_default();
    // Of what was read now, whatever there was before.
    let path = directory.join(render_name(&sha256(&mut &*agent)?, &sha256(&mut &*modules)?)?);
    let mut cpio = CpioWriter::new(Vec::with_capacity(agent.len() + modules.len() + 1024));
    cpio.file("init", 0o755, &agent)?;
    let mut contents = cpio.finish()?;
    // One archive after the other is one initramfs to the kernel.
    contents.extend_from_slice(&modules);
    save_atomically(&path, &contents)?;
    Ok(path)
}

/// The name of the file that is made of an agent and modules with these digests.
fn render_name(agent: &[u8; 32], modules: &[u8; 32]) -> io::Result<String> {
    let parts = format!("{LAYOUT}\n{}\n{}\n", render_hex(agent), render_hex(modules));
    let name = render_hex(&sha256(&mut parts.as_bytes())?);
    Ok(format!("{}.cpio", &name[..SHORT_DIGEST]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_and_each_kernel_has_its_own() {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().display().to_string();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 1, false).unwrap();
        let agent = place.path().join("agent");
        let modules = place.path().join("modules.cpio");
        fs_err::write(&agent, "agent one").unwrap();
        fs_err::write(&modules, "070701 modules").unwrap();
        let plain = Kernel {
            name: Some("k".into()),
            version: "1".into(),
            directory: place.path().into(),
            vmlinux: place.path().join("vmlinux"),
            modules: None,
            loadable: None,
            placed: true,
            manifest: Default::default(),
        };
        let modular = Kernel { modules: Some(modules), ..plain.clone() };

        let mut known = KnownDigests::default();
        let first = ensure_initramfs(&paths, &plain, &agent, &mut known).unwrap();
        assert_eq!(ensure_initramfs(&paths, &plain, &agent, &mut known).unwrap(), first);
        let second = ensure_initramfs(&paths, &modular, &agent, &mut known).unwrap();
        assert!(fs_err::read(&second).unwrap().ends_with(b"070701 modules"));
        fs_err::write(&agent, "agent two").unwrap();
        let third = ensure_initramfs(&paths, &modular, &agent, &mut known).unwrap();
        assert!(first != second && second != third);
        let files = fs_err::read_dir(paths.cache_dir.join("initramfs")).unwrap().count();
        assert_eq!(files, 3);
    }
}
