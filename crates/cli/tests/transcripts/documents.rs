//! Pages under `docs/` that are written from what the program has.
//!
//! `UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_` writes them instead of comparing.

use std::path::Path;

/// The root of the sources.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a checkout")
}

/// Compares `docs/<name>` with `expected`, or writes it when told so by `UPDATE_DOCS`.
pub(crate) fn assert_page(name: &str, expected: &str) {
    let path = checkout().join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    let line = actual.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(
        actual == expected,
        "docs/{name} is out of date from line {line}; write it anew: \
         UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_"
    );
}
