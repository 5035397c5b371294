//! Access control lists: the form of `getxattr` and the shorter one that ext4 stores.
//!
//! Archives carry the first (`include/uapi/linux/posix_acl_xattr.h`: a 32-bit version 2, then
//! tag, permissions and id of each entry); the disk has the second (`fs/ext4/acl.h`: version 1,
//! the id left out where the tag has none). A list stored in the wrong form makes every access
//! to its file fail.

/// Version of the form that `getxattr` gives.
const XATTR_VERSION: u32 = 2;
/// Version of the form on the disk.
const DISK_VERSION: u32 = 1;
/// Tags whose entries name a user or a group.
const TAGS_WITH_ID: [u16; 2] = [0x02, 0x08];
/// All tags: owner, user, owning group, group, mask, others.
const TAGS: [u16; 6] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];

/// Whether the extended attribute `name` holds an access control list.
pub(super) fn is_acl(name: &[u8]) -> bool {
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Turns a list as `getxattr` gives it into one as ext4 stores it; `None` for a broken one.
pub(super) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != XATTR_VERSION || !rest.is_empty() {
        return None;
    }
    let mut stored = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        if !TAGS.contains(&tag) {
            return None;
        }
        stored.extend_from_slice(&entry[..4]);
        if TAGS_WITH_ID.contains(&tag) {
            stored.extend_from_slice(&entry[4..]);
        }
    }
    Some(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_ids_that_mean_nothing() {
        let none = [0xff; 4];
        let entry = |tag: u8, id: [u8; 4]| [&[tag, 0, 5, 0], &id[..]].concat();
        let list =
            [vec![2, 0, 0, 0], entry(0x01, none), entry(0x08, [4, 0, 0, 0]), entry(0x20, none)]
                .concat();
        assert_eq!(
            to_disk(&list).unwrap(),
            [1, 0, 0, 0, 0x01, 0, 5, 0, 0x08, 0, 5, 0, 4, 0, 0, 0, 0x20, 0, 5, 0]
        );
    }

    #[test]
    fn refuses_broken_lists() {
        for bad in [&[][..], &[1, 0, 0, 0], &[2, 0, 0, 0, 1], &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(to_disk(bad), None, "{bad:?}");
        }
    }
}
