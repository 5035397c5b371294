//! 100,000 small files, 1 GB, in three layers.
//!
//! | layer | what it does |
//! |---|---|
//! | 1 | 80,000 files in 800 directories |
//! | 2 | 24,000 more, and 2,000 of the first again with other contents |
//! | 3 | removes 3,000 by name and one directory of 1,000 as a whole |

use std::path::Path;

use super::layer::{Layer, mode};
use super::sample::Recipe;

const PER_DIRECTORY: usize = 100;
/// Sizes in turn: 10.4 kB in the middle, most of them smaller.
const SIZES: [usize; 8] = [200, 900, 2_500, 4_000, 7_000, 12_000, 20_000, 37_000];

pub(super) fn recipe(work: &Path) -> Recipe {
    let text = text();
    let mut one = Layer::lowest(work, "one");
    one.directory("bin", &mode(0o755));
    super::small::add_busybox(&mut one, &["sh", "find", "wc", "cat"]);
    one.directory("files", &mode(0o755));
    write(&mut one, &text, 0..80_000, 0);

    let mut two = Layer::create(work, "two");
    write(&mut two, &text, 80_000..104_000, 0);
    for number in (0..80_000).step_by(40) {
        add(&mut two, &text, number, 1);
    }

    let mut three = Layer::create(work, "three");
    for number in (0..90_000).step_by(30) {
        let (directory, name) = place(number);
        three.whiteout(&directory, &name);
    }
    for directory in 1030..1040 {
        three.whiteout("files", &format!("{directory:04}"));
    }
    let layers = vec![one.finish(), two.finish(), three.finish()];
    Recipe::new(layers, &[("cmd", "/bin/sh")])
}

fn write(layer: &mut Layer, text: &[u8], numbers: std::ops::Range<usize>, version: usize) {
    for number in numbers {
        if number % PER_DIRECTORY == 0 {
            layer.directory(place(number).0, &mode(0o755));
        }
        add(layer, text, number, version);
    }
}

fn add(layer: &mut Layer, text: &[u8], number: usize, version: usize) {
    let (directory, name) = place(number);
    let size = SIZES[number % SIZES.len()] + number % 97;
    let start = (number * 7_919 + version * 31) % (text.len() - size);
    layer.file(format!("{directory}/{name}"), &mode(0o644), &text[start..start + size]);
}

fn place(number: usize) -> (String, String) {
    (format!("files/{:04}", number / PER_DIRECTORY), format!("file-{number}.txt"))
}

/// 4 MiB of hexadecimal digits: compresses to half, as programs and sources do roughly.
fn text() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let digit = |_| {
        // xorshift, which is as random as a compressor can tell.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        b"0123456789abcdef"[(state >> 28) as usize]
    };
    (0..4 << 20).map(digit).collect()
}
