//! Images: the local index, the catalogs, and getting what is missing.
//!
//! ```text
//! ensure(name) ─ here? ───────────────────────────────────▶ Image
//!                └ no ─ recipe, bundle or registry ─ index ──┘   one piece of work for all who ask
//! ```
//!
//! | part | responsible for |
//! |---|---|
//! | `catalog` | what can be had: an image's entry in a catalog, and the recipes |
//! | `index`, `manifest` | what is here |
//! | `collect` | removing files that nothing needs any more |
//! | `obtain` | which way an image is got |
//! | `build` | making one from its recipe |
//! | `bundle` | images as one file to fetch |
//! | `archive` | finding the image in an archive |
//! | `import`, `register` | taking one in that the user has |
//! | `config`, `oci` | from layers and a configuration to an image |
//! | `pull` | images from registries |
//! | `view` | what is told about images |
//!
//! Not responsible for the disks of VMs ([`crate::disk`]) or for how ext4 is written
//! (`banger_rootfs`).

mod archive;
mod build;
mod bundle;
mod catalog;
mod collect;
mod config;
mod error;
mod import;
mod index;
mod manifest;
mod obtain;
mod oci;
mod pull;
mod register;
mod view;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::api::{ImageList, ImageView, ImportImage, Pruned, RegisterImage, RunConfig};
use banger_proto::{ByteSize, ImageName, Paths, Problem, Reference};
use bytes::Bytes;
use futures_util::Stream;

pub use archive::ArchiveError;
use build::Builder;
pub use bundle::{MadeBundle, MakeBundle, make_bundle};
pub(crate) use catalog::CatalogImage;
use catalog::Origin;
pub use config::ConfigError;
pub use error::ImageError;
use index::Index;
pub(crate) use manifest::digest_of;
use manifest::{Location, Manifest};
use pull::Wanted;
pub use register::NoExt4;

use crate::artifact::{Flights, Lost, WORK, WorkDirs, blocking, near_name};
use crate::catalog::Catalogs;
use crate::exec::HostEnv;
use crate::fetcher::{FetchError, Fetcher};
use crate::progress::Progress;

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Name.
    pub name: String,
    /// Identity of its contents, hexadecimal; empty for a registered one.
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
    catalogs: Catalogs<CatalogImage>,
    state_dir: PathBuf,
    flights: Flights<Result<Manifest, Arc<ImageError>>>,
}

impl Images {
    /// The images under `paths`, made with programs found in `env` or got by `fetcher`;
    /// `catalog_url` is where more of them may be known.
    #[must_use]
    pub fn new(
        paths: &Paths,
        env: &HostEnv,
        fetcher: &Fetcher,
        catalog_url: Option<String>,
    ) -> Self {
        let directory = paths.images_dir();
        let work = WorkDirs::new(directory.join(WORK), env.clone());
        let builder = Builder {
            index: Index::new(directory),
            work,
            env: env.clone(),
            fetcher: fetcher.clone(),
        };
        let catalogs = Catalogs::new(catalog_url, fetcher, &paths.cache_dir);
        let state_dir = paths.state_dir.clone();
        Self { builder, catalogs, state_dir, flights: Flights::new() }
    }

    /// Makes the place of images this daemon's, and removes what work left that was killed with
    /// its daemon; for its start.
    pub async fn remove_leftovers(&self) {
        self.builder.work.remove_leftovers().await;
        let (index, state_dir) = (self.index().clone(), self.state_dir.clone());
        let marked = blocking(move || collect::mark_user(&index, &state_dir)).await;
        if let Ok(Err(error)) = marked {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the use of the images was not noted");
        }
    }

    /// All images by name, those that can be had included.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(&self) -> Result<ImageList, ImageError> {
        let index = self.index().clone();
        let here = blocking(move || {
            let manifests = index.load_all()?;
            let view = |manifest| view::view_of_local(index.directory(), manifest);
            Ok::<_, ImageError>(manifests.into_values().map(view).collect::<Vec<ImageView>>())
        });
        let here = here.await.map_err(|source| lost("", source))??;
        let known = self.catalogs.load().await?;
        let mut images: Vec<ImageView> = known
            .entries
            .into_iter()
            .filter(|(name, _)| here.iter().all(|view| view.name != *name))
            .map(|(_, image)| view::view_of_catalog(image))
            .chain(here.iter().cloned())
            .collect();
        images.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(ImageList { images, notices: known.notices })
    }

    /// The image that `name` means, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read, or its file is gone.
    pub async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        self.load(name).await?.map(|manifest| self.image(manifest)).transpose()
    }

    /// The kernel that the image wants which `name` means, as far as that is known: of one that is
    /// here, or of what a catalog says.
    ///
    /// # Errors
    /// When the index cannot be read, or its file is gone.
    pub async fn kernel_of(&self, name: &str) -> Result<Option<String>, ImageError> {
        match self.find(name).await? {
            Some(image) => Ok(image.kernel_ref),
            None => {
                let known = self.catalogs.load().await?.entries;
                Ok(known.get(name).and_then(|image| image.kernel_ref.clone()))
            }
        }
    }

    /// What is told about the image that `name` means, if it is here.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn view(&self, name: &str) -> Result<Option<ImageView>, ImageError> {
        let manifest = self.load(name).await?;
        Ok(manifest.map(|manifest| view::view_of_local(self.index().directory(), manifest)))
    }

    /// The image `name`; got first if it is not here, or anew with `force`. Who asks while it is
    /// on its way waits for the same work. When nobody waits any more, the work ends.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be had.
    pub async fn ensure(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        if !force && let Some(image) = self.find(name).await? {
            return Ok(image);
        }
        let mut known = self.catalogs.load().await?;
        for notice in std::mem::take(&mut known.notices) {
            progress.notice(notice);
        }
        let builder = self.builder.clone();
        let outcome = if let Some(image) = known.entries.remove(name) {
            let work = |progress| async move {
                obtain::obtain_known(builder, image, progress).await.map_err(Arc::new)
            };
            self.flights.join(name, progress, work).await
        } else {
            let Ok(reference) = name.parse::<Reference>() else {
                return Err(self.unknown(name).await?);
            };
            let as_name = match self.load(name).await? {
                Some(replaced) => replaced.name.parse()?,
                None => reference.familiar().parse::<ImageName>()?,
            };
            // Names with a registry or a user in common are alike without meaning anything alike.
            let near = match name.contains('/') {
                true => None,
                false => near_name(name, &self.names().await?).cloned(),
            };
            let wanted = Wanted { reference, asked: name.to_owned(), near };
            let work = |progress| async move {
                let work = obtain::obtain_unknown(builder, as_name, wanted, progress);
                work.await.map_err(Arc::new)
            };
            self.flights.join(name, progress, work).await
        };
        let manifest = outcome.map_err(|source| lost(name, source))?.map_err(ImageError::Shared)?;
        self.image(manifest)
    }

    /// The image `name` as it is now where it comes from: one from a registry is got again if its
    /// tag means another by now. With `force` it is got again in any case. What cannot change, or
    /// of which nobody can tell, is left as it is.
    ///
    /// # Errors
    /// As for [`ensure`](Self::ensure).
    pub async fn pull(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let here = if force { None } else { self.load(name).await? };
        let Some(manifest) = here else { return self.ensure(name, force, progress).await };
        let shown = &manifest.name;
        let Some(reference) = pull::parse_source(&manifest.source) else {
            progress.notice(format!("Image `{shown}` is here already; --force gets it again."));
            return self.image(manifest);
        };
        progress.update(format!("asking {}", reference.registry()), 0, None);
        let resolve = async { Ok(self.builder.fetcher.registry()?.resolve(&reference).await?) };
        let failed = |source: FetchError| {
            let source = Box::new(source);
            ImageError::Fetch { name: shown.clone(), near: None, source }
        };
        let digest = resolve.await.map_err(failed)?;
        if pull::render_source(&reference, &digest) == manifest.source {
            progress.notice(format!("Image `{shown}` is up to date."));
            return self.image(manifest);
        }
        self.ensure(shown, true, progress).await
    }

    /// Makes the image `name` from its recipe, if it is not here or with `force`.
    ///
    /// # Errors
    /// When there is no such recipe, or the image cannot be made.
    pub async fn build(
        &self,
        name: &str,
        force: bool,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let known = self.catalogs.load().await?.entries;
        if matches!(known.get(name).map(|image| &image.origin), Some(Origin::Recipe { .. })) {
            self.ensure(name, force, progress).await
        } else {
            Err(ImageError::NoRecipe(name.to_owned()))
        }
    }

    /// Makes an image of an archive that the user has.
    ///
    /// # Errors
    /// When the name is taken and is not to be replaced, or the archive cannot be used.
    pub async fn import(
        &self,
        asked: ImportImage,
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let work = import::import_image(self.builder.clone(), asked, progress.clone());
        self.image(work.await?)
    }

    /// Makes an image of the archive that `body` is.
    ///
    /// # Errors
    /// As for [`import`](Self::import), and when the body ends early.
    pub async fn receive(
        &self,
        asked: ImportImage,
        body: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
        progress: &Progress,
    ) -> Result<Image, ImageError> {
        let work = import::receive_image(self.builder.clone(), asked, body, progress.clone());
        self.image(work.await?)
    }

    /// Takes in a file system whose file stays where it is.
    ///
    /// # Errors
    /// When it is no ext4 file system, or the name is taken and is not to be replaced.
    pub async fn register(&self, asked: RegisterImage) -> Result<Image, ImageError> {
        self.image(register::register_image(self.index().clone(), asked).await?)
    }

    /// Copies the file of a registered image to where images are.
    ///
    /// # Errors
    /// When the image is none, its file is gone, or there is no room.
    pub async fn promote(&self, name: &str, progress: &Progress) -> Result<Image, ImageError> {
        let manifest =
            self.load(name).await?.ok_or_else(|| ImageError::NotHere(name.to_owned()))?;
        // Says so if its file is gone.
        self.image(manifest.clone())?;
        let work = register::promote_image(self.builder.clone(), manifest, progress.clone());
        self.image(work.await?)
    }

    /// Takes the image that `name` means out of the index. That no VM uses it is for the caller
    /// to know; its file goes with the next [`collect`](Self::collect).
    ///
    /// # Errors
    /// When it is not here, or cannot be removed.
    pub async fn delete(&self, name: &str) -> Result<(), ImageError> {
        let manifest =
            self.load(name).await?.ok_or_else(|| ImageError::NotHere(name.to_owned()))?;
        let index = self.index().clone();
        let removed = blocking(move || index.remove(&manifest.name)).await;
        removed.map_err(|source| lost(name, source))?
    }

    /// Removes the files that nothing needs any more. `used` tells which files VMs were made
    /// from; it is asked while no image can be replaced. It says nothing while a VM is being made
    /// whose file is not known yet: then all are kept, for that VM's end is the next occasion.
    ///
    /// All of it is one piece of blocking work: who held the lock and then had to wait for a thread
    /// could wait for those that wait for the lock.
    ///
    /// # Errors
    /// When `used` fails, or the index cannot be read.
    pub async fn collect(
        &self,
        used: impl FnOnce() -> Result<Option<Vec<PathBuf>>, Problem> + Send + 'static,
    ) -> Result<Pruned, Problem> {
        let (index, state_dir) = (self.index().clone(), self.state_dir.clone());
        let collected = blocking(move || {
            let held = index.lock().map_err(ImageError::from)?;
            let Some(used) = used()? else { return Ok(Pruned::default()) };
            Ok(collect::remove_unused(&index, &held, &state_dir, &used)?)
        });
        collected.await.map_err(|source| lost("", source))?
    }

    /// Removes what killed work left and the layers in the cache, and tells how much it was. What
    /// is being read or fetched stays.
    ///
    /// # Errors
    /// When the cache cannot be read, or something in it cannot be removed.
    pub async fn prune_cache(&self) -> Result<Pruned, ImageError> {
        let mut pruned = self.builder.work.remove_leftovers().await;
        let blobs = self.builder.fetcher.blobs().clone();
        let removed = blocking(move || blobs.prune(&BTreeSet::new())).await;
        let removed = removed.map_err(|source| lost("", source))??;
        pruned.files += removed.count;
        pruned.bytes = ByteSize::from_bytes(pruned.bytes.bytes() + removed.bytes);
        Ok(pruned)
    }

    /// Whether `one` and `other` mean the same image, here or not.
    #[must_use]
    pub fn same_name(one: &str, other: &str) -> bool {
        let reference = |name: &str| name.parse::<Reference>().ok();
        one == other || reference(one).is_some_and(|one| Some(one) == reference(other))
    }

    async fn load(&self, name: &str) -> Result<Option<Manifest>, ImageError> {
        let (index, wanted) = (self.index().clone(), name.to_owned());
        let found = blocking(move || index.load(&wanted)).await;
        found.map_err(|source| lost(name, source))?
    }

    async fn unknown(&self, name: &str) -> Result<ImageError, ImageError> {
        let known = self.names().await?;
        let near = near_name(name, &known).cloned();
        Ok(ImageError::Unknown { name: name.to_owned(), near, known })
    }

    /// All names, of what is here and of what can be had.
    async fn names(&self) -> Result<Vec<String>, ImageError> {
        Ok(self.list().await?.images.into_iter().map(|view| view.name).collect())
    }

    fn index(&self) -> &Index {
        &self.builder.index
    }

    fn image(&self, manifest: Manifest) -> Result<Image, ImageError> {
        let path = manifest.path_in(self.index().directory());
        let path = path.ok_or_else(|| ImageError::NotHere(manifest.name.clone()))?;
        if matches!(manifest.location, Location::Registered { .. }) && !path.is_file() {
            return Err(ImageError::Gone { name: manifest.name, path });
        }
        Ok(Image {
            path,
            name: manifest.name,
            digest: manifest.digest,
            size: manifest.size,
            kernel_ref: manifest.kernel_ref,
            run: manifest.run,
            description: manifest.description,
        })
    }
}

fn lost(name: &str, source: Lost) -> ImageError {
    ImageError::Lost { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests;
