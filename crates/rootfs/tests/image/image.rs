//! Making images, and judging them: `e2fsck` for the file system, the library's reader for what
//! is in it, `debugfs` where another opinion is wanted.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_rootfs::layers::{Built, ImageError, Layer, write_image};
use banger_rootfs::tree::Limits;
use mkext4::reader::Fs;
use mkext4::spec::Inode;
use mkext4::spec::inode::FileType;
use tempfile::TempDir;

use super::tar::Tar;

pub(crate) struct Image {
    place: TempDir,
    pub(crate) built: Built,
}

/// One name of an image and all that is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// `-`, `d`, `l`, `c`, `b`, `p` as in `ls`.
    pub(crate) kind: char,
    pub(crate) mode: u16,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) inode: u32,
    pub(crate) links: u16,
    /// Contents of a file, target of a link.
    pub(crate) contents: Vec<u8>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Makes an image of layers, which has to work, and checks it.
pub(crate) fn image(layers: impl IntoIterator<Item = Tar>) -> Image {
    try_image(layers, Limits::default()).unwrap_or_else(|error| panic!("{}", describe(&error)))
}

/// Why layers are refused.
pub(crate) fn refusal(layers: impl IntoIterator<Item = Tar>) -> String {
    refusal_within(layers, Limits::default())
}

pub(crate) fn refusal_within(layers: impl IntoIterator<Item = Tar>, limits: Limits) -> String {
    describe(&try_image(layers, limits).err().expect("it is refused"))
}

/// Layers are called `1`, `2` and so on.
pub(crate) fn try_image(
    layers: impl IntoIterator<Item = Tar>,
    limits: Limits,
) -> Result<Image, ImageError> {
    let place = tempfile::tempdir().unwrap();
    let layers = layers.into_iter().enumerate().map(|(number, tar)| {
        let path = place.path().join((number + 1).to_string());
        fs_err::write(&path, tar.bytes()).unwrap();
        Layer::of_file(path)
    });
    let layers: Vec<Layer> = layers.collect();
    image_of(place, &layers, limits)
}

pub(crate) fn image_of(
    place: TempDir,
    layers: &[Layer],
    limits: Limits,
) -> Result<Image, ImageError> {
    let path = place.path().join("image.ext4");
    let file = File::create_new(&path).unwrap();
    let built = write_image(layers, &file, limits, &|_| ControlFlow::Continue(()))?;
    check(&path);
    let image = Image { place, built };
    let reader = image.reader();
    let issues = reader.verify().unwrap();
    assert!(issues.is_empty(), "{issues:?}");
    Ok(image)
}

impl Image {
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("image.ext4")
    }

    fn reader(&self) -> Fs<File> {
        Fs::open(File::open(self.path()).unwrap()).unwrap()
    }

    /// Everything but the root and `lost+found`, by path.
    pub(crate) fn list(&self) -> BTreeMap<Vec<u8>, Listed> {
        let reader = self.reader();
        let mut list = BTreeMap::new();
        let mut pending = vec![(2, Vec::new())];
        while let Some((directory, prefix)) = pending.pop() {
            for entry in reader.read_dir(directory).unwrap() {
                if [&b"."[..], b"..", b"lost+found"].contains(&&*entry.name) {
                    continue;
                }
                let path = [&prefix[..], &entry.name].concat();
                let listed = read(&reader, entry.inode);
                if listed.kind == 'd' {
                    pending.push((entry.inode, [&path[..], b"/"].concat()));
                }
                list.insert(path, listed);
            }
        }
        list
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.list().keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    pub(crate) fn get(&self, path: impl AsRef<[u8]>) -> Listed {
        let reader = self.reader();
        let parts = path.as_ref().split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        let inode = parts.fold(2, |at, name| {
            let shown = String::from_utf8_lossy(name);
            reader.lookup(at, name).unwrap().unwrap_or_else(|| panic!("no `{shown}`"))
        });
        read(&reader, inode)
    }

    /// The length of a file that may be too long to be read.
    pub(crate) fn size(&self, path: &str) -> u64 {
        let reader = self.reader();
        reader.inode(reader.resolve(path).unwrap()).unwrap().size
    }

    pub(crate) fn cat(&self, path: impl AsRef<[u8]>) -> Vec<u8> {
        self.get(path).contents
    }

    pub(crate) fn debugfs(&self, request: &str) -> Vec<u8> {
        let output = Command::new("debugfs")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["-R", request])
            .arg(self.path())
            .output()
            .expect("debugfs of e2fsprogs is needed by this test");
        assert!(output.status.success(), "{request}");
        output.stdout
    }
}

fn read(reader: &Fs<File>, number: u32) -> Listed {
    let inode = reader.inode(number).unwrap();
    let (kind, contents) = match inode.file_type() {
        FileType::Regular => ('-', read_file(reader, number, &inode)),
        FileType::Dir => ('d', Vec::new()),
        FileType::Symlink => ('l', reader.symlink_target(number).unwrap()),
        FileType::CharDev => ('c', Vec::new()),
        FileType::BlockDev => ('b', Vec::new()),
        FileType::Fifo => ('p', Vec::new()),
        other => panic!("inode {number} is a {other:?}"),
    };
    let xattrs = reader.xattrs(number).unwrap().into_iter();
    Listed {
        kind,
        mode: inode.mode & 0o7777,
        owner: (inode.uid, inode.gid),
        mtime: Inode::timestamp(inode.mtime, inode.mtime_extra),
        inode: number,
        links: inode.links_count,
        contents,
        device: inode.dev_numbers(),
        xattrs: xattrs
            .map(|attr| (String::from_utf8(attr.full_name().unwrap()).unwrap(), attr.value))
            .collect(),
    }
}

/// The contents of a file, which with its holes may be longer than the file system.
fn read_file(reader: &Fs<File>, number: u32, inode: &Inode) -> Vec<u8> {
    let extents = reader.extents(number, inode).unwrap();
    let mut contents = vec![0; usize::try_from(inode.size).unwrap()];
    assert_eq!(reader.read_file_at(inode, &extents, 0, &mut contents).unwrap(), contents.len());
    contents
}

/// Asserts that nothing whatever is wrong with the file system.
pub(crate) fn check(path: &Path) {
    let output = Command::new("e2fsck")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .arg("-fn")
        .arg(path)
        .output()
        .expect("e2fsck of e2fsprogs is needed by this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// An error with all its causes.
pub(crate) fn describe(error: &dyn Error) -> String {
    let text = error.to_string();
    error.source().map_or(text.clone(), |cause| format!("{text}: {}", describe(cause)))
}
