//! Guests that are saved, and go on in another VMM.

use std::collections::VecDeque;
use std::path::Path;

use banger_daemon::hypervisor::{HypervisorError, Saved, VmmSpec};
use banger_daemon::step::{Step, Walk};
use banger_proto::guest::GuestConfig;
use banger_proto::supervisor::SAVED_STATE;
use serde::{Deserialize, Serialize};

use crate::world::{Boot, World};

/// What becomes of guests that are saved.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    /// How the next proofs end.
    next_proof: VecDeque<Result<(), String>>,
    /// What runs VMs now, if it is not what ran the first ones.
    vmm: Option<String>,
}

/// A guest that was saved, and the machine that it was saved in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedGuest {
    /// What it was configured with, if it was.
    config: Option<GuestConfig>,
    machine: Machine,
}

/// What a VMM must be started with for a guest to go on in it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    vcpu: u32,
    memory_mib: u64,
    /// The serials of its disks, by place.
    disks: Vec<String>,
    card: bool,
    link_magic: String,
}

impl Machine {
    fn of(spec: &VmmSpec) -> Self {
        Self {
            vcpu: spec.vcpu,
            memory_mib: spec.memory_mib,
            disks: spec.disks.iter().map(|disk| disk.serial.clone()).collect(),
            card: spec.card.is_some(),
            link_magic: spec.link_magic.to_string(),
        }
    }
}

impl World {
    /// Has the next proof of a saved guest fail for this reason.
    pub fn refuse_next_proof(&self, why: &str) {
        self.state().saving.next_proof.push_back(Err(why.to_owned()));
    }

    /// From now on VMs are run by another VMM, which can do nothing with what the one before saved.
    pub fn change_vmm(&self, name: &str) {
        self.state().saving.vmm = Some(name.to_owned());
    }

    /// What saved guests need to go on.
    pub(crate) fn saves_with(&self) -> String {
        self.state().saving.vmm.clone().unwrap_or_else(|| "a world in memory".to_owned())
    }

    /// Tries a saved guest: one more VMM, which is there meanwhile.
    pub(crate) async fn try_saved(
        &self,
        spec: &VmmSpec,
        directory: &Path,
        walk: &Walk,
    ) -> Result<(), HypervisorError> {
        let proven = self.state().saving.next_proof.pop_front().unwrap_or(Ok(()));
        let saved = Some(Saved { directory: directory.to_owned(), paused: true });
        self.launch_now(&VmmSpec { saved, ..spec.clone() }, Boot::Works)?;
        walk.enter(Step::Report).await;
        proven.map_err(|message| HypervisorError { message, source: None })
    }
}

/// Writes down a guest that was configured so.
pub(crate) fn save_guest(
    config: Option<GuestConfig>,
    spec: &VmmSpec,
    directory: &Path,
) -> Result<(), HypervisorError> {
    let saved = serde_json::to_vec(&SavedGuest { config, machine: Machine::of(spec) });
    saved
        .map_err(std::io::Error::from)
        .and_then(|saved| fs_err::write(directory.join(SAVED_STATE), saved))
        .map_err(|error| failure("cannot save the guest", error))
}

/// What the guest that was saved there was configured with, if it was, for a VMM that is the same machine.
pub(crate) fn load_guest(
    directory: &Path,
    spec: &VmmSpec,
) -> Result<Option<GuestConfig>, HypervisorError> {
    let text = fs_err::read(directory.join(SAVED_STATE));
    let saved: SavedGuest = text
        .and_then(|text| Ok(serde_json::from_slice(&text)?))
        .map_err(|error| failure("cannot go on from what was saved", error))?;
    let machine = Machine::of(spec);
    if saved.machine != machine {
        let message = format!("saved in {:?}, which is not {machine:?}", saved.machine);
        return Err(HypervisorError { message, source: None });
    }
    Ok(saved.config)
}

fn failure(message: &str, error: std::io::Error) -> HypervisorError {
    HypervisorError { message: message.to_owned(), source: Some(Box::new(error)) }
}
