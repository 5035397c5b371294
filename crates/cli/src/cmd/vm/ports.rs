//! `banger vm ports`

use banger_proto::api::{PortView, VmPorts};
use banger_proto::exit_code;
use banger_proto::guest::PortProtocol;
use banger_proto::harmless::render_line;
use clap_complete::ArgValueCompleter;
use futures_util::future::join_all;

use crate::cmd::Context;
use crate::complete;
use crate::errors::{CliError, Outcome};
use crate::reference::{VmRef, vm_path};
use crate::table::render_table;

/// Show what listens in VMs, and where the host reaches it
///
/// Every TCP port that a program in the guest listens at is forwarded from the VM's own address of
/// the host, as soon as it is there; a port below 1024 from port + 8000 where only root may have it.
/// A URL is shown where HTTP is answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  banger vm ports web
  banger vm ports web db --json
To have a port of the host's own for it: banger vm run -p 8080:80")]
pub(crate) struct Args {
    /// The VMs: names, ids or beginnings of ids
    #[arg(required = true, value_name = "VM", add = ArgValueCompleter::new(complete::other_vms))]
    vms: Vec<VmRef>,
    /// Print JSON: a list with one element for each VM that answered
    #[arg(long)]
    json: bool,
}

pub(crate) async fn ports(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let asked = args.vms.iter().map(|vm| {
        let (client, path) = (client.clone(), vm_path(vm, "/ports"));
        async move { client.get::<VmPorts>(&path).await }
    });
    let (mut told, mut worst) = (Vec::new(), exit_code::OK);
    for answer in join_all(asked).await {
        match answer {
            Ok(ports) => told.push(ports),
            Err(error) => {
                worst = worst.max(error.exit_code());
                error.show(&context.ui);
            }
        }
    }
    if args.json {
        context.ui.print_json(&told)?;
    } else if !told.is_empty() {
        context.ui.print(&render_all(&told, args.vms.len() > 1))?;
    }
    if worst == exit_code::OK { Ok(worst) } else { Err(CliError::reported().exiting(worst)) }
}

/// One table; with the VMs in it where several were asked for.
fn render_all(told: &[VmPorts], several: bool) -> String {
    let mut headings = vec!["PROTO", "PORT", "PROCESS", "ENDPOINT", "URL"];
    if several {
        headings.insert(0, "VM");
    }
    let rows = told.iter().flat_map(|vm| {
        vm.ports.iter().map(move |port| {
            let mut row = row(port);
            if several {
                row.insert(0, vm.name.to_string());
            }
            row
        })
    });
    render_table(&headings, rows)
}

fn row(port: &PortView) -> Vec<String> {
    let protocol = match port.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
    };
    let process = port.process.as_ref().map(|process| render_line(&process.name));
    let places: Vec<String> =
        port.endpoint.iter().chain(&port.published).map(ToString::to_string).collect();
    let why = port.problem.as_ref().map(|problem| format!("({})", render_line(problem)));
    vec![
        protocol.to_owned(),
        port.port.to_string(),
        process.unwrap_or_default(),
        places.into_iter().chain(why).collect::<Vec<_>>().join(", "),
        port.url.as_deref().map(render_line).unwrap_or_default(),
    ]
}
