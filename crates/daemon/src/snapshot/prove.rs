//! A snapshot is tried before it is relied upon: a VMM that nobody knows goes on from it without its guest's
//! taking a step.

use std::path::Path;
use std::sync::Arc;

use banger_proto::{Code, Problem, VmId};

use super::{DISK, Manifest, failed};
use crate::engine::Host;
use crate::net::Wishes;
use crate::step::{Operation, Step};
use crate::vm::boot::render::{Own, Parts, render_vmm_spec};
use crate::vm::plan::VmPlan;
use crate::vm::undo;

/// Name of the file that says which VM tries a snapshot, for whoever finds both after a kill.
pub(crate) const PROBE: &str = "probe";
/// What the VMM that tries it writes, and its supervisor.
const LOGS: [&str; 2] = ["console.log", crate::supervise::SUPERVISOR_LOG];

/// Makes sure that guests go on from what `directory` has. To be driven to its end: what was begun would
/// stay until the next daemon.
///
/// # Errors
/// When they do not; nothing is left of the attempt.
pub(crate) async fn prove(
    host: &Arc<Host>,
    manifest: &Manifest,
    directory: &Path,
) -> Result<(), Problem> {
    let Some(memory) = &manifest.memory else { return Ok(()) };
    const WHAT: &str = "what was saved of the guest is of no use";
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|error| failed(WHAT, &error))?;
    let id = VmId::from_random(random);
    fs_err::write(directory.join(PROBE), id.as_str()).map_err(|error| failed(WHAT, &error))?;
    let walk = host.followers.walk(&manifest.plan.name, Operation::Snapshot);
    walk.enter(Step::Prove).await;
    let plan = VmPlan { id: id.clone(), ..manifest.plan.clone() };
    let tried = async {
        let parts = Parts::reopen(host, &manifest.base).await?;
        let card = match memory.card {
            true => {
                let name = format!("probe-{id}").parse();
                let name = name.map_err(|error| failed(WHAT, &error))?;
                Some(host.network.attach(&id, &name, None, &Wishes::default()).await?.card?)
            }
            false => None,
        };
        let own = Own {
            disk: directory.join(DISK),
            console_log: directory.join(LOGS[0]),
            card: card.as_ref(),
            saved: None,
        };
        let spec = render_vmm_spec(&plan, &parts, own)?;
        let proven = host.hypervisor.prove(&spec, directory, &walk).await;
        proven.map_err(|error| failed(WHAT, &error))
    };
    let tried: Result<(), Problem> = tried.await;
    let removed = undo::remove_vmm(host, &id, &mut None, &walk).await;
    host.network.forget(&id).await;
    tried?;
    removed?;
    let directory = directory.to_owned();
    let finished = tokio::task::spawn_blocking(move || {
        for name in LOGS.into_iter().chain([PROBE]) {
            match fs_err::remove_file(directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    });
    finished
        .await
        .map_err(|gone| Problem::from_error(Code::OperationFailed, &gone))?
        .map_err(|error| failed("cannot finish the snapshot", &error))
}
