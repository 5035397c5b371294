//! Trees of files as tar streams, both ways, the same on the host and in the guest: what
//! `banger vm cp` and workspaces are made of.
//!
//! | module | responsible for |
//! |---|---|
//! | `pack` | a file or a tree → a stream |
//! | `unpack` | a hostile stream → entries, bounded |
//! | `beneath` | writing entries under one directory and never outside of it |
//! | `land` | where a copy goes: into a directory, or in the place of a name |
//! | `path` | what the end of a path says |
//! | `look` | reading a tree without following a link |
//! | `blob` | git's names for contents |
//! | `changes` | the stream of what is different in a tree |
//! | `room` | what is left to others of a file system that is written to |
//! | `pipe` | bytes between a thread that blocks and a task that does not |
//!
//! Nothing here knows a network, a guest or a message to a person: whoever calls opens the
//! directories and says what failed.

mod beneath;
pub mod blob;
pub mod changes;
mod land;
mod look;
mod pack;
mod path;
mod pipe;
mod room;
mod unpack;

pub use beneath::{Beneath, Former, Fresh, Rules, TreeError};
pub use land::{Destination, Links, Top, land};

pub use look::{Node, Tree, file_type};
pub use pack::{PackError, Packing, Source, pack, pack_as};
pub use path::name_of;
pub use pipe::{Inlet, Outlet, Piece, pipe};
pub use room::Room;
pub use unpack::{UnpackError, Unpacked, unpack};
