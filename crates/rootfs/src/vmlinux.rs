//! The ELF kernel inside a bzImage.
//!
//! A bzImage is a loader around a compressed `vmlinux`; the x86 boot protocol (2.08 and later,
//! `Documentation/arch/x86/boot.rst`) says where that lies. VMMs take the ELF file directly,
//! which saves the guest its decompression.

use crate::decompress::{Compression, DecompressError};

/// Offset of `setup_sects`, one byte: 512-byte sectors of real-mode code after the first.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the header's signature.
const HEADER: usize = 0x202;
/// Offset of the protocol version, 16 bits.
const VERSION: usize = 0x206;
/// Offset of `payload_offset`, 32 bits, from the start of the protected-mode code.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of `payload_length`, 32 bits.
const PAYLOAD_LENGTH: usize = 0x24c;
/// First version of the protocol that tells where the payload is.
const VERSION_WITH_PAYLOAD: u16 = 0x208;
/// Sectors of real-mode code of a header that says zero.
const DEFAULT_SECTS: usize = 4;
/// Largest kernel that is taken, in bytes. Distributions' have 30 to 80 MB.
const MAX_VMLINUX: usize = 512 << 20;
/// First bytes of an ELF file.
const ELF: &[u8] = b"\x7fELF";

/// Why a file gives no kernel.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// It is neither an ELF file nor a bzImage.
    #[error("it is neither an ELF kernel nor a bzImage")]
    Unknown,
    /// A bzImage that is too old.
    #[error("its boot protocol {}.{:02} is older than 2.08", .0 >> 8, .0 & 0xff)]
    Old(u16),
    /// A bzImage that is cut off.
    #[error("it is cut off")]
    Short,
    /// Its compression is unknown.
    #[error("its compression is unknown")]
    Compression,
    /// Its payload cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// What comes out is no ELF file.
    #[error("its payload is no ELF file")]
    NotElf,
}

/// Whether a file that begins with `start` is a kernel as far as one can tell from its beginning.
#[must_use]
pub fn is_kernel(start: &[u8]) -> bool {
    start.starts_with(ELF) || start.get(HEADER..HEADER + 4) == Some(b"HdrS")
}

/// The ELF kernel in `file`, which is one already or a bzImage. A kernel that can relocate
/// itself has its relocations after the ELF file's end; loaders do not look there.
///
/// # Errors
/// When `file` is neither, broken, or compressed in an unknown way.
pub fn extract_vmlinux(file: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    if file.starts_with(ELF) {
        return Ok(file.to_vec());
    }
    let payload = payload(file)?;
    let compression = Compression::of(payload).ok_or(VmlinuxError::Compression)?;
    // All but gzip have the size appended by the kernel's build; gzip ends with it by itself.
    let size = payload.last_chunk::<4>().ok_or(VmlinuxError::Short)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
    let vmlinux = compression.decompress(payload, size.min(MAX_VMLINUX))?;
    if vmlinux.len() != size {
        return Err(VmlinuxError::Short);
    }
    if vmlinux.starts_with(ELF) { Ok(vmlinux) } else { Err(VmlinuxError::NotElf) }
}

fn payload(file: &[u8]) -> Result<&[u8], VmlinuxError> {
    if file.get(HEADER..HEADER + 4) != Some(b"HdrS") {
        return Err(VmlinuxError::Unknown);
    }
    let bytes = |at: usize| file.get(at..).and_then(|rest| rest.first_chunk());
    let number = |at: usize| {
        let bytes = bytes(at).ok_or(VmlinuxError::Short)?;
        usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| VmlinuxError::Short)
    };
    let version = file.get(VERSION..).and_then(|rest| rest.first_chunk());
    let version = u16::from_le_bytes(*version.ok_or(VmlinuxError::Short)?);
    if version < VERSION_WITH_PAYLOAD {
        return Err(VmlinuxError::Old(version));
    }
    let sectors = match usize::from(file[SETUP_SECTS]) {
        0 => DEFAULT_SECTS,
        sectors => sectors,
    };
    let start = (sectors + 1) * 512 + number(PAYLOAD_OFFSET)?;
    let length = number(PAYLOAD_LENGTH)?;
    file.get(start..).and_then(|rest| rest.get(..length)).ok_or(VmlinuxError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage as small as they come, around `payload`.
    fn bzimage(version: u16, payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 5 * 512 + 16];
        file[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        file[VERSION..VERSION + 2].copy_from_slice(&version.to_le_bytes());
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        [&file, payload, b"signature"].concat()
    }

    fn zstd_payload(plain: &[u8]) -> Vec<u8> {
        let size = u32::try_from(plain.len()).unwrap();
        [zstd::encode_all(plain, 1).unwrap(), size.to_le_bytes().to_vec()].concat()
    }

    #[test]
    fn finds_the_kernel() {
        let vmlinux = [ELF, &[7; 100_000]].concat();
        let file = bzimage(0x20f, &zstd_payload(&vmlinux));
        assert_eq!(extract_vmlinux(&file).unwrap(), vmlinux);
        assert_eq!(extract_vmlinux(&vmlinux).unwrap(), vmlinux);
    }

    #[test]
    fn refuses_what_is_no_kernel() {
        let vmlinux = [ELF, &[7; 1000]].concat();
        let good = bzimage(0x20f, &zstd_payload(&vmlinux));
        let why = |file: &[u8]| extract_vmlinux(file).unwrap_err().to_string();
        assert_eq!(why(b"#!/bin/sh"), "it is neither an ELF kernel nor a bzImage");
        assert_eq!(why(&good[..good.len() - 20]), "it is cut off");
        let old = bzimage(0x204, &zstd_payload(&vmlinux));
        assert_eq!(why(&old), "its boot protocol 2.04 is older than 2.08");
        assert_eq!(why(&bzimage(0x20f, b"????")), "its compression is unknown");
        let other = bzimage(0x20f, &zstd_payload(b"not an ELF file"));
        assert_eq!(why(&other), "its payload is no ELF file");
    }
}
