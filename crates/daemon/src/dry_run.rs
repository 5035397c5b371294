//! What a request would lead to, found out without a daemon and without making anything.

use std::path::{Path, PathBuf};

use banger_proto::api::{CreateVm, WorkspaceSource};
use banger_proto::{Code, Problem};

use crate::config::{load_config, observe_host, resolve};
use crate::engine::gather_entropy;
use crate::exec::HostEnv;
use crate::hypervisor::{ConfiguredHypervisor, Hypervisor};
use crate::image::Images;
use crate::kernel::Kernels;
use crate::lifecycle::{Options, find_helper};
use crate::vm::bootstrap;
use crate::vm::plan::{Inventory, VmPlan, image_name, plan_vm};
use crate::workspace::{GUEST_PATH, Options as WorkspaceOptions, Source, WorkspaceError};

/// The plan, and the files that would travel.
#[derive(Debug)]
pub struct DryRun {
    /// The plan. Its id, and its name where none was asked for, are examples.
    pub plan: VmPlan,
    /// The workspace's files by path from the top of the repository; absent without one.
    pub files: Option<Vec<PathBuf>>,
}

/// Plans `asked`.
///
/// # Errors
/// When the request would be refused. Names that are taken are not known here.
pub async fn dry_run(options: &Options, asked: &CreateVm) -> Result<DryRun, Problem> {
    let failed = |error: &dyn std::error::Error| Problem::from_error(Code::OperationFailed, error);
    let (file, _) = load_config(&options.paths.config_file).map_err(|error| failed(&error))?;
    let config = resolve(file, observe_host());
    let fetcher = options.fetcher(&config);
    let images = Images::new(&options.paths, &options.env, &fetcher, None);
    let image_kernel = images.kernel_of(image_name(asked, &config)).await?;
    let hypervisor = ConfiguredHypervisor::new(
        &config,
        options.env.clone(),
        options.paths.clone(),
        options.executable.clone(),
        find_helper(&options.executable),
    );
    let inventory = Inventory { names: [].into(), image_kernel, backend: hypervisor.features() };
    let plan = plan_vm(asked, &config, &inventory, gather_entropy()?)?;
    let kernels = Kernels::new(&options.paths, &options.env, &fetcher, None);
    if let Some(kernel) = kernels.find(&plan.kernel).await? {
        kernel.check(inventory.backend.machine)?;
    }
    let files = match &asked.workspace {
        None => None,
        Some(source) => {
            let (inspected, files) = inspect(&options.env, source).await?;
            bootstrap::check(asked, &inspected, plan.nat)?;
            Some(files)
        }
    };
    Ok(DryRun { plan, files })
}

/// What would be brought into a VM.
#[derive(Debug)]
pub struct WorkspaceDryRun {
    /// Labels and values, in the order to show.
    pub plan: Vec<(&'static str, String)>,
    /// The files, by path from the top of the repository.
    pub files: Vec<PathBuf>,
}

/// Plans to bring `source` into a VM, whichever it is: what its guest has is not known here.
///
/// # Errors
/// When the repository cannot travel so.
pub async fn dry_run_workspace(
    env: &HostEnv,
    source: &WorkspaceSource,
) -> Result<WorkspaceDryRun, Problem> {
    let (inspected, files) = inspect(env, source).await?;
    let workspace = inspected.workspace();
    let untracked = if source.include_untracked { "brought" } else { "left on the host" };
    let plan = vec![
        ("workspace", format!("{} to {GUEST_PATH}", workspace.host_path)),
        ("mode", workspace.mode.as_str().to_owned()),
        ("branch", workspace.branch.unwrap_or_default()),
        ("head", workspace.head.unwrap_or_default()),
        ("untracked", untracked.to_owned()),
    ];
    Ok(WorkspaceDryRun { plan, files })
}

async fn inspect(
    env: &HostEnv,
    source: &WorkspaceSource,
) -> Result<(Source, Vec<PathBuf>), Problem> {
    let work = async {
        let options = WorkspaceOptions::from(source);
        let inspected = Source::inspect(env, Path::new(&source.path), options).await?;
        let files = inspected.files().await?;
        Ok((inspected, files.into_iter().map(|file| file.path).collect()))
    };
    work.await.map_err(|error: WorkspaceError| error.problem())
}
