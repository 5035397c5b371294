//! A registry with images for `bench/import/run`, and for trying things by hand:
//! `cargo run -p banger-e2e --example registry -- odd:gzip`.
//!
//! Prints the address, then `NAME LAYOUT:TAG` of every image asked for (`NAME` in the registry,
//! and where the same image is as an OCI layout), and runs until its standard input ends.

use std::io::{Read, Write};

use banger_e2e::oci::{ensure_layout, ensure_storage};
use banger_e2e::{Registry, Sample};

fn main() {
    let samples: Vec<Sample> = std::env::args().skip(1).map(|name| find(&name)).collect();
    let registry = Registry::start(&ensure_storage(&samples));
    let mut lines = format!("{}\n", registry.address());
    for &sample in &samples {
        let (layout, tag) = ensure_layout(sample);
        lines.push_str(&format!("{} {}:{tag}\n", sample.name(), layout.display()));
    }
    let mut stdout = std::io::stdout();
    stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()).expect("somebody reads");
    // Nothing comes: whoever started this lets go when they are done.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn find(name: &str) -> Sample {
    let known = || Sample::ALL.map(Sample::name).join(", ");
    let found = Sample::ALL.into_iter().find(|sample| sample.name() == name);
    found.unwrap_or_else(|| panic!("no image `{name}`; there are {}", known()))
}
