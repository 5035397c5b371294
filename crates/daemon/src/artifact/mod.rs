//! What images and kernels share: both are large things that are obtained once, by one piece of
//! work for all who ask, in a directory that goes away whatever happens, and found by name.
//!
//! | part | responsible for |
//! |---|---|
//! | `cancel` | ending file work when nobody waits for it any more |
//! | [`mmdebstrap`] | packages into a tar |
//! | `save` | replacing a small file as a whole |
//! | `single_flight` | one piece of work for all who ask |
//! | `users` | which daemons use what is here |
//! | `work_dir` | directories that go away whatever happens |
//!
//! Not responsible for what an image ([`crate::image`]) or a kernel ([`crate::kernel`]) is.

mod cancel;
pub mod mmdebstrap;
mod save;
mod single_flight;
mod users;
mod work_dir;

pub(crate) use cancel::{Cancelled, blocking, cancellable};
pub(crate) use save::{HALF, save_atomically};
pub(crate) use single_flight::Flights;
pub use single_flight::Lost;
pub(crate) use users::{mark_user, observe_other_users};
pub(crate) use work_dir::{WorkDir, WorkDirs};

/// Name of the directory for work, among the results.
pub(crate) const WORK: &str = ".work";

/// The known name that is most like `name`, when one is.
pub(crate) fn near_name<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> Option<&'a String> {
    /// From where on two names look alike; below are names that share some letters.
    const ALIKE: f64 = 0.8;
    known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        let known = ["debian-bookworm".to_owned(), "alpine".to_owned()];
        assert_eq!(near_name("debian-bokworm", &known), Some(&known[0]));
        assert_eq!(near_name("debian", &known), Some(&known[0]));
        assert_eq!(near_name("windows", &known), None);
    }
}
