//! An archive that writes down what travels in it: one record for each repository.

use std::io;
use std::path::Path;

use banger_proto::guest::WORKSPACE_ID;

use super::archive::Archive;
use super::error::WorkspaceError;
use super::home::{Base, Recorder, record_of};

impl Archive {
    /// The same archive, which writes down in the empty directory `directory` what travels, once
    /// its stream has come to its end. `path` is what the repository is found by later, `id` what
    /// the guest's tree is known by.
    ///
    /// # Errors
    /// When git fails or the directory cannot be written.
    pub(crate) async fn recorded(
        mut self,
        directory: &Path,
        path: &Path,
        id: &str,
    ) -> Result<Self, WorkspaceError> {
        let failed = |source| WorkspaceError::Prepare { path: self.top.clone(), source };
        for part in &mut self.parts {
            let directory = record_of(directory, &part.path).map_err(failed)?;
            let metadata = part.metadata.directory.path();
            let below = str::from_utf8(&part.path).map_err(|_| WorkspaceError::Name {
                path: part.git.top_level.clone(),
                name: String::from_utf8_lossy(&part.path).into_owned(),
            })?;
            let is_top = part.path.is_empty();
            let base = Base {
                id: is_top.then(|| id.to_owned()),
                path: if is_top { path.to_owned() } else { part.git.top_level.clone() },
                below: below.to_owned(),
                commit: part.metadata.start.head.commit.clone(),
                branch: part.metadata.start.head.branch(),
                object_format: part.git.object_format.clone(),
                packs: list_packs(metadata).map_err(failed)?,
            };
            if is_top {
                fs_err::write(metadata.join(WORKSPACE_ID), id).map_err(failed)?;
            }
            let on_disk = part.metadata.tree.is_none();
            let index = metadata.join("index");
            let recorder = Recorder::begin(&part.git, &index, on_disk, &directory, base);
            part.recorder = Some(recorder.await?);
        }
        Ok(self)
    }
}

/// Names of the packs in a `.git`.
fn list_packs(git_dir: &Path) -> io::Result<Vec<String>> {
    let mut packs = Vec::new();
    for entry in fs_err::read_dir(git_dir.join("objects/pack"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".pack") {
            packs.push(name);
        }
    }
    Ok(packs)
}
