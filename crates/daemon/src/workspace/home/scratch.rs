//! A bare repository for one request, in which the host's git looks at what came from a guest.
//!
//! Its settings are written here and nobody else's are read: not the guest's, of which nothing is
//! ever stored, and not the user's, whose filters, hooks and aliases are not for a guest's files.
//! Objects of the host's repository are read through an alternate.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_tree::Room;
use banger_tree::blob::ObjectFormat;
use tempfile::TempDir;

use super::objects::Objects;
use super::record::Version;
use super::{HomeError, SCRATCH};
use crate::exec::{HostEnv, Program};
use crate::workspace::git::{ANSWER_LIMIT, LIST_LIMIT, quiet_git};
use crate::workspace::index::records;
use crate::workspace::metadata::quote_alternate;

/// Names that a file system somewhere takes for `.git` are refused by git itself.
const CONFIG: &str = "[core]\n\tbare = true\n\tprotectHFS = true\n\tprotectNTFS = true\n\
    \tattributesFile = /dev/null\n\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n\
    [pack]\n\tthreads = 1\n\twindowMemory = 256m\n";
/// Memory that git may have for what came from a guest, in bytes: an object that says that it
/// unfolds to more, or does, ends git and not the host. The largest files that git reads whole, of
/// 512 MiB (`core.bigFileThreshold`), fit a few times.
pub(super) const GIT_MEMORY: u64 = 4 << 30;

/// A bare repository; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    env: HostEnv,
    directory: TempDir,
    format: ObjectFormat,
    room: Room,
}

impl Scratch {
    /// Makes one in `parent` that reads the objects in `alternates`, too.
    pub(crate) fn create(
        env: &HostEnv,
        parent: &Path,
        format: ObjectFormat,
        alternates: &[&Path],
    ) -> Result<Self, HomeError> {
        let make = || {
            let directory = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(parent)?;
            let at = directory.path();
            for below in ["objects/info", "objects/pack", "refs/heads"] {
                fs_err::create_dir_all(at.join(below))?;
            }
            fs_err::write(at.join("HEAD"), "ref: refs/heads/none\n")?;
            let version = match format {
                ObjectFormat::Sha1 => "\trepositoryformatversion = 0\n".to_owned(),
                ObjectFormat::Sha256 => format!(
                    "\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = {}\n",
                    format.name()
                ),
            };
            fs_err::write(at.join("config"), format!("{CONFIG}[core]\n{version}"))?;
            let mut list = Vec::new();
            for alternate in alternates {
                list.extend_from_slice(quote_alternate(alternate).as_bytes());
                list.push(b'\n');
            }
            fs_err::write(at.join("objects/info/alternates"), list)?;
            Ok(directory)
        };
        let directory = make().map_err(HomeError::Scratch)?;
        Ok(Self { env: env.clone(), directory, format, room: Room::sparing() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its own objects.
    pub(crate) fn objects(&self) -> Objects {
        Objects::new(self.path().join("objects"), self.format).within(self.room.clone())
    }

    /// A git command about this repository.
    pub(crate) fn command(&self, verb: &'static str) -> Program {
        quiet_git(&self.env, verb)
            .memory(GIT_MEMORY)
            .current_dir(self.path())
            .env("GIT_DIR", self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .arg(verb)
    }

    /// Writes a tree and answers its name. Git refuses paths that no working tree can have or that
    /// cannot be there together.
    pub(crate) async fn write_tree<'a>(
        &self,
        files: impl Iterator<Item = (&'a [u8], &'a Version)>,
    ) -> Result<String, HomeError> {
        let index = self.path().join("index");
        let mut list = Vec::new();
        let mut paths = BTreeSet::new();
        for (path, version) in files {
            paths.insert(path);
            list.extend_from_slice(format!("{:o} {} 0\t", version.mode, version.id).as_bytes());
            list.extend_from_slice(path);
            list.push(0);
        }
        let with_index = |verb| self.command(verb).env("GIT_INDEX_FILE", &index).without_deadline();
        let fill = with_index("update-index").args(["-z", "--index-info"]).stdin_bytes(list);
        fill.run().await.map_err(HomeError::Tree)?;
        // A path that git does not take it leaves out, and goes on.
        let taken = with_index("ls-files").arg("-z").output(LIST_LIMIT).await;
        let taken = taken.map_err(HomeError::Tree)?;
        records(&taken).for_each(|path| {
            paths.remove(path);
        });
        if let Some(path) = paths.first() {
            return Err(HomeError::Odd(String::from_utf8_lossy(path).into_owned()));
        }
        let tree = with_index("write-tree").output(ANSWER_LIMIT).await.map_err(HomeError::Tree)?;
        fs_err::tokio::remove_file(index).await.map_err(HomeError::Scratch)?;
        Ok(String::from_utf8_lossy(tree.trim_ascii_end()).into_owned())
    }

    /// Contents of an object.
    pub(crate) async fn read_blob(&self, version: &Version) -> Result<Vec<u8>, HomeError> {
        let read = self.command("cat-file").args(["blob", &version.id.to_string()]);
        read.output(LIST_LIMIT).await.map_err(HomeError::Git)
    }

    /// What lies between two trees; `form` is how it is told.
    pub(crate) fn diff(&self, form: &[&str], from: &str, to: &str) -> Program {
        self.command("diff-tree")
            .without_deadline()
            .args(["-r", "--no-color", "--no-ext-diff", "--no-textconv"])
            .args(form)
            .args([OsStr::new(from), OsStr::new(to), OsStr::new("--")])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    /// A pack with one tree that says that it has `size` bytes, and that has only zeros.
    fn pack(size: u64) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        // Kind 2 and four bits of the size, then seven bits in each byte (gitformat-pack(5)).
        let (mut byte, mut left) = (2 << 4 | (size & 15) as u8, size >> 4);
        while left > 0 {
            pack.push(byte | 0x80);
            (byte, left) = ((left & 127) as u8, left >> 7);
        }
        pack.push(byte);
        let mut zeros = ZlibEncoder::new(pack, Compression::best());
        zeros.write_all(&[0; 1 << 20]).unwrap();
        zeros.finish().unwrap()
    }

    #[tokio::test]
    async fn a_pack_that_unfolds_to_more_than_memory_ends_git() {
        let env = HostEnv::from_env(|name| std::env::var_os(name));
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&env, parent.path(), ObjectFormat::Sha1, &[]).unwrap();
        let index = scratch.command("index-pack").args(["--stdin", "--fsck-objects"]);
        let error = index.stdin_bytes(pack(GIT_MEMORY)).run().await.unwrap_err();
        assert!(error.to_string().contains("emory"), "{error}");
    }
}
