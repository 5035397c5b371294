//! What creating VMs costs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use banger_e2e::Home;

/// Bytes that everything under `dir` takes on the disk.
fn disk_use(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| {
            let metadata = entry.metadata().expect("metadata");
            let below = if metadata.is_dir() { disk_use(&entry.path()) } else { 0 };
            metadata.blocks() * 512 + below
        })
        .sum()
}

#[test]
fn ten_stopped_vms_take_less_than_twenty_megabytes() {
    let home = Home::new();
    let _ = home.list();
    let before = disk_use(&home.state_dir());
    // Never booted ones: what a boot writes is the guest's doing, not the creation's.
    for number in 0..10 {
        let name = format!("cold-{number}");
        home.banger(["vm", "create", "--no-start", "--name", &name]).expect_code(0);
    }
    let grown = disk_use(&home.state_dir()) - before;
    assert!(grown < 20_000_000, "ten VMs took {grown} bytes");
    let names: Vec<String> = (0..10).map(|number| format!("cold-{number}")).collect();
    home.banger(["vm", "delete"].into_iter().chain(names.iter().map(String::as_str)))
        .expect_code(0);
    home.expect_nothing_left();
}
