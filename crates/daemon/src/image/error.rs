//! Why an image cannot be found or made.

use std::path::PathBuf;
use std::sync::Arc;

use banger_proto::oci::ReferenceError;
use banger_proto::{ByteSize, Code, Problem};
use banger_rootfs::bundle::BundleError;
use banger_rootfs::layers;

use super::archive::ArchiveError;
use super::config::ConfigError;
use super::register::NoExt4;
use crate::artifact::Lost;
use crate::artifact::mmdebstrap::PackagingError;
use crate::catalog::CatalogError;
use crate::disk::NoSpace;
use crate::fetcher::FetchError;

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
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// No kernel can have this name.
    #[error("`{0}` cannot be the name of a kernel: use a-z, 0-9, `.`, `_` and `-`")]
    Kernel(String),
    /// A path that means something else to everybody.
    #[error("path `{0}` is not absolute")]
    Relative(PathBuf),
    /// A registered image whose file is not there any more.
    #[error("the file of image `{name}` is gone: `{path}`")]
    Gone {
        /// The image.
        name: String,
        /// Where the file was.
        path: PathBuf,
    },
    /// What only a registered image allows was asked of another.
    #[error("image `{0}` is not a registered one: its file is banger's own already")]
    NotRegistered(String),
    /// A file that is no file system.
    #[error("`{path}` is no ext4 file system")]
    NotExt4 {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: NoExt4,
    },
    /// An archive is no image.
    #[error("cannot import image `{name}`")]
    Archive {
        /// The image that was to be.
        name: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The bytes of an archive did not all come.
    #[error("cannot receive the archive")]
    Receive(#[source] std::io::Error),
    /// More bytes came than any archive may have.
    #[error("cannot receive the archive: it has more than {}", .0.human())]
    TooLong(ByteSize),
    /// A bundle is none.
    #[error("cannot use the bundle of image `{name}`")]
    Bundle {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// The manifest in a bundle is of another image.
    #[error("the bundle of image `{name}` is one of `{found}`")]
    OtherBundle {
        /// The image.
        name: String,
        /// What is in the bundle.
        found: String,
    },
    /// It does not come over the network.
    #[error("cannot get image `{name}`")]
    Fetch {
        /// The image.
        name: String,
        /// A name like it.
        near: Option<String>,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// A layer in the cache is not what it was.
    #[error("cannot make image `{name}`: its layer `{layer}` was damaged on this disk")]
    Damaged {
        /// The image.
        name: String,
        /// Digest of the layer.
        layer: String,
    },
    /// Its registry has an image that does not run here.
    #[error("cannot use image `{name}`")]
    Config {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// Nobody waits for it any more.
    #[error("making image `{0}` was given up")]
    Cancelled(String),
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
    Catalog(#[from] CatalogError),
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
        ImageError::Unknown { near, known, .. } => Problem::from_error(Code::NotFound, error)
            .hints(render_near(near.as_ref()))
            .hint(format!("Known images: {}.", known.join(", "))),
        ImageError::Fetch { near, source, .. } => {
            let cause = Problem::from(&**source);
            Problem::from_error(cause.code, error)
                .hints(render_near(near.as_ref()))
                .hints(cause.hints)
        }
        ImageError::Damaged { name, .. } => Problem::from_error(Code::OperationFailed, error)
            .hint(format!("get it again, the layer was removed: banger image pull {name}")),
        ImageError::NoRecipe(name) => Problem::from_error(Code::NotFound, error)
            .hint(format!("from wherever else it is: banger image pull {name}")),
        ImageError::Space { source, .. } => {
            Problem::from_error(Code::OperationFailed, error).hints(source.hints())
        }
        ImageError::Packaging { source, .. } => {
            let problem = Problem::from_error(Code::OperationFailed, error);
            match source.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            }
        }
        ImageError::NotHere(_) => {
            Problem::from_error(Code::NotFound, error).hint("banger image list")
        }
        ImageError::Name(_)
        | ImageError::Kernel(_)
        | ImageError::Relative(_)
        | ImageError::NotExt4 { .. }
        | ImageError::Config { .. } => Problem::from_error(Code::BadRequest, error),
        ImageError::Gone { name, .. } => Problem::from_error(Code::NotFound, error)
            .hint(format!("put it back, or forget the image: banger image delete {name}")),
        ImageError::NotRegistered(_) => Problem::from_error(Code::Conflict, error),
        ImageError::Cancelled(_) => Problem::from_error(Code::Cancelled, error),
        ImageError::Exists(name) => Problem::from_error(Code::AlreadyExists, error)
            .hint(format!("replace it with --force, or delete it: banger image delete {name}")),
        ImageError::InUse { vms, .. } => Problem::from_error(Code::Conflict, error)
            .cause(format!("VMs were made from it: {}", vms.join(", ")))
            .hint(format!("delete them first: banger vm delete {}", vms.join(" "))),
        _ => Problem::from_error(Code::OperationFailed, error),
    }
}

fn render_near(near: Option<&String>) -> Option<String> {
    near.map(|near| format!("Did you mean `{near}`?"))
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
