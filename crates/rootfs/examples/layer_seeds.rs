//! Writes archives that the fuzz target `layers` starts from into a directory:
//! `cargo run -p banger-rootfs --example layer_seeds -- fuzz/corpus/layers`

use std::error::Error;
use std::io::empty;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

fn main() -> Result<(), Box<dyn Error>> {
    let directory =
        PathBuf::from(std::env::args_os().nth(1).ok_or("usage: layer_seeds DIRECTORY")?);
    fs_err::create_dir_all(&directory)?;
    let pax: [&[(&str, &[u8])]; 5] = [
        &[("path", b"a/\xff"), ("mtime", b"1.5"), ("size", b"1")],
        &[("SCHILY.xattr.user.x", b"\n"), ("LIBARCHIVE.xattr.user.y%20", b"AAEC")],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.offset", b"1"), ("GNU.sparse.numbytes", b"1")],
        &[("GNU.sparse.map", b"1,1"), ("GNU.sparse.size", b"9"), ("GNU.sparse.name", b"n")],
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")],
    ];
    for (number, records) in pax.into_iter().enumerate() {
        let mut tar = Builder::new(Vec::new());
        tar.append_pax_extensions(records.iter().copied())?;
        tar.append_data(&mut header(EntryType::Regular, 1), "a/b", &b"x"[..])?;
        save(&directory, &format!("pax-{number}"), tar.into_inner()?)?;
    }
    let mut tar = Builder::new(Vec::new());
    let long = "n".repeat(150);
    tar.append_data(&mut header(EntryType::Directory, 0), "a", empty())?;
    tar.append_data(&mut header(EntryType::Regular, 3), &long, &b"abc"[..])?;
    tar.append_link(&mut header(EntryType::Link, 0), "a/link", &long)?;
    tar.append_link(&mut header(EntryType::Symlink, 0), "b", "a")?;
    tar.append_data(&mut header(EntryType::Char, 0), "b/null", empty())?;
    tar.append_data(&mut header(EntryType::Regular, 0), "a/.wh.link", empty())?;
    tar.append_data(&mut header(EntryType::Regular, 0), "a/.wh..wh..opq", empty())?;
    let mut sparse = header(EntryType::GNUSparse, 1);
    if let Some(gnu) = sparse.as_gnu_mut() {
        gnu.set_real_size(9);
        gnu.sparse[0].set_offset(8);
        gnu.sparse[0].set_length(1);
    }
    tar.append_data(&mut sparse, "sparse", &b"x"[..])?;
    save(&directory, "all", tar.into_inner()?)?;
    Ok(())
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

/// The archive twice, since the target makes two layers of what it gets; the byte before them
/// tells it to.
fn save(directory: &Path, name: &str, archive: Vec<u8>) -> Result<(), Box<dyn Error>> {
    fs_err::write(directory.join(name), [&[0], &archive[..], &archive].concat())?;
    Ok(())
}
