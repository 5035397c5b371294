//! The scripts that make releases and install them, with programs that only say what they are.
//!
//! | module | what is tested |
//! |---|---|
//! | `publishing` | `scripts/publish-release.sh` |
//! | `installer` | `scripts/install.sh` |
//!
//! Releases that are really built are installed, used, updated and removed in the tests of VMs.

mod installer;
mod publishing;
mod standin;
