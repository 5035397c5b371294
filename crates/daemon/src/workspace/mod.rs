//! A git repository on its way into a guest: the tracked files as they are on the host's disk,
//! the commit that is checked out, and an index that says the same as the host's; and, in `home`, the
//! changes on their way back. The transport is no business of this module.
//!
//! ```text
//!  Source::inspect ──▶ Source ──archive──▶ Archive ──stream──▶ Chunks ──▶ the guest's unpack
//!  is it a repository   │ files()           .git built in a     tar, zstd
//!  that can travel?     ▼ for a dry run     temporary directory
//! ```
//!
//! Everything is made on the host by the user's own `git`; the guest needs none to unpack. What
//! `git status` says in the guest about tracked files is what it says on the host:
//!
//! | on the host | in the archive |
//! |---|---|
//! | `HEAD`, its commit, trees and blobs | one pack; the commit is the edge of a shallow history |
//! | branches, tags, their history | in a full one only |
//! | submodules that are checked out | in a full one only, each a full one of its own |
//! | the index, with staged blobs, conflicts and flags | the same index, rewritten in the oldest format |
//! | files in the working tree | as they are on disk; a missing one is missing |
//! | settings that change what git does with files | copied from a closed list |
//! | identity, origin | copied; credentials in the origin's URL are cut out |
//! | ignore rules outside the tree | copied to `info/exclude` |
//! | hooks, credentials, other remotes, reflogs, stashes | stay |
//!
//! A branch that begins at another commit than the host's comes with that commit's files instead.
//!
//! | module | responsible for |
//! |---|---|
//! | `git` | asking git without side effects |
//! | `source` | what kind of repository a path is in, and what would travel |
//! | `index` | what git tells about its index |
//! | `settings` | which settings travel |
//! | `origin` | URLs without credentials |
//! | `tools` | which file names tools for mise |
//! | `start` | what is checked out: the host's head, or a branch of the guest's own |
//! | `references` | which branches and tags travel, and where their history ends |
//! | `commits` | whether the host has commits that a guest names |
//! | `modules` | the submodules that are checked out |
//! | `metadata` | the guest's `.git`, built on the host |
//! | `archive` | the stream |
//! | `recorded` | writing down what travels |
//! | `home` | what comes back |

mod archive;
mod commits;
mod error;
mod git;
pub(crate) mod home;
mod index;
mod metadata;
mod modules;
mod origin;
mod recorded;
mod references;
mod settings;
mod source;
mod start;
mod tools;

#[cfg(test)]
mod tests;

pub use archive::{Archive, Chunks};
pub use error::WorkspaceError;
pub use source::{Head, Options, Source, WorkspaceFile};

/// Where the repository is in the guest.
pub const GUEST_PATH: &str = "/root/repo";
