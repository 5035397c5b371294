//! Putting another release of these programs into the place of this one, as far as it is a command's:
//! where releases come from, whether a new one works, and whose turn it is to be the daemon. What a
//! release is, `banger-release` knows.
//!
//! | module | responsible for |
//! |---|---|
//! | `source` | the server, the key, and the installation that is updated |
//! | `trial` | a new release's first words |
//! | `handover` | the daemon, from one release to the next |
//! | `problem` | what a person can do about a failure |

mod handover;
mod problem;
mod source;
mod trial;

pub(crate) use handover::{Handover, hand_over, observe, take_back};
pub(crate) use source::Source;
pub(crate) use trial::try_out;
