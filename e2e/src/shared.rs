//! The images and kernels that all tests use.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::Home;

/// Set to a directory, tests find there what they find in their checkout otherwise: `target/bin`,
/// `target/e2e/data` with a kernel, `docs`. For tests that run on another host.
pub(crate) const CHECKOUT: &str = "BANGER_E2E_CHECKOUT";
/// Set to lines of TOML, every home is configured so.
pub(crate) const CONFIG: &str = "BANGER_E2E_CONFIG";

/// Top of the checkout, or what stands in its place.
#[must_use]
pub fn checkout() -> PathBuf {
    std::env::var_os(CHECKOUT).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned(),
        PathBuf::from,
    )
}

/// Whether this is the checkout itself, where everything can be made that is not there.
#[must_use]
pub fn is_at_home() -> bool {
    std::env::var_os(CHECKOUT).is_none()
}

/// Where the programs under test are installed, as `make build` leaves them.
#[must_use]
pub fn prefix() -> PathBuf {
    checkout().join("target")
}

/// The program under test, as `make build` leaves it.
pub fn banger() -> PathBuf {
    checkout().join("target/bin/banger")
}

/// The data directory (`XDG_DATA_HOME`) with the default image and kernel in it.
pub(crate) fn data_dir() -> PathBuf {
    checkout().join("target/e2e/data")
}

/// The cache directory (`XDG_CACHE_HOME`).
pub(crate) fn cache_dir() -> PathBuf {
    checkout().join("target/e2e/cache")
}

/// Gets the default kernel, the first time any test asks.
pub(crate) fn ensure_kernel() {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        if is_at_home() {
            Home::empty().banger(["kernel", "pull"]).expect_code(0);
        }
    });
}

/// Makes the default image and kernel, the first time any test asks; in a home apart, so that
/// no test finds a daemon that it has not started.
pub(crate) fn ensure_image_and_kernel() {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        let home = Home::empty();
        home.banger(["kernel", "pull"]).expect_code(0);
        home.banger(["image", "build"]).expect_code(0);
        // And the initramfs, which the first VM makes.
        home.banger(["vm", "create", "--no-start", "--name", "first"]).expect_code(0);
        home.banger(["vm", "delete", "first"]).expect_code(0);
    });
}
