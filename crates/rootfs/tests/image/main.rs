//! Images made of layers, judged by other programs (e2fsprogs, GNU tar for archives that have to
//! be real) and by the library's reader.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, also outside of its function"
)]

mod blank;
mod files;
mod forms;
mod hostile;
mod image;
mod overlaying;
mod streams;
mod tar;
