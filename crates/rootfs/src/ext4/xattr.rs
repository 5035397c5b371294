//! Extended attributes as ext4 stores them: in what is left of the inode, then in one block.
//!
//! An entry is 16 bytes and its name; values stand at the end of the area, the first one last
//! (`fs/ext4/xattr.h`).

use mkext4::csum;
use mkext4::spec::XATTR_MAGIC;

use super::{BLOCK_LEN, acl, put_u16, put_u32};
use crate::tree::{Xattrs, shown};

/// Bytes of an inode's area: 256, less the 128 of old and the 32 of new fields.
pub(super) const AREA: usize = 96;
/// Bytes in front of the entries in the inode: the magic number.
const AREA_HEADER: usize = 4;
/// Bytes in front of the entries in a block.
const BLOCK_HEADER: usize = 32;
/// Bytes that end the list of entries.
const END: usize = 4;
/// Bytes of an entry before its name.
const ENTRY: usize = 16;
/// Prefixes that are stored as a number. The whole name of an access control list is one.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// Why the attributes of a file cannot be stored.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum XattrError {
    /// A broken access control list.
    #[error("broken access control list in `{0}`")]
    Acl(String),
    /// A name of no known namespace, or a too long one.
    #[error("extended attribute that ext4 cannot name: `{0}`")]
    Name(String),
    /// More than fits beside an inode.
    #[error("more extended attributes than fit into a block")]
    Size,
}

struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    /// Bytes of the entry and of the value, each padded to a multiple of four.
    fn size(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }
}

/// The attributes of one file, split over the two places.
pub(super) struct Split {
    inode: Vec<Attribute>,
    block: Vec<Attribute>,
}

/// Whether ext4 can store `xattrs`.
///
/// # Errors
/// When it cannot.
pub fn check_xattrs(xattrs: &Xattrs) -> Result<(), XattrError> {
    split(xattrs).map(|_| ())
}

pub(super) fn split(xattrs: &Xattrs) -> Result<Split, XattrError> {
    let mut attributes = Vec::new();
    for (name, value) in xattrs.iter() {
        let refuse = || XattrError::Name(shown(name));
        let (prefix, index) =
            PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).ok_or_else(refuse)?;
        let rest = &name[prefix.len()..];
        let is_acl = acl::is_acl(name);
        if rest.is_empty() != is_acl || rest.len() > 255 {
            return Err(refuse());
        }
        let value = if is_acl {
            acl::to_disk(value).ok_or_else(|| XattrError::Acl(shown(name)))?
        } else {
            value.to_vec()
        };
        attributes.push(Attribute { index: *index, name: rest.to_vec(), value });
    }
    // The order that a block has to have.
    attributes
        .sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    let mut room = AREA - AREA_HEADER - END;
    let in_inode = attributes
        .iter()
        .take_while(|attribute| match room.checked_sub(attribute.size()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        })
        .count();
    let block = attributes.split_off(in_inode);
    let size: usize = block.iter().map(Attribute::size).sum();
    if size > BLOCK_LEN - BLOCK_HEADER - END {
        return Err(XattrError::Size);
    }
    Ok(Split { inode: attributes, block })
}

impl Split {
    /// Whether a block is needed beside the inode.
    pub(super) fn needs_block(&self) -> bool {
        !self.block.is_empty()
    }

    /// The area in the inode; empty when there is nothing in it.
    pub(super) fn render_area(&self) -> Vec<u8> {
        if self.inode.is_empty() {
            return Vec::new();
        }
        let mut area = vec![0; AREA];
        put_u32(&mut area, 0, XATTR_MAGIC);
        // Values are found from the end of the header, and no hashes are kept.
        fill(&mut area[AREA_HEADER..], &self.inode, 0, |_| 0);
        area
    }

    /// The block, which knows its own number.
    pub(super) fn render_block(&self, number: u32, fs_seed: u32) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        put_u32(&mut block, 0, XATTR_MAGIC);
        // One file has it, and it is one block long.
        put_u32(&mut block, 4, 1);
        put_u32(&mut block, 8, 1);
        let hash =
            |attribute: &Attribute| csum::xattr_entry_hash(&attribute.name, &attribute.value);
        fill(&mut block[BLOCK_HEADER..], &self.block, BLOCK_HEADER, hash);
        put_u32(&mut block, 12, csum::xattr_block_hash(self.block.iter().map(hash)));
        let checksum = csum::xattr_block(fs_seed, u64::from(number), &block);
        put_u32(&mut block, 16, checksum);
        block
    }
}

/// Entries from the beginning, values from the end; `base` is what offsets count from before
/// `area`.
fn fill(area: &mut [u8], attributes: &[Attribute], base: usize, hash: impl Fn(&Attribute) -> u32) {
    let number = |value: usize| u16::try_from(value).unwrap_or(0);
    let (mut at, mut end) = (0, area.len());
    for attribute in attributes {
        let Attribute { index, name, value } = attribute;
        end -= value.len().next_multiple_of(4);
        area[end..end + value.len()].copy_from_slice(value);
        area[at] = u8::try_from(name.len()).unwrap_or(0);
        area[at + 1] = *index;
        put_u16(area, at + 2, number(base + end));
        put_u32(area, at + 8, u32::from(number(value.len())));
        put_u32(area, at + 12, hash(attribute));
        area[at + ENTRY..at + ENTRY + name.len()].copy_from_slice(name);
        at += ENTRY + name.len().next_multiple_of(4);
    }
}
