//! What a snapshot says of itself: `snapshot.json`.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::SnapshotName;
use banger_proto::api::{GuestView, VmWorkspace};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::vm::plan::VmPlan;
use crate::vm::state::{Base, VmRecord};

/// Name of the file.
const FILE: &str = "snapshot.json";

/// What a snapshot is of. Stored as JSON: add fields with `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Its name among those of its VM.
    pub(crate) name: SnapshotName,
    /// When it was taken (RFC 3339).
    pub(crate) taken_at: String,
    /// The VM as it was planned then.
    pub(crate) plan: VmPlan,
    /// What it was made from.
    pub(crate) base: Base,
    /// The workspace in it.
    pub(crate) workspace: Option<VmWorkspace>,
    /// Its guest's memory; absent for one of a VM that did not run.
    pub(crate) memory: Option<Memory>,
}

/// What is to be known of a guest that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// What it needs to go on ([`Hypervisor::saved_with`](crate::hypervisor::Hypervisor::saved_with)).
    pub(crate) saved_with: String,
    /// How the guest was.
    pub(crate) guest: Option<GuestView>,
    /// Whether it had a network card.
    pub(crate) card: bool,
    /// Its disks, by place; the writable one is the snapshot's own.
    pub(crate) disks: Vec<PathBuf>,
}

impl Manifest {
    /// That of a snapshot of the VM, taken now.
    ///
    /// # Errors
    /// When the VM has never had an image.
    pub(crate) fn of(
        name: SnapshotName,
        record: &VmRecord,
        memory: Option<Memory>,
    ) -> Option<Self> {
        let plan = match memory {
            // What waits for a start is not in a guest that goes on.
            Some(_) => record.plan.of_running(),
            None => record.plan.clone(),
        };
        Some(Self {
            name,
            taken_at: Timestamp::now().to_string(),
            plan,
            base: record.base.clone()?,
            workspace: record.workspace.clone(),
            memory,
        })
    }

    /// Writes it to the snapshot's directory, for good.
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let mut file = fs_err::File::create(directory.join(FILE))?;
        io::Write::write_all(&mut file, &text)?;
        file.sync_all()
    }

    /// Reads it from there.
    ///
    /// # Errors
    /// When it is not there or says something else; the error names the file.
    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let text = fs_err::read(&path)?;
        serde_json::from_slice(&text).map_err(|error| {
            let path = path.display();
            io::Error::new(io::ErrorKind::InvalidData, format!("`{path}` cannot be read: {error}"))
        })
    }
}
