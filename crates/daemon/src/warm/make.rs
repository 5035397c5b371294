//! Making a template: a VM that nobody sees boots, is written down, and ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::api::GuestView;
use banger_proto::guest::{Configured, GuestConfig, InitKind, InitState};
use banger_proto::{Code, Problem, SnapshotName, VmId, VmName};
use jiff::Timestamp;

use super::Wanted;
use crate::disk;
use crate::engine::{Host, gather_entropy};
use crate::guest::GuestClient;
use crate::hypervisor::SAVES;
use crate::net::Wishes;
use crate::snapshot::{DISK, Manifest, Memory, PROBE, Snapshot, compact, failed, prove, save};
use crate::step::Operation;
use crate::vm::boot::render::{Own, Parts, render_disks, render_guest_config, render_vmm_spec};
use crate::vm::plan::{Entropy, VmPlan, plan_copy};
use crate::vm::undo;

const WHAT: &str = "cannot make a template for warm starts";
/// How long a template's guest may take to be ready with all that starts by itself, with hardware
/// virtualisation.
const SYSTEM_DEADLINE: Duration = Duration::from_secs(60);

/// Makes a template in `directory`, which is there and empty. To be driven to its end.
///
/// # Errors
/// When its guest does not come up, or cannot go on; nothing runs then.
pub(super) async fn make(
    host: &Arc<Host>,
    wanted: &Wanted,
    name: &str,
    directory: &Path,
) -> Result<Snapshot, Problem> {
    let entropy = gather_entropy()?;
    let vm_name: VmName = format!("warm-{}", VmId::from_random(entropy.id))
        .parse()
        .map_err(|error| failed(WHAT, &error))?;
    let plan = plan_template(&wanted.plan, vm_name, entropy);
    fs_err::write(directory.join(PROBE), plan.id.as_str()).map_err(|error| failed(WHAT, &error))?;
    let (file, size) = (directory.join(DISK), plan.disk_size);
    let made = tokio::task::spawn_blocking(move || disk::create_writable(&file, size));
    made.await.map_err(|gone| failed(WHAT, &gone))??;
    let booted = boot(host, &plan, &wanted.parts, directory).await;
    let removed = undo::remove_vmm(
        host,
        &plan.id,
        &mut None,
        &host.followers.walk(&plan.name, Operation::Snapshot),
    )
    .await;
    host.network.forget(&plan.id).await;
    let memory = booted?;
    removed?;
    let manifest = Manifest {
        name: name.parse::<SnapshotName>().map_err(|error| failed(WHAT, &error))?,
        taken_at: Timestamp::now().to_string(),
        plan,
        base: wanted.parts.base.clone(),
        workspace: None,
        memory: Some(memory),
    };
    compact(directory).await?;
    prove(host, &manifest, directory).await?;
    manifest.save(directory).map_err(|error| failed(WHAT, &error))?;
    Ok(Snapshot { directory: directory.to_owned(), manifest })
}

/// The plan of a VM that is like all of its class, and has nothing of its own.
fn plan_template(of: &VmPlan, name: VmName, entropy: Entropy) -> VmPlan {
    let link_magic = banger_link::Magic::from_bytes(entropy.link_magic).to_string();
    VmPlan {
        link_magic,
        env: Default::default(),
        entrypoint: None,
        idle_stop: None,
        nat: false,
        host_ports: Default::default(),
        ..plan_copy(of, name, entropy)
    }
}

/// Boots it as far as it comes by itself, and writes it down.
async fn boot(
    host: &Arc<Host>,
    plan: &VmPlan,
    parts: &Parts,
    directory: &Path,
) -> Result<Memory, Problem> {
    let saved_with = host.hypervisor.saved_with().map_err(|error| failed(WHAT, &error))?;
    let walk = host.followers.walk(&plan.name, Operation::Snapshot);
    let place = host.network.attach(&plan.id, &plan.name, None, &Wishes::default()).await?;
    let card = place.card.ok();
    let own = Own {
        disk: directory.join(DISK),
        console_log: directory.join("console.log"),
        card: card.as_ref(),
        saved: None,
    };
    let spec = render_vmm_spec(plan, parts, own)?;
    let running = host.hypervisor.launch(&spec, &walk).await;
    let running = running.map_err(|error| failed(WHAT, &error))?;
    let deadline = host.config.ready_timeout.value * host.hypervisor.features().slowness;
    let guest = GuestClient::new(Arc::clone(&running));
    let hello = guest.within(deadline).hello().await.map_err(|error| failed(WHAT, &error))?;
    let network = card.as_ref().map(|card| card.guest.clone());
    let config = GuestConfig { network, ..render_guest_config(plan, parts)? };
    let configured = guest.within(deadline).configure(&config).await;
    let Configured { init, service, .. } = configured.map_err(|error| failed(WHAT, &error))?;
    if init == InitKind::Systemd {
        let deadline = SYSTEM_DEADLINE * host.hypervisor.features().slowness;
        let settled = tokio::time::timeout(deadline, settled(&guest)).await;
        settled.map_err(|late| failed("the template's system is not ready in time", &late))??;
    }
    let (state, boot_id) = (InitState::Running, hello.boot_id);
    let guest = Some(GuestView { init, state, boot_id, service, agent_gone: false });
    let saves = directory.join(SAVES);
    save(running.as_ref(), &saves, directory, WHAT).await?;
    fs_err::remove_dir(&saves).map_err(|error| failed(WHAT, &error))?;
    let disks = render_disks(plan, parts, directory.join(DISK));
    let disks = disks.into_iter().map(|disk| disk.path).collect();
    Ok(Memory { saved_with, guest, card: card.is_some(), disks })
}

/// Waits until all that starts by itself has started.
async fn settled(guest: &GuestClient) -> Result<(), Problem> {
    let mut health = guest.watch().await.map_err(|error| failed(WHAT, &error))?;
    while let Some(health) = health.next().await.map_err(|error| failed(WHAT, &error))? {
        if health.state == InitState::Running {
            return Ok(());
        }
    }
    Err(Problem::new(Code::OperationFailed, WHAT).cause("its guest ended"))
}
