//! A bare repository for one request, in which the host's git looks at what came from a guest.
//!
//! Its settings are written here and nobody else's are read: not the guest's, of which nothing is
//! ever stored, and not the user's, whose filters, hooks and aliases are not for a guest's files.
//! Objects of the host's repository are read through an alternate.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_tree::blob::ObjectFormat;
use tempfile::TempDir;

use super::HomeError;
use super::objects::Objects;
use super::record::Version;
use crate::exec::{HostEnv, Program};
use crate::workspace::git::{ANSWER_LIMIT, LIST_LIMIT, quiet_git};
use crate::workspace::index::records;
use crate::workspace::metadata::quote_alternate;

/// Names that a file system somewhere takes for `.git` are refused by git itself.
const CONFIG: &str = "[core]\n\tbare = true\n\tprotectHFS = true\n\tprotectNTFS = true\n\
    \tattributesFile = /dev/null\n\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n";

/// A bare repository; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    env: HostEnv,
    directory: TempDir,
    format: ObjectFormat,
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
            let directory = tempfile::Builder::new().prefix("home-").tempdir_in(parent)?;
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
        Ok(Self { env: env.clone(), directory, format })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its own objects.
    pub(crate) fn objects(&self) -> Objects {
        Objects::new(self.path().join("objects"), self.format)
    }

    /// A git command about this repository.
    pub(crate) fn command(&self, verb: &'static str) -> Program {
        quiet_git(&self.env, verb)
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
