//! Ports of the host that were asked for. They are had before the VM starts: whoever connects then
//! waits until the guest is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use banger_proto::api::Publish;
use banger_proto::{Code, Problem};

use super::budget::Budget;
use super::doors::{Door, open_door};

/// The sockets. Dropped, they are closed.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(super) doors: BTreeMap<Publish, Door>,
}

impl Published {
    /// All of them, or none. Needs a runtime around it.
    ///
    /// # Errors
    /// When one cannot be had.
    pub(crate) fn open(asked: &BTreeSet<Publish>, budget: &Budget) -> Result<Self, Problem> {
        let open = |publish: &Publish| {
            let door = open_door(publish.endpoint(), budget);
            door.map(|door| (*publish, door)).map_err(|error| explain(*publish, &error))
        };
        Ok(Self { doors: asked.iter().map(open).collect::<Result<_, _>>()? })
    }
}

/// What others than this host may be told by, one line for each address.
pub(crate) fn render_exposures(asked: &BTreeSet<Publish>) -> Vec<String> {
    let beyond = asked.iter().filter(|publish| !publish.address.is_loopback());
    beyond
        .map(|publish| {
            let Publish { guest, .. } = publish;
            let at = publish.endpoint();
            format!("others in the network reach port {guest} of the VM at {at}")
        })
        .collect()
}

fn explain(publish: Publish, error: &io::Error) -> Problem {
    let Publish { host, guest, address } = publish;
    let at = publish.endpoint();
    let message = format!("port `{at}` cannot be published");
    match error.kind() {
        io::ErrorKind::AddrInUse => Problem::new(Code::Conflict, message)
            .cause("another program, or another VM, listens there")
            .hint(format!("who it is: ss -ltnp 'sport = :{host}'"))
            .hint("choose another port of the host: --publish HOST:GUEST"),
        io::ErrorKind::PermissionDenied => Problem::new(Code::BadRequest, message)
            .cause("only root may listen at it")
            .hint(format!("choose one from 1024 on: --publish {}:{guest}", u32::from(host) + 8000))
            .hint(format!(
                "or let everybody have it: sudo sysctl net.ipv4.ip_unprivileged_port_start={host}"
            )),
        io::ErrorKind::AddrNotAvailable => Problem::new(Code::BadRequest, message)
            .cause(format!("`{address}` is no address of this host"))
            .hint("without an address it is 127.0.0.1; the host's own: ip -brief address"),
        _ => Problem::new(Code::OperationFailed, message).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_way_out() {
        let publish = "127.0.0.1:443:8443".parse().unwrap();
        let told = |kind: io::ErrorKind| explain(publish, &kind.into());
        let taken = told(io::ErrorKind::AddrInUse);
        assert_eq!(taken.code, Code::Conflict);
        assert_eq!(taken.message, "port `127.0.0.1:443` cannot be published");
        let forbidden = told(io::ErrorKind::PermissionDenied);
        assert!(forbidden.hints[0].ends_with("--publish 8443:8443"), "{forbidden:?}");
        assert!(told(io::ErrorKind::AddrNotAvailable).causes[0].contains("127.0.0.1"));
    }

    #[test]
    fn only_what_others_reach_is_told() {
        let asked =
            ["8080:80", "0.0.0.0:8081:80", "[::1]:8082:80"].map(|text| text.parse().unwrap());
        let told = render_exposures(&asked.into());
        assert_eq!(told, ["others in the network reach port 80 of the VM at 0.0.0.0:8081"]);
    }
}
