//! The guest's side of banger: the first program of every boot and the services that the host
//! uses through the guest link.
//!
//! ```text
//!   kernel ── /init ──┬── process 1 (`pid1`)          becomes the image's systemd, or stays:
//!                     │        ▲ one socket             reaps, handles signals, powers off
//!                     │        ▼ (`door`)
//!                     └── @banger-agent (`resident`)   port or vsock → link → services
//! ```
//!
//! The two are separate processes from the start. So only process 1 ever reaps strangers, the
//! agent only ever waits for commands it started, and the state of the link survives the moment
//! at which process 1 becomes another program.
//!
//! The service layer ([`serve_stream`] with a [`Context`]) knows nothing of virtual machines: it
//! runs as well over a socket pair in a test, with [`Hosted`] in the place of the boot code.

mod boot;
mod cmdline;
mod context;
mod copy;
mod door;
mod exec;
mod guard;
mod hosted;
mod image_program;
mod jobs;
mod pid1;
mod port;
mod ports;
mod resident;
pub mod role;
mod root;
mod services;
mod ssh;
mod survey;
mod sys;
mod uevent;
mod unpack;
mod vsock;

pub use context::{Context, Machine};
pub use hosted::Hosted;
pub use root::Root;
pub use services::serve_stream;
pub use ssh::SshPlaces;
pub use ssh::builtin::serve as serve_ssh;
