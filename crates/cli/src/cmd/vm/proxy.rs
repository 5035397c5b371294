//! `banger vm proxy`

use std::io;

use banger_proto::api::UPGRADE_SSH;
use banger_proto::exit_code;
use clap_complete::ArgValueCandidates;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, parse_host, vm_path};
use crate::stdin::Input;

/// Bytes that are passed on at once.
const CHUNK: usize = 64 << 10;

/// Connect input and output to a VM's SSH server
///
/// For ssh, as its ProxyCommand: `banger ssh-config --install` sets that up. Never starts a VM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  banger vm proxy web.vm")]
pub(crate) struct Args {
    /// The VM: name, id or the beginning of an id, with or without `.vm`
    #[arg(value_parser = parse_host, add = ArgValueCandidates::new(complete::vms))]
    vm: VmRef,
}

pub(crate) async fn proxy(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let session = client.connect(&vm_path(&args.vm, "/ssh"), UPGRADE_SSH).await?;
    let op_id = session.op_id;
    let (from_vm, to_vm) = tokio::io::split(session.io);
    let asked = async {
        // An end that the VM does not hear of is one that it told itself.
        let _ = send_input(to_vm).await;
        std::future::pending().await
    };
    let answered = write_output(from_vm);
    let ended = tokio::select! {
        never = asked => never,
        ended = answered => ended,
    };
    ended.map_err(|error| error.of_operation(op_id))?;
    Ok(exit_code::OK)
}

/// Sends standard input, and then its end: more may be said to us nevertheless.
async fn send_input(mut to_vm: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut input = Input::open();
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk).await? {
            0 => return to_vm.shutdown().await,
            read => to_vm.write_all(&chunk[..read]).await?,
        }
    }
}

/// Writes what the VM says until it has said all.
async fn write_output(mut from_vm: impl AsyncRead + Unpin) -> Result<(), CliError> {
    let mut stdout = tokio::io::stdout();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from_vm.read(&mut chunk).await.map_err(|error| {
            CliError::failure("lost the connection to the VM")
                .because(&error)
                .hint("`banger ls` shows whether it runs")
        })?;
        if read == 0 {
            return Ok(());
        }
        let written = async {
            stdout.write_all(&chunk[..read]).await?;
            stdout.flush().await
        };
        written.await.map_err(|error| CliError::stdout(&error))?;
    }
}
