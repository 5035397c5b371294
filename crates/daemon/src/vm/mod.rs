//! The life of a VM, from a request to its last file's removal.
//!
//! | module | what |
//! |---|---|
//! | [`plan`], [`memorable`] | request + configuration + inventory → [`plan::VmPlan`], pure |
//! | [`state`] | the states and what each of them knows, with the diagram |
//! | [`queue`] | which request is accepted in which state, pure |
//! | `boot` | from a plan to a VM that runs commands, in named steps |
//! | `bring_in` | the workspace's way from host to guest |
//! | `change`, `set` | changing a VM that is there: what it will be, pure; doing so |
//! | `undo` | taking away what the steps made; the intents it works from are durable |
//! | `driver`, `owned` | one task per VM that owns it and does its requests in order |
//! | `desk` | where those requests are handed in, judged and answered |
//! | `uses`, `idle` | who uses a VM, and when nobody has for long enough to pause or stop it |
//! | `wake` | using a VM that may sleep |
//! | `health` | how a guest is, as it changes |
//! | `recover` | making records and reality agree when the daemon starts |
//! | `orphans` | what belongs to no VM |
//! | [`registry`] | which VMs there are, and what a user means by a reference |
//! | `program` | what runs in a VM: the image's defaults under what was asked |
//! | `console` | the console log: its tail in errors, its following |
//! | `view` | a VM as it is shown |
//! | [`stats`] | what VMs use, on the host and in their guests |
//! | [`news`] | what happens to VMs, numbered, for who listens |

pub(crate) mod boot;
pub(crate) mod bootstrap;
pub(crate) mod bring_in;
pub(crate) mod change;
pub(crate) mod console;
pub(crate) mod desk;
pub(crate) mod driver;
mod file_sync;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod idle;
pub mod memorable;
pub mod news;
pub(crate) mod orphans;
pub(crate) mod owned;
pub mod plan;
pub(crate) mod program;
pub mod queue;
pub(crate) mod recover;
pub mod registry;
pub(crate) mod set;
pub mod state;
pub mod stats;
pub(crate) mod undo;
pub(crate) mod uses;
pub(crate) mod view;
pub(crate) mod wake;
