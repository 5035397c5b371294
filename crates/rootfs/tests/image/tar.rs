//! Archives under construction, also such as no program makes.

use tar::{Builder, EntryType, Header};

/// An archive under construction.
pub(crate) struct Tar {
    builder: Builder<Vec<u8>>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Self {
        self.file_with(name, 0o644, contents)
    }

    pub(crate) fn file_with(
        self,
        name: impl AsRef<[u8]>,
        mode: u32,
        contents: impl AsRef<[u8]>,
    ) -> Self {
        self.entry(header(EntryType::Regular, mode), name.as_ref(), b"", contents.as_ref())
    }

    pub(crate) fn directory(self, name: impl AsRef<[u8]>, mode: u32) -> Self {
        self.entry(header(EntryType::Directory, mode), name.as_ref(), b"", b"")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(header(EntryType::Symlink, 0o777), name.as_ref(), target.as_ref(), b"")
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(header(EntryType::Link, 0o644), name.as_ref(), target.as_ref(), b"")
    }

    pub(crate) fn device(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        let mut header = header(kind, 0o620);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.entry(header, name.as_bytes(), b"", b"")
    }

    /// Hides `name` of lower layers, which is a path.
    pub(crate) fn whiteout(self, name: &str) -> Self {
        let (parent, name) = name.rsplit_once('/').unwrap_or(("", name));
        self.file(format!("{parent}/.wh.{name}").trim_start_matches('/'), "")
    }

    pub(crate) fn opaque(self, directory: &str) -> Self {
        self.file(format!("{directory}/.wh..wh..opq"), "")
    }

    /// A record about the next entry.
    pub(crate) fn pax(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax_all(&[(key, value.as_ref())])
    }

    /// Records about the next entry.
    pub(crate) fn pax_all(mut self, records: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    /// An entry as it is given. Names of more than 100 bytes go the way of GNU.
    pub(crate) fn entry(
        mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        contents: &[u8],
    ) -> Self {
        for (kind, text) in [(EntryType::GNULongName, name), (EntryType::GNULongLink, link)] {
            if text.len() > 100 {
                let mut long = self::header(kind, 0);
                long.set_size(text.len() as u64 + 1);
                long.set_cksum();
                self.builder.append(&long, &[text, b"\0"].concat()[..]).unwrap();
            }
        }
        let old = header.as_old_mut();
        old.name = [0; 100];
        old.linkname = [0; 100];
        for (to, from) in [(&mut old.name, name), (&mut old.linkname, link)] {
            let length = from.len().min(100);
            to[..length].copy_from_slice(&from[..length]);
        }
        if !contents.is_empty() {
            header.set_size(contents.len() as u64);
        }
        header.set_cksum();
        self.builder.append(&header, contents).unwrap();
        self
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        std::io::Write::write_all(self.builder.get_mut(), bytes).unwrap();
        self
    }
}

pub(crate) fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(1000);
    header.set_gid(100);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}
