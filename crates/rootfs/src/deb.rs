//! Taking the files of a Debian package out of it.
//!
//! A `.deb` is an `ar` archive of three members (deb(5)): `debian-binary` with the version of the
//! form, `control.tar.*`, and `data.tar.*` with the files. Only the last is looked at; it comes out
//! as a plain tar file, in which files can be read where they lie.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::stream;

/// First bytes of an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";
/// Bytes of a member's header: name 16, time 12, owner 6, group 6, mode 8, size 10, end mark 2.
const HEADER: usize = 60;
/// Where the size is in a header, in decimal digits.
const SIZE: std::ops::Range<usize> = 48..58;
/// What a header ends with.
const END_MARK: &[u8] = b"`\n";
/// Members that are looked through.
const MAX_MEMBERS: usize = 16;
/// Start of the name of the member with the files.
const DATA: &str = "data.tar";
/// Largest package that is taken, in bytes unpacked. Kernels' have up to 1 GB.
const MAX_DATA: u64 = 4 << 30;

/// Why a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It cannot be read, or its files cannot be written.
    #[error("cannot unpack `{package}`")]
    Unpack {
        /// Its path.
        package: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else, or broken.
    #[error("`{package}` is no Debian package: {what}")]
    NotDeb {
        /// Its path.
        package: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It unpacks to more than any kernel has.
    #[error("`{package}` unpacks to more than {MAX_DATA} bytes")]
    TooLarge {
        /// Its path.
        package: PathBuf,
    },
}

/// Whether a file that begins with `start` is a package.
#[must_use]
pub fn is_deb(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Writes the tar archive with the files of `package` to the new file `to`.
///
/// # Errors
/// When `package` is none or too large, or `to` cannot be written; what was written of it stays.
pub fn unpack_deb(package: &Path, to: &Path) -> Result<(), DebError> {
    let unpack = |source| DebError::Unpack { package: package.to_owned(), source };
    let mut file = fs_err::File::open(package).map_err(unpack)?;
    let size = match find_data(&mut file).map_err(unpack)? {
        Ok(size) => size,
        Err(what) => return Err(DebError::NotDeb { package: package.to_owned(), what }),
    };
    let data = match open_data(BufReader::new(file.take(size))).map_err(unpack)? {
        Ok(data) => data,
        Err(what) => return Err(DebError::NotDeb { package: package.to_owned(), what }),
    };
    let mut to = fs_err::File::create_new(to).map_err(unpack)?;
    let written = io::copy(&mut data.take(MAX_DATA + 1), &mut to).map_err(unpack)?;
    if written > MAX_DATA {
        return Err(DebError::TooLarge { package: package.to_owned() });
    }
    Ok(())
}

fn open_data(
    mut data: impl BufRead + Send + 'static,
) -> io::Result<Result<stream::Decoder, &'static str>> {
    let compression = stream::recognise(&mut data)?;
    stream::open(compression, data)
        .transpose()
        .map(|data| data.ok_or("its files are compressed in a form that no package has"))
}

/// Goes to the contents of the member with the files; how many bytes they have, or what is wrong.
fn find_data(file: &mut fs_err::File) -> io::Result<Result<u64, &'static str>> {
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Ok(Err("it is no `ar` archive"));
    }
    for _ in 0..MAX_MEMBERS {
        let mut header = [0; HEADER];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let size = str::from_utf8(&header[SIZE]).ok().and_then(|text| text.trim().parse().ok());
        let (Some(size), true) = (size, header.ends_with(END_MARK)) else {
            return Ok(Err("a member's header is broken"));
        };
        if header.starts_with(DATA.as_bytes()) {
            return Ok(Ok(size));
        }
        // Members begin at even offsets.
        let Ok(skip) = i64::try_from(size.next_multiple_of(2)) else {
            return Ok(Err("a member's header is broken"));
        };
        file.seek(SeekFrom::Current(skip))?;
    }
    Ok(Err("it has no `data.tar`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, contents: &[u8]) -> Vec<u8> {
        let size = contents.len();
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644");
        let padding: &[u8] = if size % 2 == 1 { b"\n" } else { b"" };
        [header.as_bytes(), contents, padding].concat()
    }

    fn deb(members: &[Vec<u8>]) -> Vec<u8> {
        [MAGIC, &members.concat()].concat()
    }

    fn unpack(deb: &[u8]) -> Result<Vec<u8>, String> {
        let place = tempfile::tempdir().unwrap();
        let (package, tar) = (place.path().join("x.deb"), place.path().join("data.tar"));
        fs_err::write(&package, deb).unwrap();
        match unpack_deb(&package, &tar) {
            Ok(()) => Ok(fs_err::read(tar).unwrap()),
            Err(error) => Err(error.to_string().replace(&package.display().to_string(), "x.deb")),
        }
    }

    #[test]
    fn the_files_come_out_whatever_their_compression() {
        let data = b"a tar archive".repeat(1000);
        let xz = {
            let mut to = xz2::write::XzEncoder::new(Vec::new(), 1);
            io::Write::write_all(&mut to, &data).unwrap();
            to.finish().unwrap()
        };
        let gzip = {
            let level = flate2::Compression::fast();
            let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
            io::Write::write_all(&mut to, &data).unwrap();
            to.finish().unwrap()
        };
        let zstd = zstd::encode_all(&data[..], 1).unwrap();
        for (name, packed) in [
            ("data.tar", &data),
            ("data.tar.xz", &xz),
            ("data.tar.gz", &gzip),
            ("data.tar.zst", &zstd),
        ] {
            let control = member("control.tar.xz", b"odd");
            let package = deb(&[member("debian-binary", b"2.0\n"), control, member(name, packed)]);
            assert!(unpack(&package).unwrap() == data, "{name}");
            let torn = unpack(&package[..package.len() - 40]);
            assert!(name == "data.tar" || torn.is_err(), "{name}: {torn:?}");
        }
    }

    #[test]
    fn what_is_no_package_is_named() {
        let why = |bytes: &[u8]| unpack(bytes).unwrap_err();
        assert_eq!(why(b""), "`x.deb` is no Debian package: it is no `ar` archive");
        let empty = deb(&[member("debian-binary", b"2.0\n")]);
        assert_eq!(why(&empty), "`x.deb` is no Debian package: it has no `data.tar`");
        let mut broken = member("debian-binary", b"2.0\n");
        broken[SIZE.start..SIZE.end].copy_from_slice(b"-1        ");
        let broken = deb(&[broken]);
        assert_eq!(why(&broken), "`x.deb` is no Debian package: a member's header is broken");
        let mut endless = member("debian-binary", b"2.0\n");
        endless[SIZE.start..SIZE.end].copy_from_slice(b"9999999999");
        assert!(why(&deb(&[endless])).ends_with("it has no `data.tar`"));
    }

    #[test]
    fn a_package_that_the_distributions_own_tool_made() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs_err::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs_err::create_dir_all(tree.join("boot")).unwrap();
        let control =
            "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: x\n";
        fs_err::write(tree.join("DEBIAN/control"), control).unwrap();
        fs_err::write(tree.join("boot/vmlinuz-1"), "kernel").unwrap();
        let built = std::process::Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &place.path().join("x.deb")])
            .stdout(std::process::Stdio::null())
            .status();
        // Other distributions have no such tool; the test above has the same form.
        let Ok(status) = built else { return };
        assert!(status.success());
        let tar = unpack(&fs_err::read(place.path().join("x.deb")).unwrap()).unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path_bytes().into_owned()).collect();
        assert!(names.contains(&b"./boot/vmlinuz-1".to_vec()), "{names:?}");
    }
}
