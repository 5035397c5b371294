//! banger as a service of the system: what `banger system install` puts onto a host, and takes off it.
//!
//! | module | responsible for |
//! |---|---|
//! | `owner` | whom the service is for |
//! | `units` | what is written, as text; pure |
//! | `hardening` | what the services may not do, each with why; pure |
//! | `programs` | which programs root may run, and where copies of them go |
//! | `record` | what was installed, for who takes it off again |
//! | `turn` | one install or uninstall at a time |
//! | `files` | writing and removing files as root, and taking that back |
//! | `host` | programs of the host: the service manager, and banger as the owner |
//! | `installation` | the order of it all |

mod files;
mod hardening;
mod host;
mod installation;
mod owner;
mod programs;
mod record;
mod turn;
mod units;

pub(crate) use host::{AsOwner, check_daemon, check_manager, list_running, stop_vms, systemctl};
pub(crate) use installation::{Installation, restart, uninstall, user_directories};
pub(crate) use owner::Owner;
pub(crate) use record::Record;
pub(crate) use turn::Turn;
pub(crate) use units::{DAEMON_SERVICE, DAEMON_SOCKET, HELPER_SOCKET};
