//! The daemon: the engine that makes and keeps VMs, and its HTTP face; and the supervisor, the
//! small program that owns one VMM.
//!
//! | module | responsible for |
//! |---|---|
//! | [`engine`] | the façade: what [`http`] and tests call |
//! | [`vm`] | life of a VM: states, plan, boot steps with undo, one owner task each, recovery |
//! | [`hypervisor`] | starting and stopping VMMs behind one trait |
//! | [`guest`] | speaking the guest protocol to an agent |
//! | [`disk`] | a VM's writable disk |
//! | [`dns`] | the name server of VMs |
//! | [`artifact`] | what images and kernels share |
//! | [`image`], [`kernel`] | local indexes, recipes, obtaining what is missing |
//! | [`workspace`] | a git repository on its way into a guest |
//! | [`ssh`] | keys for SSH into VMs, and the client's configuration |
//! | [`net`] | the network that VMs share, and what of it leads elsewhere |
//! | [`forward`] | ports of guests, from the host over the guest link |
//! | [`store`] | the database; the only SQL |
//! | [`config`] | the configuration file, defaults and where each value came from |
//! | [`doctor`] | checks of the host |
//! | [`dry_run`] | what a request would lead to |
//! | [`http`] | the interface on the unix socket |
//! | [`supervise`] | the supervisor's program |
//! | [`lifecycle`] | starting and ending the daemon: directories, lock, log, sockets |
//! | [`progress`] | telling a request's client how its work goes |
//! | `shares` | places for work, so many for each who asks |
//! | `operation` | which request the current task works for |
//! | [`exec`] | the only module that starts host programs |

pub mod artifact;
pub mod catalog;
pub mod config;
pub mod disk;
pub mod dns;
pub mod doctor;
pub mod dry_run;
pub mod engine;
pub mod exec;
pub mod fetcher;
mod file_stamp;
pub mod forward;
pub mod guest;
pub mod http;
pub mod hypervisor;
pub mod image;
pub mod kernel;
pub mod lifecycle;
pub mod net;
mod operation;
mod private;
pub mod progress;
pub mod rotated;
mod shares;
mod snapshot;
pub mod ssh;
pub mod step;
pub mod store;
pub mod supervise;
pub mod vm;
pub mod warm;
pub mod workspace;
