//! The daemon's crate as the command line uses it, in its own process: the daemon itself, and what
//! is done without one.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use banger_cli::{
    Chunks, Configuration, Configured, DryRun, ImageBundle, KernelBundle, MadeBundle, SshClient,
    SshInclude,
};
use banger_daemon::config;
use banger_daemon::image;
use banger_daemon::kernel::{self, BundleRequest};
use banger_daemon::lifecycle::{self, Options};
use banger_daemon::rotated;
use banger_daemon::ssh;
use banger_proto::api::{CreateVm, WorkspaceSource};
use banger_proto::{Code, Problem, exit_code};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;

/// Runs the daemon in this process.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    match options(args) {
        Ok(options) => lifecycle::run(options),
        Err(problem) => {
            // Nobody may read it any more, which is no reason to panic.
            let _ = writeln!(io::stderr(), "banger: {problem}");
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

fn options(args: &[OsString]) -> Result<Options, Problem> {
    Options::from_process(|name| std::env::var_os(name), executable(), args)
        .map_err(|error| Problem::from_error(Code::BadRequest, &error))
}

/// This program's file; its name as typed where the kernel does not tell.
fn executable() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "banger".into())
}

/// What tells one build of the program from another.
pub(super) fn build() -> String {
    lifecycle::build_identity(&executable())
}

/// The description of the interface; nothing where it cannot be written, which no test has seen.
pub(super) fn describe() -> serde_json::Value {
    serde_json::to_value(banger_daemon::http::description()).unwrap_or_default()
}

/// What is configured.
pub(super) fn configuration() -> Result<Configuration, Problem> {
    let config::Shown { file, exists, settings, warnings } = config::show(&options(&[])?)?;
    let settings = settings.into_iter().map(|config::ShownSetting { key, value, text, origin }| {
        Configured { key, value, text, origin: origin.to_string() }
    });
    Ok(Configuration { file, exists, settings: settings.collect(), warnings })
}

/// Reads a log: all of it or its last lines, and on without an end.
pub(super) fn read_log(log: PathBuf, tail: Option<usize>, follow: bool) -> Chunks {
    rotated::stream(log, tail, follow.then(|| std::future::pending().boxed()))
}

/// Makes sure that an SSH client has all that it needs.
pub(super) fn ssh_client() -> Result<SshClient, Problem> {
    let config = ssh::prepare_client(&options(&[])?)?;
    Ok(SshClient { include: ssh::include::render_line(&config), config })
}

/// Changes the user's own configuration of SSH clients, or looks at it.
pub(super) fn ssh_include(wanted: Option<bool>) -> Result<SshInclude, Problem> {
    let ssh::Included { user_config, installed, changed } = ssh::include(&options(&[])?, wanted)?;
    Ok(SshInclude { user_config, installed, changed })
}

/// Packs a kernel.
pub(super) fn make_kernel_bundle(asked: &KernelBundle) -> Result<MadeBundle, Problem> {
    let request = BundleRequest {
        kernel: asked.kernel.clone(),
        modules: asked.modules.clone(),
        config: asked.config.clone(),
        distro: asked.distro.clone(),
        description: asked.description.clone(),
    };
    let (sha256, size) = kernel::make_bundle(request, &asked.out)?;
    Ok(MadeBundle { path: asked.out.clone(), sha256, size })
}

/// What a request would lead to.
pub(super) fn dry_run(request: &CreateVm) -> LocalBoxFuture<'_, Result<DryRun, Problem>> {
    Box::pin(async move {
        let planned = banger_daemon::dry_run::dry_run(&options(&[])?, request).await?;
        let text = |path: &PathBuf| path.display().to_string();
        let files = planned.files.map(|files| files.iter().map(text).collect());
        Ok(DryRun { plan: planned.plan.render_rows(), files })
    })
}

/// What would be brought into a VM.
pub(super) fn dry_run_workspace(
    source: &WorkspaceSource,
) -> LocalBoxFuture<'_, Result<DryRun, Problem>> {
    Box::pin(async move {
        let env = options(&[])?.env;
        let planned = banger_daemon::dry_run::dry_run_workspace(&env, source).await?;
        let plan = planned.plan.into_iter().map(|(name, value)| (name.to_owned(), value));
        let files = planned.files.iter().map(|path| path.display().to_string()).collect();
        Ok(DryRun { plan: plan.collect(), files: Some(files) })
    })
}

/// Packs an image.
pub(super) fn make_image_bundle(
    asked: ImageBundle,
    stop: CancellationToken,
) -> LocalBoxFuture<'static, Result<MadeBundle, Problem>> {
    Box::pin(async move {
        let asked = image::MakeBundle {
            rootfs_tar: asked.rootfs_tar,
            name: asked.name,
            distro: asked.distro,
            arch: asked.arch,
            kernel_ref: asked.kernel_ref,
            description: asked.description,
            size: asked.size,
            out: asked.out,
        };
        let made = image::make_bundle(asked, stop).await?;
        Ok(MadeBundle { path: made.path, sha256: made.sha256, size: made.size })
    })
}
