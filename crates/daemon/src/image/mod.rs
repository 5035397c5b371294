//! Images: the local index, the catalog, and making what is missing.
//!
//! ```text
//! ensure(name) ─ here? ──────────────────────────────▶ Image
//!                └ no ─ catalog ─ recipe ─ build ─ index ─┘   one build for all who ask
//! ```
//!
//! | part | responsible for |
//! |---|---|
//! | `catalog` | what can be made |
//! | `index` | what is here |
//! | `build` | making one |
//! | `import` | taking one in that the user has, and deleting one |
//! | [`mmdebstrap`] | packages into a tar, for images and kernels |
//! | `single_flight` | one piece of work for all who ask |
//! | `work_dir` | directories that go away whatever happens |
//!
//! Not responsible for the disks of VMs ([`crate::disk`]) or for how ext4 is written
//! (`banger_rootfs`).

mod build;
pub(crate) mod catalog;
mod error;
mod import;
mod index;
pub mod mmdebstrap;
pub(crate) mod single_flight;
pub(crate) mod work_dir;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::api::{ImageView, RunConfig};
use banger_proto::{ByteSize, Paths};

use crate::exec::HostEnv;
use crate::progress::Progress;
use build::{Builder, build_image};
use catalog::{CatalogImage, load_catalog, near_name};
pub use error::ImageError;
pub(crate) use index::save_atomically;
use index::{Manifest, load, load_all};
use single_flight::Flights;
pub use single_flight::Lost;
use work_dir::WorkDirs;

/// Name of the directory for work, among the results.
pub(crate) const WORK: &str = ".work";

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Name.
    pub name: String,
    /// What it is made of and how, as a SHA-256, hexadecimal.
    pub digest: String,
    /// The ext4 file; it is only read, and never changed in place.
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub size: ByteSize,
    /// Kernel it wants; absent for the default one.
    pub kernel_ref: Option<String>,
    /// What it says about running it.
    pub run: RunConfig,
    /// One line about it.
    pub description: String,
}

/// The images of one user.
#[derive(Debug, Clone)]
pub struct Images {
    builder: Builder,
    flights: Flights<Result<Manifest, Arc<ImageError>>>,
}

impl Images {
    /// The images under `paths`, made with programs found in `env`.
    #[must_use]
    pub fn new(paths: &Paths, env: &HostEnv) -> Self {
        let images = paths.images_dir();
        let work = WorkDirs::new(images.join(WORK), env.clone());
        let builder = Builder { images, work, env: env.clone() };
        Self { builder, flights: Flights::new() }
    }

    /// Removes what builds left that were killed with their daemon; for its start.
    pub async fn remove_leftovers(&self) {
        self.builder.work.remove_leftovers().await;
    }

    /// All images by name, those that can be made included.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(&self) -> Result<Vec<ImageView>, ImageError> {
        let images = self.builder.images.clone();
        let here = blocking(move || load_all(&images)).await;
        let here = here.map_err(|source| lost("", source))??;
        let mut views: BTreeMap<String, ImageView> = load_catalog()?
            .into_iter()
            .map(|image| (image.name.clone(), view_of_catalog(image)))
            .collect();
        views.extend(here.into_iter().map(|(name, manifest)| (name, view_of_local(manifest))));
        Ok(views.into_values().collect())
    }

    /// The image `name`, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let (images, wanted) = (self.builder.images.clone(), name.to_owned());
        let found = blocking(move || load(&images, &wanted)).await;
        let found = found.map_err(|source| lost(name, source))??;
        Ok(found.map(|manifest| self.image(manifest)))
    }

    /// The image `name`; made first if it is not here, or anew with `force`. Who asks while it is
    /// being made waits for the same work. When nobody waits any more, the work ends.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be made.
    pub async fn ensure(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        if !force && let Some(image) = self.find(name).await? {
            return Ok(image);
        }
        let Some(image) = load_catalog()?.into_iter().find(|image| image.name == name) else {
            return Err(self.unknown(name).await?);
        };
        let builder = self.builder.clone();
        let work =
            |progress| async move { build_image(builder, image, progress).await.map_err(Arc::new) };
        let outcome = self.flights.join(name, progress, work).await;
        let manifest = outcome.map_err(|source| lost(name, source))?.map_err(ImageError::Shared)?;
        Ok(self.image(manifest))
    }

    /// Makes the image `name` of the tar file `tar` of a root file system.
    ///
    /// # Errors
    /// When the name is taken and `force` not set, or the archive cannot be used.
    pub async fn import(
        &self,
        name: &str,
        tar: PathBuf,
        force: bool,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let (builder, progress) = (self.builder.clone(), progress.clone());
        let manifest = import::import_image(builder, name.to_owned(), tar, force, progress).await?;
        Ok(self.image(manifest))
    }

    /// Deletes the image `name`. That no VM uses it is for the caller to know.
    ///
    /// # Errors
    /// When it is not here, or cannot be removed.
    pub async fn delete(&self, name: &str) -> Result<(), ImageError> {
        import::delete_image(self.builder.clone(), name.to_owned()).await
    }

    async fn unknown(&self, name: &str) -> Result<ImageError, ImageError> {
        let known: Vec<String> = self.list().await?.into_iter().map(|view| view.name).collect();
        let near = near_name(name, &known).cloned();
        Ok(ImageError::Unknown { name: name.to_owned(), near, known })
    }

    fn image(&self, manifest: Manifest) -> Image {
        Image {
            path: self.builder.images.join(&manifest.file),
            name: manifest.name,
            digest: manifest.digest,
            size: manifest.size,
            kernel_ref: manifest.kernel_ref,
            run: manifest.run,
            description: manifest.description,
        }
    }
}

fn view_of_catalog(image: CatalogImage) -> ImageView {
    ImageView {
        name: image.name,
        description: image.description,
        digest: None,
        size: ByteSize::default(),
        created_at: None,
        local: false,
        source: None,
        kernel: image.kernel_ref,
        run: RunConfig { env: image.env, ..RunConfig::default() },
    }
}

fn view_of_local(manifest: Manifest) -> ImageView {
    ImageView {
        name: manifest.name,
        description: manifest.description,
        digest: Some(manifest.digest),
        size: manifest.size,
        created_at: Some(manifest.created_at),
        local: true,
        source: Some(manifest.source),
        kernel: manifest.kernel_ref,
        run: manifest.run,
    }
}

fn lost(name: &str, source: Lost) -> ImageError {
    ImageError::Lost { name: name.to_owned(), source }
}

/// Runs file work where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Lost)
}

#[cfg(test)]
mod tests {
    use banger_proto::Problem;

    use super::*;

    /// Images in an empty place, with a host on which nothing is installed.
    fn images(place: &tempfile::TempDir) -> Images {
        let home = place.path().display().to_string();
        let paths = Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 1000).unwrap();
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| "/nonexistent".into()));
        Images::new(&paths, &env)
    }

    #[tokio::test]
    async fn what_can_be_made_is_listed_and_not_found() {
        let place = tempfile::tempdir().unwrap();
        let images = images(&place);
        let listed = images.list().await.unwrap();
        let view = listed.iter().find(|view| view.name == "debian-bookworm").unwrap();
        assert!(!view.local && view.digest.is_none());
        assert_eq!(images.find("debian-bookworm").await.unwrap(), None);
    }

    #[tokio::test]
    async fn unknown_ones_are_refused_with_names() {
        let place = tempfile::tempdir().unwrap();
        let outcome = images(&place).ensure("debian-bokworm", false, &Progress::none()).await;
        let problem = Problem::from(outcome.unwrap_err());
        assert_eq!(problem.message, "unknown image `debian-bokworm`");
        assert_eq!(problem.hints[0], "Did you mean `debian-bookworm`?");
        let outcome = images(&place).ensure("../../etc", false, &Progress::none()).await;
        assert!(matches!(outcome, Err(ImageError::Unknown { .. })));
    }

    #[tokio::test]
    async fn a_missing_packaging_tool_is_named_and_nothing_stays() {
        let place = tempfile::tempdir().unwrap();
        let images = images(&place);
        let outcome = images.ensure("debian-bookworm", false, &Progress::none()).await;
        let problem = Problem::from(outcome.unwrap_err());
        assert_eq!(problem.message, "cannot make image `debian-bookworm`");
        assert_eq!(
            problem.causes,
            ["`mmdebstrap` is not installed, which fetches and unpacks packages"]
        );
        assert_eq!(problem.hints, ["Install it: `sudo apt-get install mmdebstrap`."]);
        assert_eq!(images.find("debian-bookworm").await.unwrap(), None);
    }
}
