//! What is known of a file: how SFTP writes it, and how it is set.

use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, chown, fchown, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};

use super::protocol::Status;
use crate::wire::{Malformed, Reader, Writer};

const SIZE: u32 = 1;
const OWNERS: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// Attributes as far as they are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    size: Option<u64>,
    owners: Option<(u32, u32)>,
    /// With the kind of file above the permissions.
    mode: Option<u32>,
    /// Of the last reading and writing, in seconds since 1970.
    times: Option<(u32, u32)>,
}

impl From<&Metadata> for Attributes {
    fn from(file: &Metadata) -> Self {
        let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        Self {
            size: Some(file.len()),
            owners: Some((file.uid(), file.gid())),
            mode: Some(file.mode()),
            times: Some((seconds(file.atime()), seconds(file.mtime()))),
        }
    }
}

impl Attributes {
    pub(super) fn read(message: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = message.u32()?;
        let has = |flag| flags & flag != 0;
        let mut pair =
            |flag| Ok(if has(flag) { Some((message.u32()?, message.u32()?)) } else { None });
        let size = pair(SIZE)?.map(|(high, low)| u64::from(high) << 32 | u64::from(low));
        let owners = pair(OWNERS)?;
        let mode = if has(PERMISSIONS) { Some(message.u32()?) } else { None };
        let times = if has(TIMES) { Some((message.u32()?, message.u32()?)) } else { None };
        if has(EXTENDED) {
            for _ in 0..message.u32()? {
                let _named = (message.string()?, message.string()?);
            }
        }
        Ok(Self { size, owners, mode, times })
    }

    pub(super) fn write(&self, message: Writer) -> Writer {
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        let mut message = message.u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owners.is_some(), OWNERS)
                | flag(self.mode.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            message = message.u64(size);
        }
        if let Some((user, group)) = self.owners {
            message = message.u32(user).u32(group);
        }
        if let Some(mode) = self.mode {
            message = message.u32(mode);
        }
        if let Some((read, written)) = self.times {
            message = message.u32(read).u32(written);
        }
        message
    }

    /// Permissions for a new file, or `default`.
    pub(super) fn permissions(&self, default: u32) -> u32 {
        self.mode.unwrap_or(default) & 0o7777
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let time = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        let (read, written) = self.times?;
        Some(Timestamps { last_access: time(read), last_modification: time(written) })
    }

    /// Sets what is given on an open file. The times come last, for the others change them; the
    /// owners before the mode, for they take bits away from it.
    pub(super) fn set_on_file(&self, file: &File) -> Result<(), Status> {
        if let Some(size) = self.size {
            file.set_len(size)?;
        }
        if let Some((user, group)) = self.owners {
            fchown(file, Some(user), Some(group))?;
        }
        if let Some(mode) = self.mode {
            rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode & 0o7777))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::futimens(file, &times)?;
        }
        Ok(())
    }

    /// The same by name, following a link.
    pub(super) fn set_on_path(&self, path: &Path) -> Result<(), Status> {
        if let Some(size) = self.size {
            File::options().write(true).open(path)?.set_len(size)?;
        }
        if let Some((user, group)) = self.owners {
            chown(path, Some(user), Some(group))?;
        }
        if let Some(mode) = self.mode {
            rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?;
        }
        Ok(())
    }

    /// The same on a link itself, which has neither a size to set nor a mode.
    pub(super) fn set_on_link(&self, path: &Path) -> Result<(), Status> {
        if let Some((user, group)) = self.owners {
            lchown(path, Some(user), Some(group))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if self.size.is_some() || self.mode.is_some() {
            let is_link = path.symlink_metadata()?.file_type().is_symlink();
            return if is_link {
                Ok(())
            } else {
                Self { owners: None, times: None, ..*self }.set_on_path(path)
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let all = Attributes {
            size: Some(1 << 33),
            owners: Some((1, 2)),
            mode: Some(0o100_644),
            times: Some((3, 4)),
        };
        for attributes in [Attributes::default(), Attributes { owners: None, ..all }, all] {
            let bytes = attributes.write(Writer::new()).finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(Attributes::read(&mut reader), Ok(attributes));
            assert!(reader.is_empty());
            for length in 0..bytes.len() {
                assert!(Attributes::read(&mut Reader::new(&bytes[..length])).is_err());
            }
        }
        // As many extensions as do not fit.
        let endless = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Attributes::read(&mut Reader::new(&endless)), Err(Malformed));
    }
}
