//! `banger kernel import`

use std::path::{Path, PathBuf};

use banger_proto::api::{Event, ImportKernel, ModulesFrom};
use banger_proto::exit_code;
use clap::ValueHint;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::progress::{Progress, ProgressArg};
use crate::signals::Signals;

/// Make a kernel of a file that you have
///
/// FILE is an ELF vmlinux, a bzImage (vmlinuz), a Debian package of a kernel (.deb), or a bundle
/// (.tar.zst). Of the modules those are taken that a guest needs to boot, and
/// those that programs in it may ask for, which are most but drivers of hardware. What the kernel was
/// built with decides whether VMs can run on it; a kernel that does not tell is tried.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger kernel import mine vmlinux
  banger kernel import mine arch/x86/boot/bzImage --config .config
  banger kernel import host /boot/vmlinuz --modules /lib/modules/6.1.0-9-amd64
  banger kernel import debian linux-image-6.1.0-9-cloud-amd64.deb
Then:
  banger kernel show mine
  banger vm run --kernel mine")]
pub(crate) struct Args {
    /// Name of the new kernel
    name: String,
    /// The kernel
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Its modules: a directory, a modules.cpio, or `none` [default: the package's]
    #[arg(long, value_name = "DIR|FILE|none", value_hint = ValueHint::AnyPath)]
    modules: Option<PathBuf>,
    /// Its configuration [default: the package's, or what the kernel carries]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// One line about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Replace a kernel of that name; VMs keep the one they use
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    progress: ProgressArg,
}

pub(crate) async fn import(context: &Context, args: Args) -> Outcome {
    let mut signals = Signals::ending()?;
    let mut progress = Progress::new(context, args.progress);
    let modules = match args.modules.as_deref() {
        None => ModulesFrom::Package,
        Some(path) if path == Path::new("none") => ModulesFrom::None,
        Some(path) => ModulesFrom::Path(absolute(path)?),
    };
    let request = ImportKernel {
        name: args.name,
        path: absolute(&args.file)?,
        modules,
        config: args.config.as_deref().map(absolute).transpose()?,
        description: args.description,
        force: args.force,
    };
    let client = context.daemon(&mut signals).await?;
    progress.begin("importing the kernel");
    let mut events = signals.race(client.events("/v1/kernels/import", &request)).await?;
    match progress.follow(&mut events, &mut signals).await? {
        Event::KernelReady { kernel } => context.ui.print(&kernel.name)?,
        other => return Err(super::unexpected(&other)),
    }
    Ok(exit_code::OK)
}

/// The path as the daemon, which is somewhere else, can use it.
fn absolute(path: &Path) -> Result<String, CliError> {
    let found = path.canonicalize().map_err(|error| {
        CliError::failure(format!("cannot read `{}`", path.display())).because(&error)
    })?;
    found
        .into_os_string()
        .into_string()
        .map_err(|path| CliError::failure(format!("path `{}` is not UTF-8", path.display())))
}
