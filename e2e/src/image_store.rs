//! What a home has of images: pulling them, finding their files, and what is left of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Home, files};

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

    /// Files of images and kernels that are not finished, in the data and cache directories.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        let is_unfinished = |dir: &Path, path: &str| {
            let inside = path.strip_prefix(&dir.display().to_string()).unwrap_or(path);
            inside.ends_with(".partial") || inside.contains(".work/")
        };
        let unfinished_in =
            |dir: PathBuf| files(&dir).into_iter().filter(move |path| is_unfinished(&dir, path));
        [self.data_dir(), self.cache_dir()].into_iter().flat_map(unfinished_in).collect()
    }

    /// Asserts that no image is here, nor a part of one; complete layers may be.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn expect_no_image(&self) {
        assert_eq!(self.count_images(), (0, 0), "{:#?}", files(&self.data_dir()));
        assert_eq!(self.unfinished(), Vec::<String>::new());
    }
}
