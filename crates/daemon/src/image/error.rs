//! Why an image cannot be found or made.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::{Code, Problem};
use banger_rootfs::layers;

use super::mmdebstrap::PackagingError;
use super::single_flight::Lost;
use crate::disk::NoSpace;

/// Why an image cannot be found or made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nobody knows it.
    #[error("unknown image `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// A name like it.
        near: Option<String>,
        /// All names there are.
        known: Vec<String>,
    },
    /// It can be made but is not here.
    #[error("there is no image `{0}` here")]
    NotHere(String),
    /// The name is taken.
    #[error("an image named `{0}` exists already")]
    Exists(String),
    /// No image can have this name.
    #[error("`{0}` cannot be the name of an image: use a-z, 0-9, `.`, `_` and `-`")]
    Name(String),
    /// VMs were made from it.
    #[error("image `{name}` is in use")]
    InUse {
        /// The image.
        name: String,
        /// The VMs.
        vms: Vec<String>,
    },
    /// The catalog in the program is broken.
    #[error("cannot read the catalog of images")]
    Catalog(#[source] serde_json::Error),
    /// The catalog in the program has another form.
    #[error("the catalog of images has the unknown version {0}")]
    CatalogVersion(u32),
    /// The catalog names a recipe that there is none of.
    #[error("there is no recipe `{0}`")]
    NoRecipe(String),
    /// A manifest in the index is broken.
    #[error("cannot read the manifest `{path}`")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no room.
    #[error("cannot make image `{name}`")]
    Space {
        /// The image.
        name: String,
        /// What is needed and what there is.
        #[source]
        source: NoSpace,
    },
    /// The packages could not be had.
    #[error("cannot make image `{name}`")]
    Packaging {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: PackagingError,
    },
    /// The file system could not be made of the packages.
    #[error("cannot make image `{name}`")]
    Write {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: layers::ImageError,
    },
    /// A file operation failed; the text says which.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Work in the background vanished.
    #[error("cannot make image `{name}`")]
    Lost {
        /// The image.
        name: String,
        /// How.
        #[source]
        source: Lost,
    },
    /// The same failure for everybody who waited for one piece of work.
    #[error(transparent)]
    Shared(Arc<ImageError>),
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        render_problem(&error)
    }
}

fn render_problem(error: &ImageError) -> Problem {
    match error {
        ImageError::Shared(error) => render_problem(error),
        ImageError::Unknown { near, known, .. } => {
            let problem = Problem::from_error(Code::NotFound, error);
            let problem = match near {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem,
            };
            problem.hint(format!("Known images: {}.", known.join(", ")))
        }
        ImageError::Packaging { source, .. } => {
            let problem = Problem::from_error(Code::OperationFailed, error);
            match source.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        }
        ImageError::NotHere(_) => Problem::from_error(Code::NotFound, error),
        ImageError::Name(_) => Problem::from_error(Code::BadRequest, error),
        ImageError::Exists(name) => Problem::from_error(Code::AlreadyExists, error)
            .hint(format!("replace it with --force, or delete it: banger image delete {name}")),
        ImageError::InUse { vms, .. } => Problem::from_error(Code::Conflict, error)
            .cause(format!("VMs were made from it: {}", vms.join(", ")))
            .hint(format!("delete them first: banger vm delete {}", vms.join(" "))),
        _ => Problem::from_error(Code::OperationFailed, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_image_comes_with_names() {
        let error = ImageError::Unknown {
            name: "debian-bokworm".into(),
            near: Some("debian-bookworm".into()),
            known: vec!["alpine".into(), "debian-bookworm".into()],
        };
        let problem = Problem::from(ImageError::Shared(Arc::new(error)));
        assert_eq!(problem.code, Code::NotFound);
        assert_eq!(problem.message, "unknown image `debian-bokworm`");
        assert_eq!(
            problem.hints,
            ["Did you mean `debian-bookworm`?", "Known images: alpine, debian-bookworm."]
        );
    }
}
