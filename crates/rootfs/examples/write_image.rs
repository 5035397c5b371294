//! Makes an image of layers, to be measured or looked at:
//! `cargo run --release -p banger-rootfs --example write_image -- IMAGE LAYER...`

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use banger_rootfs::digest::render_hex;
use banger_rootfs::layers::{Layer, write_image};
use banger_rootfs::tree::Limits;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let image = paths.next().ok_or("usage: write_image IMAGE LAYER...")?;
    let layers: Vec<Layer> = paths.map(Layer::of_file).collect();
    let file = fs_err::File::create(image)?;
    let start = Instant::now();
    let proceed = |_| ControlFlow::Continue(());
    let built = write_image(&layers, file.file(), Limits::default(), &proceed).map_err(describe)?;
    println!(
        "{} entries, {} bytes, {} in {:.2?}",
        built.entries,
        built.size,
        render_hex(&built.digest),
        start.elapsed()
    );
    Ok(())
}

/// An error with all its causes.
fn describe(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
