//! The crash matrix: every process that takes part in something is killed at every step of it (at every
//! other one in a run that has little time).
//!
//! | module | responsible for |
//! |---|---|
//! | `follower` | stopping a daemon at a step |
//! | `victim` | who is killed |
//! | `guest` | killing the one that is inside |
//! | `operation` | what is done, what must have become of the VM, what the next command is |
//! | `matrix` | one cell after the other, and what must hold after each (`matrix::rest`, `matrix::saved`) |
//! | `network` | whether VMs have it, and what is left of it |
//! | `load` | work for the machine meanwhile |
//! | `page` | the tables in `docs/reliability.md` |
//!
//! The steps come from the daemon: an operation is done once with nobody killed, and the steps
//! that it enters are the rows.

mod follower;
mod guest;
mod load;
mod matrix;
mod network;
mod operation;
mod page;
mod victim;

use operation::Operation;

#[test]
fn create() {
    matrix::run(Operation::Create);
}

#[test]
fn start() {
    matrix::run(Operation::Start);
}

#[test]
fn exec() {
    matrix::run(Operation::Exec);
}

#[test]
fn set() {
    matrix::run(Operation::Set);
}

#[test]
fn pause() {
    matrix::run(Operation::Pause);
}

#[test]
fn resume() {
    matrix::run(Operation::Resume);
}

#[test]
fn snapshot() {
    matrix::run(Operation::Snapshot);
}

#[test]
fn restore() {
    matrix::run(Operation::Restore);
}

#[test]
fn fork() {
    matrix::run(Operation::Fork);
}

#[test]
fn stop() {
    matrix::run(Operation::Stop);
}

#[test]
fn kill() {
    matrix::run(Operation::Kill);
}

#[test]
fn delete() {
    matrix::run(Operation::Delete);
}

#[test]
fn recover() {
    matrix::run(Operation::Recover);
}
