//! What a home has of images: pulling them, finding their files, and what is left of them.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::{Changes, Home, files};

impl Home {
    /// Pulls an image and returns the name it has here.
    #[must_use]
    #[track_caller]
    pub fn pull(&self, reference: &str) -> String {
        let ran = self.banger(["image", "pull", reference]).expect_code(0);
        let name = ran.stdout.trim_end().to_owned();
        assert!(!name.is_empty() && !name.contains('\n'), "not one name: {}", ran.stdout);
        name
    }

    /// The file system of the image `name`.
    ///
    /// # Panics
    /// When there is no such image.
    #[must_use]
    #[track_caller]
    pub fn image_file(&self, name: &str) -> PathBuf {
        let dir = self.data_dir().join("images");
        let manifests = fs::read_dir(&dir).into_iter().flatten().flatten();
        let manifests = manifests.filter_map(|file| {
            let text = fs::read(file.path()).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        });
        let file = manifests
            .filter(|manifest| manifest["name"] == name)
            .find_map(|manifest| manifest["file"].as_str().map(|file| dir.join(file)));
        file.unwrap_or_else(|| panic!("no image `{name}` in {}", dir.display()))
    }

    /// How many files of images there are, and how many manifests.
    #[must_use]
    pub fn count_images(&self) -> (usize, usize) {
        let all = files(&self.data_dir().join("images"));
        let count = |suffix| all.iter().filter(|file| file.ends_with(suffix)).count();
        (count(".ext4"), count(".json"))
    }

    /// What is being received, in the cache: a later pull goes on with it.
    #[must_use]
    pub fn partial_blobs(&self) -> Vec<String> {
        let mut all = files(&self.cache_dir());
        all.retain(|path| path.ends_with(".partial"));
        all
    }

    /// What images and kernels are being made of, in the data directory.
    #[must_use]
    pub fn work(&self) -> Vec<String> {
        let mut all = files(&self.data_dir());
        all.retain(|path| path.contains("/.work/"));
        all
    }

    /// Waits until nothing is being made any more: a daemon tidies up after it has answered.
    ///
    /// # Panics
    /// When something stays.
    #[track_caller]
    pub fn wait_until_tidy(&self) {
        Changes::below(&[self.data_dir()])
            .wait_until("nothing is left in `.work`", |_| self.work().is_empty());
    }

    /// Asserts that no image is here, nor a part of one; layers may be.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn expect_no_image(&self) {
        self.wait_until_tidy();
        assert_eq!(self.count_images(), (0, 0), "{:#?}", files(&self.data_dir()));
    }
}
