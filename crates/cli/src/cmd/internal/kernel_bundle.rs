//! `banger internal make-kernel-bundle`

use std::path::PathBuf;

use banger_proto::exit_code;

use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::hooks::KernelBundle;

/// Pack a kernel as a bundle
///
/// Prints the bundle's path, SHA-256 and length, a line each. The same files give the same bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  banger internal make-kernel-bundle --kernel vmlinux --distro debian --description mine --out k.tar.zst")]
pub(crate) struct Args {
    /// An ELF vmlinux, a bzImage or a Debian package
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// Its modules: a directory or a modules.cpio [default: the package's]
    #[arg(long, value_name = "DIR|FILE")]
    modules: Option<PathBuf>,
    /// Its configuration [default: the package's, or what the kernel carries]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Distribution that its source comes from
    #[arg(long)]
    distro: String,
    /// One line about it
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// The bundle; replaced when it is there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn make(context: &Context, args: Args) -> Outcome {
    let Args { kernel, modules, config, distro, description, out } = args;
    let bundle = KernelBundle { kernel, modules, config, distro, description, out };
    let made = (context.hooks.make_kernel_bundle)(&bundle).map_err(CliError::from)?;
    context.ui.print(&format!("{}\n{}\n{}", bundle.out.display(), made.sha256, made.size))?;
    Ok(exit_code::OK)
}
