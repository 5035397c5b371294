//! Images, as far as VMs have a say in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_proto::api::{Event, ImageView, ImportImage, ObtainImage};
use banger_proto::{Code, Problem};

use super::artifacts::vanished;
use super::{Engine, Host, Work};
use crate::image::ImageError;

impl Engine {
    /// Every image.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list_images(&self) -> Result<Vec<ImageView>, Problem> {
        Ok(self.inner.host.images.list().await?)
    }

    /// Gets an image. The last event is `image_ready` or `failed`.
    #[must_use]
    pub fn obtain_image(&self, asked: ObtainImage) -> Work {
        let host = Arc::clone(&self.inner.host);
        self.obtain(|progress| async move {
            let name = asked.name.unwrap_or_else(|| host.config.default_image_name.value.clone());
            host.images.ensure(&name, asked.force, &progress).await?;
            view_image(&host, &name).await.map(|image| Event::ImageReady { image })
        })
    }

    /// Makes an image of a root file system's tar file. The last event is `image_ready` or
    /// `failed`.
    #[must_use]
    pub fn import_image(&self, asked: ImportImage) -> Work {
        let host = Arc::clone(&self.inner.host);
        self.obtain(|progress| async move {
            if !Path::new(&asked.path).is_absolute() {
                let message = format!("path `{}` is not absolute", asked.path);
                return Err(Problem::new(Code::BadRequest, message));
            }
            let tar = PathBuf::from(asked.path);
            host.images.import(&asked.name, tar, asked.force, &progress).await?;
            view_image(&host, &asked.name).await.map(|image| Event::ImageReady { image })
        })
    }

    /// Deletes an image and returns it as it was.
    ///
    /// # Errors
    /// When it is not here, or VMs were made from it.
    pub async fn delete_image(&self, name: &str) -> Result<ImageView, Problem> {
        let host = &self.inner.host;
        let Some(image) = host.images.find(name).await? else {
            return Err(ImageError::NotHere(name.to_owned()).into());
        };
        let view = view_image(host, name).await?;
        // While names are held no VM can begin to use it.
        let _naming = self.inner.naming.lock().await;
        let handles = self.inner.registry.handles();
        let users = handles.iter().filter_map(|handle| {
            let shown = handle.shown.borrow();
            let record = &shown.record;
            let uses = match &record.base {
                Some(base) => base.path == image.path,
                None => record.plan.image == name,
            };
            uses.then(|| record.plan.name.to_string())
        });
        let vms: Vec<String> = users.collect();
        if !vms.is_empty() {
            return Err(ImageError::InUse { name: name.to_owned(), vms }.into());
        }
        host.images.delete(name).await?;
        Ok(view)
    }
}

async fn view_image(host: &Host, name: &str) -> Result<ImageView, Problem> {
    let images = host.images.list().await?;
    images.into_iter().find(|image| image.name == name).ok_or_else(|| vanished("image", name))
}
