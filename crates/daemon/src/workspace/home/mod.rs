//! A workspace on its way back: what a guest made of the repository that was brought in.
//!
//! ```text
//!  record ──known──▶ agent: survey ──changes──▶ receive ──▶ scratch ──▶ patch
//!  (at bring-in)      (the guest)                hostile      │ git,     files of the host (apply)
//!                                                             │ bare     a branch of the host
//! ```
//!
//! No git runs in the guest, and none of the guest's git settings is ever read by a git on the
//! host: what comes home is names, modes and contents, of which a tree is made in a bare
//! repository of banger's own.
//!
//! | module | responsible for |
//! |---|---|
//! | `record` | what was brought in, kept beside the VM's disk |
//! | `receive` | the guest's hostile word on what is different |
//! | `objects` | writing and checking single git objects |
//! | `scratch` | the bare repository |
//! | `guest` | asking the guest and making its tree |
//! | `apply` | which of the host's files change, and what meets a change of the host's |
//! | `place` | writing those files, all or none |
//! | `interrupted` | taking back what a process that was killed had begun to write |
//! | `branch` | the guest's commits |
//! | `shelf` | which record is that of the guest's tree |
//! | `lost` | what is in the guest only |

mod apply;
mod branch;
mod error;
mod guest;
mod interrupted;
mod lost;
mod objects;
mod place;
mod receive;
pub(super) mod record;
mod scratch;
mod shelf;

pub(crate) use error::HomeError;
pub(crate) use guest::{Gone, GuestTree, load_gone};
pub(crate) use record::{Base, Recorder};
pub(crate) use shelf::{NewRecord, copy_records, ensure_settled, record_of};

/// How the names of directories begin that are made for one request. After a kill they stay.
pub(crate) const SCRATCH: &str = "home-";
