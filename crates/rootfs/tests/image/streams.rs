//! How layers are stored: compressions, digests, parts of files; and who watches.

use std::cell::RefCell;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use banger_rootfs::digest::{render_hex, sha256};
use banger_rootfs::layers::{ImageError, Layer, Phase, write_image};
use banger_rootfs::tree::Limits;
use tempfile::TempDir;

use super::image::{Image, describe, image, image_of};
use super::tar::Tar;

fn contents() -> Vec<u8> {
    (0..700_000_u32).flat_map(|number| (number / 5).to_le_bytes()).collect()
}

fn tar() -> Vec<u8> {
    Tar::new().file("a", contents()).file("b", "b").bytes()
}

fn stored(bytes: &[u8]) -> (TempDir, Layer) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("layer");
    std::fs::write(&path, bytes).unwrap();
    (place, Layer::of_file(path))
}

fn made(bytes: &[u8]) -> Result<Image, ImageError> {
    let (place, layer) = stored(bytes);
    image_of(place, &[layer], Limits::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = xz2::write::XzEncoder::new(Vec::new(), 1);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_image() {
    let plain = made(&tar()).unwrap();
    assert!(plain.cat("a") == contents());
    for (name, compress) in
        [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd), ("xz", xz), ("bzip2", bzip2)]
    {
        let whole = made(&compress(&tar())).unwrap();
        assert_eq!(whole.built, plain.built, "{name}");
        // Several streams one after the other are one.
        let tar = tar();
        let (first, second) = tar.split_at(100_001);
        let parts = made(&[compress(first), compress(second)].concat()).unwrap();
        assert_eq!(parts.built, plain.built, "{name}");
        let equal =
            |one: &Path, two: &Path| std::fs::read(one).unwrap() == std::fs::read(two).unwrap();
        assert!(equal(&whole.path(), &plain.path()) && equal(&parts.path(), &plain.path()));
    }
}

#[test]
fn torn_and_broken_compression_is_an_error() {
    for compress in [gzip, zstd, xz, bzip2] {
        let mut compressed = compress(&tar());
        let torn = made(&compressed[..compressed.len() / 2]).err().unwrap();
        assert!(describe(&torn).starts_with("cannot use layer `layer`: cannot read past byte"));
        if compressed.starts_with(&[0x28]) {
            // These streams have no checksum; a layer's own digest is for that.
            continue;
        }
        let middle = compressed.len() / 2;
        compressed[middle..middle + 100].fill(0x55);
        assert!(made(&compressed).is_err());
    }
    let unsupported = made(&[0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0]).err().unwrap();
    assert_eq!(
        describe(&unsupported),
        "cannot use layer `layer`: Lz4 compression is not supported for layers"
    );
}

#[test]
fn an_archive_may_begin_with_a_name_like_a_compression() {
    assert_eq!(image([Tar::new().file("BZh91AY", "x")]).cat("BZh91AY"), b"x");
}

#[test]
fn layers_inside_of_another_archive_are_read_in_place() {
    let layer = gzip(&tar());
    let outer = [&[b'x'; 1000][..], &layer, b"what follows"].concat();
    let (place, mut whole) = stored(&outer);
    whole.range = Some(1000..1000 + layer.len() as u64);
    let image = image_of(place, &[whole.clone()], Limits::default()).unwrap();
    assert!(image.cat("a") == contents());

    let (place, layer) = stored(&outer);
    let past = Layer { range: Some(1000..1 << 40), ..layer };
    let error = image_of(place, &[past], Limits::default()).err().unwrap();
    assert_eq!(
        describe(&error),
        format!(
            "cannot use layer `layer`: its file has {} bytes, and it should end at byte {}",
            outer.len(),
            1_u64 << 40
        )
    );
}

#[test]
fn a_layer_has_to_be_what_it_should_be() {
    let diff_id = sha256(&mut &tar()[..]).unwrap();
    let compressed = gzip(&tar());
    let digest = sha256(&mut &compressed[..]).unwrap();
    let with = |digest, diff_id| {
        let (place, layer) = stored(&compressed);
        image_of(place, &[Layer { digest, diff_id, ..layer }], Limits::default())
    };
    let nothing = with(None, None).unwrap().built;
    assert_eq!(with(None, Some(diff_id)).unwrap().built, nothing);
    assert_eq!(with(Some(digest), Some(diff_id)).unwrap().built, nothing);
    // Then it is identified by what is known, and nothing is hashed.
    let by_file = with(Some(digest), None).unwrap().built;
    assert_ne!(by_file.digest, nothing.digest);
    assert_eq!(with(Some(digest), None).unwrap().built, by_file);

    let error = with(Some(digest), Some([0xab; 32])).err().unwrap();
    let (found, expected) = (render_hex(&diff_id), "ab".repeat(32));
    assert_eq!(
        describe(&error),
        format!(
            "cannot use layer `layer`: \
             its contents have the SHA-256 `{found}`, and should have `{expected}`"
        )
    );
}

#[test]
fn progress_goes_on_to_the_end_and_can_be_cancelled() {
    let (place, one) = stored(&gzip(&tar()));
    let two = Layer { name: "again".into(), ..one.clone() };
    let total = 2 * std::fs::metadata(&one.path).unwrap().len();
    let steps = RefCell::new(Vec::new());
    let run = |stop: Option<usize>| {
        steps.borrow_mut().clear();
        let image = tempfile::tempfile_in(place.path()).unwrap();
        write_image(&[one.clone(), two.clone()], &image, Limits::default(), &|step| {
            steps.borrow_mut().push(step);
            match stop {
                Some(stop) if steps.borrow().len() >= stop => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
    };
    run(None).unwrap();
    let all = steps.borrow().clone();
    for phase in [Phase::Indexing, Phase::Writing] {
        let done: Vec<u64> =
            all.iter().filter(|step| step.phase == phase).map(|step| step.done).collect();
        assert!(done.is_sorted() && done.len() > 2, "{done:?}");
        assert_eq!(done.last(), Some(&total));
    }
    assert!(all.iter().all(|step| step.total == total));
    // Wherever it is.
    for stop in 1..=all.len() {
        assert!(matches!(run(Some(stop)), Err(ImageError::Cancelled)), "{stop} of {}", all.len());
        assert_eq!(steps.borrow().len(), stop);
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let (place, layer) = stored(&tar());
    let image = tempfile::tempfile_in(place.path()).unwrap();
    let error = write_image(std::slice::from_ref(&layer), &image, Limits::default(), &|step| {
        if step.phase == Phase::Writing {
            let file = std::fs::File::options().append(true).open(&layer.path).unwrap();
            file.set_len(step.total + 1).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(
        describe(&error.unwrap_err()),
        "cannot use layer `layer`: its file changed while it was read"
    );
}
