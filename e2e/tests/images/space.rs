//! Deleting and pruning give back what images take.

use std::os::unix::fs::MetadataExt;

use banger_e2e::{Home, Registry, Sample, files, oci};

/// Bytes that files below banger's data and cache directories take on the disk.
fn taken(home: &Home) -> u64 {
    let all = [files(&home.data_dir()), files(&home.cache_dir())].concat();
    let size = |path: String| std::fs::symlink_metadata(path).map_or(0, |file| file.blocks() * 512);
    all.into_iter().map(size).sum()
}

#[test]
fn delete_and_prune_give_back_everything() {
    let samples = [Sample::Busybox, Sample::Odd];
    let registry = Registry::start(&oci::ensure_storage(&samples));
    let home = Home::apart();
    let names = samples.map(|sample| home.pull(&registry.reference(sample.name())));
    let full = taken(&home);
    assert!(full > 10 << 20, "only {full} bytes");

    home.banger(["image", "delete", &names[0], &names[1]]).expect_code(0);
    let deleted = taken(&home);
    assert!(deleted < full, "{deleted} of {full} bytes are left");
    // The layers are still here, for the next pull.
    let blobs = oci::layers(Sample::Odd).iter().map(|(_, size)| size).sum::<u64>();
    assert!(deleted >= blobs, "{deleted} bytes are left of {blobs}");

    let pruned = home.banger(["image", "cache", "prune", "--json"]).expect_code(0).json();
    let freed = pruned["bytes"].as_u64().expect("bytes");
    assert!(freed >= blobs, "{pruned}");
    let left = taken(&home);
    assert!(left < 1 << 20, "{left} bytes are left:\n{:#?}", files(&home.cache_dir()));
}
