//! What must hold for any layers whatever: they are refused, or the image is sound. The tests try
//! random ones, the fuzz target `layers` in `fuzz/` includes this file and looks for better ones.

use std::fs::File;
use std::ops::ControlFlow;

use banger_rootfs::layers::{Layer, write_image};
use banger_rootfs::tree::Limits;
use mkext4::reader::Fs;
use tar::EntryType;

use super::tar::{Tar, header};

/// Small enough that reaching them is quick, and large enough for more than one block of anything.
const LIMITS: Limits = Limits { entries: 2000, text: 100_000, bytes: 1 << 20, unpacked: 8 << 20 };
/// Bytes of a header block.
const BLOCK: usize = 512;
/// Where names are made of: what is special, what replaces each other, what is not UTF-8.
const COMPONENTS: [&[u8]; 16] = [
    b"a",
    b"b",
    b"c",
    b"a",
    b"b",
    b".wh.a",
    b".wh.b",
    b".wh..wh..opq",
    b".wh..wh.x",
    b".wh.",
    b"..",
    b".",
    b"",
    b"\xff\xe9",
    b"lost+found",
    b"a-name-that-is-much-longer-than-all-of-the-others-so-that-directories-grow-and-have-an-index",
];

/// Layers that are any bytes, the half of them in each. Headers get the checksum that they should
/// have, since nothing would come past it otherwise.
pub(crate) fn bytes(bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2 / BLOCK * BLOCK);
    sound(&[with_checksums(first), with_checksums(second)]);
}

/// Layers of entries that make sense each by itself, as `script` chooses them.
pub(crate) fn scripted(script: &[u8]) {
    let mut script = Script(script);
    let mut layers = Vec::new();
    let mut tar = Tar::new();
    while let Some(what) = script.0.first().copied() {
        script.0 = &script.0[1..];
        if what % 16 >= 14 {
            layers.push(std::mem::replace(&mut tar, Tar::new()).bytes());
        } else {
            tar = script.append(what % 16, tar);
        }
        if layers.len() == 5 {
            break;
        }
    }
    layers.push(tar.bytes());
    sound(&layers);
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first)
    }

    fn name(&mut self) -> Vec<u8> {
        let count = self.next() % 3 + 1;
        let parts: Vec<_> = (0..count).map(|_| COMPONENTS[self.next() % 16]).collect();
        parts.join(&b'/')
    }

    fn append(&mut self, what: u8, tar: Tar) -> Tar {
        let path = self.name();
        match what {
            0..=3 => tar.file(path, vec![b'x'; self.next() * 50]),
            4 | 5 => tar.directory(path, 0o755),
            6 | 7 => tar.symlink(path, self.name()),
            8 | 9 => tar.hard_link(path, self.name()),
            10 => tar.entry(header(EntryType::Fifo, 0o600), &path, b"", b""),
            11 => {
                tar.pax("SCHILY.xattr.user.x", vec![b'v'; self.next() * 10]).directory(path, 0o700)
            }
            12 => {
                let (offset, size) = (self.next() * 3000, self.next() * 4000);
                let (map, size) = (format!("0,10,{offset},10"), size.to_string());
                let records =
                    [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())];
                tar.pax_all(&records).file(path, [b's'; 20])
            }
            // Enough in one directory for an index.
            _ => (0..self.next()).fold(tar, |tar, number| {
                let name = [b"/", COMPONENTS[15], number.to_string().as_bytes()].concat();
                tar.file([&path[..], &name].concat(), "")
            }),
        }
    }
}

fn sound(layers: &[Vec<u8>]) {
    let place = tempfile::tempdir().expect("a directory for layers");
    let files = layers.iter().enumerate().map(|(number, bytes)| {
        let path = place.path().join(number.to_string());
        std::fs::write(&path, bytes).expect("a layer is written");
        Layer::of_file(path)
    });
    let files: Vec<Layer> = files.collect();
    let image = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(place.path().join("image"))
        .expect("an image is made");
    let proceed = |_| ControlFlow::Continue(());
    let Ok(built) = write_image(&files, &image, LIMITS, &proceed) else { return };
    assert_eq!(built.size, image.metadata().expect("an image has a length").len());
    let reader = Fs::open(image).expect("an image is a file system");
    let issues = reader.verify().expect("an image can be read");
    assert!(issues.is_empty(), "{issues:?}");
}

fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        }
    }
    bytes
}
