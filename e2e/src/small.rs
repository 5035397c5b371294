//! Guests that boot fast and need little memory, for tests in which the guest does not matter.

use serde_json::json;

use crate::{Home, OciImage};

/// Name of their image.
pub const SMALL: &str = "small";

/// What the image has besides the shell.
const APPLETS: [&str; 8] = ["cat", "df", "hostname", "nc", "setsid", "sh", "sync", "true"];

impl Home {
    /// A fresh home with images of its own, and the only one is [`SMALL`]: a busybox, with the
    /// agent as process 1.
    ///
    /// # Panics
    /// When the image cannot be made.
    #[must_use]
    pub fn with_small_image() -> Self {
        let home = Self::apart().with_kernel();
        let image = OciImage::new(json!({})).busybox("bin/busybox");
        let link = |image: OciImage, name: &&str| image.link(&format!("bin/{name}"), "busybox");
        let passwd = b"root:x:0:0::/root:/bin/sh\n";
        let image = APPLETS.iter().fold(image, link).file("etc/passwd", 0o644, passwd);
        let archive = home.path().join("image.tar");
        image.write(&archive);
        let archive = archive.to_str().expect("path");
        home.banger(["image", "import", "--name", SMALL, archive]).expect_code(0);
        home
    }
}
