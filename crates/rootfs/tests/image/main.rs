//! Images made of layers, judged by other programs (e2fsprogs, GNU tar for archives that have to
//! be real) and by the library's reader.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, also outside of its function"
)]

mod blank;
mod check;
mod files;
mod forms;
mod hostile;
mod image;
mod overlaying;
mod streams;
mod tar;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_layers_are_refused_or_become_a_sound_image(
        script in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        check::scripted(&script);
    }

    #[test]
    fn any_bytes_are_refused_or_become_a_sound_image(
        bytes in prop::collection::vec(any::<u8>(), 0..4000)
    ) {
        check::bytes(&bytes);
    }
}
