//! Writing a layer: a tar with forms that no packaging tool would write.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// When things in the images were modified, unless they say otherwise: 2020-09-13.
const MODIFIED: i64 = 1_600_000_000;

/// A layer that is being written.
pub(super) struct Layer {
    tar: Builder<BufWriter<File>>,
    path: PathBuf,
}

/// What an entry is, apart from its kind and contents.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    mode: u32,
    owner: (u64, u64),
    modified: (i64, u32),
    /// Records of an extended header.
    records: Vec<(String, Vec<u8>)>,
}

/// Attributes of something of root's with `mode`.
pub(super) fn mode(mode: u32) -> Attributes {
    Attributes { mode, owner: (0, 0), modified: (MODIFIED, 0), records: Vec::new() }
}

impl Attributes {
    pub(super) fn owner(mut self, user: u64, group: u64) -> Self {
        self.owner = (user, group);
        self
    }

    /// Seconds since 1970, and nanoseconds, which only an extended header can hold.
    pub(super) fn modified(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.modified = (seconds, nanoseconds);
        let text = format!("{seconds}.{nanoseconds:09}");
        self.record("mtime", text.as_bytes())
    }

    pub(super) fn xattr(self, name: &str, value: &[u8]) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    /// A record of the extended header, whatever it says.
    pub(super) fn record(mut self, key: &str, value: &[u8]) -> Self {
        self.records.push((key.to_owned(), value.to_vec()));
        self
    }
}

impl Layer {
    /// Begins the layer `name` in `work`.
    pub(super) fn create(work: &Path, name: &str) -> Self {
        let path = work.join(format!("{name}.tar"));
        let file = File::create_new(&path).expect("layer");
        Self { tar: Builder::new(BufWriter::with_capacity(1 << 20, file)), path }
    }

    /// Begins a layer that says what the root is, as the lowest of an image does.
    pub(super) fn lowest(work: &Path, name: &str) -> Self {
        let mut layer = Self::create(work, name);
        layer.directory(".", &mode(0o755));
        layer
    }

    pub(super) fn directory(&mut self, path: impl AsRef<[u8]>, attributes: &Attributes) {
        let path = [path.as_ref(), b"/"].concat();
        self.entry(EntryType::Directory, &path, attributes, &[]);
    }

    pub(super) fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        attributes: &Attributes,
        contents: &[u8],
    ) {
        self.entry(EntryType::Regular, path.as_ref(), attributes, contents);
    }

    pub(super) fn fifo(&mut self, path: impl AsRef<[u8]>, attributes: &Attributes) {
        self.entry(EntryType::Fifo, path.as_ref(), attributes, &[]);
    }

    /// A character or block device.
    pub(super) fn device(
        &mut self,
        path: impl AsRef<[u8]>,
        attributes: &Attributes,
        kind: EntryType,
        (major, minor): (u32, u32),
    ) {
        let mut header = self.header(kind, attributes, 0);
        header.set_device_major(major).expect("major number");
        header.set_device_minor(minor).expect("minor number");
        self.append(header, path.as_ref(), &[]);
    }

    pub(super) fn symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        attributes: &Attributes,
        target: impl AsRef<[u8]>,
    ) {
        let mut header = self.header(EntryType::Symlink, attributes, 0);
        let (path, target) = (OsStr::from_bytes(path.as_ref()), OsStr::from_bytes(target.as_ref()));
        self.tar.append_link(&mut header, path, target).expect("layer");
    }

    /// Another name of what `target` names, in this layer or a lower one.
    pub(super) fn hard_link(&mut self, path: &str, target: &str, attributes: &Attributes) {
        let mut header = self.header(EntryType::Link, attributes, 0);
        self.tar.append_link(&mut header, path, target).expect("layer");
    }

    /// Removes `name` in `directory` of the lower layers.
    pub(super) fn whiteout(&mut self, directory: &str, name: &str) {
        self.file(format!("{directory}/.wh.{name}"), &mode(0), &[]);
    }

    /// Removes everything that lower layers have in `directory`.
    pub(super) fn opaque(&mut self, directory: &str) {
        self.file(format!("{directory}/.wh..wh..opq"), &mode(0), &[]);
    }

    /// Ends it and says where it is.
    pub(super) fn finish(self) -> PathBuf {
        let buffer = self.tar.into_inner().expect("layer");
        buffer.into_inner().expect("layer");
        self.path
    }

    fn entry(&mut self, kind: EntryType, path: &[u8], attributes: &Attributes, contents: &[u8]) {
        let header = self.header(kind, attributes, contents.len() as u64);
        self.append(header, path, contents);
    }

    fn append(&mut self, mut header: Header, path: &[u8], contents: &[u8]) {
        self.tar.append_data(&mut header, OsStr::from_bytes(path), contents).expect("layer");
    }

    /// The header, after the extended header where one is needed.
    fn header(&mut self, kind: EntryType, attributes: &Attributes, size: u64) -> Header {
        let records = attributes.records.iter().map(|(key, value)| (key.as_str(), &value[..]));
        if !attributes.records.is_empty() {
            self.tar.append_pax_extensions(records).expect("layer");
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(attributes.mode);
        header.set_uid(attributes.owner.0);
        header.set_gid(attributes.owner.1);
        // Times before 1970 stand in the extended header only.
        header.set_mtime(u64::try_from(attributes.modified.0).unwrap_or(0));
        header
    }
}
