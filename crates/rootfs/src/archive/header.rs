//! The 512 bytes in front of an entry. Pure.

use tar::Header;

use super::number::parse_field;

/// Archives consist of blocks of this many bytes.
pub(super) const BLOCK: usize = 512;

/// A header block with its checksum right.
pub(super) struct Block(Header);

impl Block {
    /// `None` for a block of zeros, which ends an archive; an error says what is wrong.
    pub(super) fn parse(bytes: &[u8; BLOCK]) -> Result<Option<Self>, &'static str> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(bytes).clone();
        // The checksum counts itself as blanks. Some programs of old summed signed bytes.
        let blank = |place: usize| (148..156).contains(&place);
        let byte = |(place, &byte): (usize, &u8)| if blank(place) { b' ' } else { byte };
        let unsigned: i64 = bytes.iter().enumerate().map(|item| i64::from(byte(item))).sum();
        let signed: i64 =
            bytes.iter().enumerate().map(|item| i64::from(byte(item).cast_signed())).sum();
        match parse_field(&header.as_old().cksum) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Some(Self(header))),
            _ => Err("its checksum is wrong, so this is no tar archive, or a damaged one"),
        }
    }

    /// The character that says what the entry is.
    pub(super) fn kind(&self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    pub(super) fn size(&self) -> Option<u64> {
        parse_field(&self.0.as_old().size).and_then(|size| u64::try_from(size).ok())
    }

    /// The mode, type bits of the file included where the archive has them.
    pub(super) fn mode(&self) -> Option<u32> {
        parse_field(&self.0.as_old().mode).and_then(|mode| u32::try_from(mode).ok())
    }

    pub(super) fn uid(&self) -> Option<u64> {
        parse_field(&self.0.as_old().uid).and_then(|id| u64::try_from(id).ok())
    }

    pub(super) fn gid(&self) -> Option<u64> {
        parse_field(&self.0.as_old().gid).and_then(|id| u64::try_from(id).ok())
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        parse_field(&self.0.as_old().mtime)
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let number = |field: &[u8]| parse_field(field).and_then(|part| u32::try_from(part).ok());
        // The fields are in the same place in both forms.
        let (major, minor) = match (self.0.as_ustar(), self.0.as_gnu()) {
            (Some(header), _) => (&header.dev_major, &header.dev_minor),
            (_, Some(header)) => (&header.dev_major, &header.dev_minor),
            _ => return None,
        };
        Some((number(major)?, number(minor)?))
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0.as_old().name);
        match self.0.as_ustar().map(|header| until_nul(&header.prefix)) {
            Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.0.as_old().linkname).to_vec()
    }

    /// The sparse map of GNU's old form: the file's size, the raw map and whether it goes on.
    pub(super) fn gnu_sparse(&self) -> Option<(u64, &[tar::GnuSparseHeader], bool)> {
        let header = self.0.as_gnu()?;
        let size = parse_field(&header.realsize).and_then(|size| u64::try_from(size).ok())?;
        Some((size, &header.sparse, header.isextended[0] == 1))
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}
