//! Which images there are.

use std::path::{Path, PathBuf};

use super::{engine, many, odd, small};

/// An image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// A few programs and a shell, no init: `/etc/passwd`, an environment, a working directory
    /// and a user.
    Busybox,
    /// Debian's smallest set of packages.
    Debian,
    /// One static program, no shell, no `/etc`, a user without a name.
    Distroless,
    /// 100,000 small files, 1 GB, in three layers that replace and remove.
    Many,
    /// Everything that a layer can hold.
    Odd,
    /// [`Sample::Odd`] with layers that zstd compressed.
    OddZstd,
    /// [`Sample::Odd`] with layers as they are.
    OddPlain,
    /// Debian with systemd and a container engine.
    Engine,
}

/// How an image's layers are compressed in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// The usual.
    Gzip,
    /// The newer.
    Zstd,
    /// Not at all.
    None,
}

/// How an image is made.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Tars, the lowest first; removed once they are in the image.
    pub(super) layers: Vec<PathBuf>,
    /// Options of `umoci config`.
    pub(super) config: Vec<String>,
}

impl Sample {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Busybox,
        Self::Debian,
        Self::Distroless,
        Self::Many,
        Self::Odd,
        Self::OddZstd,
        Self::OddPlain,
        Self::Engine,
    ];

    /// Its name and tag in a registry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox:latest",
            Self::Debian => "debian:minbase",
            Self::Distroless => "distroless:latest",
            Self::Many => "many:latest",
            Self::Odd => "odd:gzip",
            Self::OddZstd => "odd:zstd",
            Self::OddPlain => "odd:plain",
            Self::Engine => "engine:latest",
        }
    }

    pub(super) fn layout_tag(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian",
            Self::Distroless => "distroless",
            Self::Many => "many",
            Self::Odd | Self::OddZstd | Self::OddPlain => "odd",
            Self::Engine => "engine",
        }
    }

    pub(super) fn compression(self) -> Compression {
        match self {
            Self::OddZstd => Compression::Zstd,
            Self::OddPlain => Compression::None,
            _ => Compression::Gzip,
        }
    }

    /// Writes its layers into `work`.
    pub(super) fn recipe(self, work: &Path) -> Recipe {
        match self {
            Self::Busybox => small::busybox(work),
            Self::Debian => small::debian(work),
            Self::Distroless => small::distroless(work),
            Self::Many => many::recipe(work),
            Self::Odd | Self::OddZstd | Self::OddPlain => odd::recipe(work),
            Self::Engine => engine::recipe(work),
        }
    }
}

impl Recipe {
    /// An image of `layers` with `config`, options of `umoci config` each with its value.
    pub(super) fn new(layers: Vec<PathBuf>, config: &[(&str, &str)]) -> Self {
        let option = |(name, value): &(&str, &str)| format!("--config.{name}={value}");
        Self { layers, config: config.iter().map(option).collect() }
    }
}
