//! Daemon ↔ network helper.
//!
//! One connected unix socket of type `SOCK_SEQPACKET`: each packet from the daemon is the JSON of one
//! [`Request`], answered by one packet with the JSON of a [`Reply`] before the next is read. Descriptors
//! that belong to a reply travel with its packet (`SCM_RIGHTS`), in the order that the operation names.
//! Nothing that a packet says is a name of an interface, a table or a file: the helper derives those from
//! ids and addresses, after it has checked them.
//!
//! Every operation can be done again: what is as asked already stays as it is.
//!
//! For an ordinary user the daemon starts the helper itself. Where banger is a service of the system, the
//! service manager starts one for each connection to [`SYSTEM_SOCKET`], which takes its owner's only.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::jail::JailTrial;
use crate::{BridgeName, MacAddress, Subnet, VmId};

/// Largest packet, bytes. The kernel's default for what waits in a socket is 208 KiB.
pub const MAX_PACKET: usize = 128 << 10;
/// Most guests in [`Rules`]: a bridge has 1,023 ports (the kernel's `BR_MAX_PORTS` less one).
pub const MAX_GUESTS: usize = 1_000;
/// Most ports of the host that one guest may reach.
pub const MAX_HOST_PORTS: usize = 64;
/// Most bytes in a packet in a network of the user's own, those that pasta puts in one. Its end of a guest's
/// connection is in the host, so no network beyond sees such a packet; downloads are several times as
/// fast as with [`HOST_MTU`] (docs/networking.md).
pub const OWN_MTU: u16 = 65_520;
/// Most bytes in a packet in the host's network: Ethernet's, as the host's own cards have.
pub const HOST_MTU: u16 = 1_500;
/// Most networks in [`Rules::host_addresses`].
pub const MAX_HOST_ADDRESSES: usize = 256;

/// What the daemon writes on a holder's standard input once it has noted whom it started. A holder whose
/// input ends before that ends, too: nobody would find it again.
pub const KEEP: &[u8] = b"keep\n";

/// The one line on a holder's standard output: who holds what, or why nobody does. The end of the output
/// follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HolderReport {
    /// The namespaces are there.
    Holds(Held),
    /// They are not.
    Failed {
        /// What could not be done.
        failed: String,
        /// What that was due to, outermost first.
        causes: Vec<String>,
    },
}

/// The namespaces that a holder keeps, and who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its process id.
    pub pid: u32,
    /// Clock ticks between the host's boot and its start: with the id, it is this process.
    pub start_time: u64,
    /// Inode of the user namespace, by which the kernel tells namespaces apart.
    pub userns_inode: u64,
    /// Inode of the network namespace.
    pub netns_inode: u64,
}

/// What the reason in a [`ProbeReport`] begins with for what was not tried, as it needs something that does
/// not work.
pub const NOT_TRIED: &str = "not tried: ";

/// What `banger-helper probe` prints, one line: for everything that a network in a namespace needs, and
/// for the jail of VMMs, why it does not work, nothing for what does. Outermost reason first, each followed by what it is due to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeReport {
    /// A user namespace of the user's own.
    pub userns: Option<String>,
    /// A network namespace in it.
    pub netns: Option<String>,
    /// A bridge in that.
    pub bridge: Option<String>,
    /// A tap on the bridge.
    pub tap: Option<String>,
    /// Rules for packets.
    pub nft: Option<String>,
    /// The jail of VMMs.
    pub jail: JailTrial,
}

impl ProbeReport {
    /// Whether a network works.
    #[must_use]
    pub fn has_network(&self) -> bool {
        let Self { userns, netns, bridge, tap, nft, jail: _ } = self;
        [userns, netns, bridge, tap, nft].into_iter().all(Option::is_none)
    }
}

/// What the uplink is called in a namespace of a user's own.
pub const UPLINK: &str = "up0";
/// What the name of every tap begins with; the VM's id follows. 15 bytes, the most there can be.
pub const TAP_PREFIX: &str = "bt-";
/// Where the helper of a machine listens on which banger is installed as a service of the system.
pub const SYSTEM_SOCKET: &str = "/run/banger/helper.sock";
/// Port of the name server on the bridge.
pub const DNS_PORT: u16 = 53;

/// The name of the tap of a VM.
#[must_use]
pub fn tap_name(vm: &VmId) -> String {
    format!("{TAP_PREFIX}{vm}")
}

/// What the service manager calls the processes of a VM.
#[must_use]
pub fn scope_name(vm: &VmId) -> String {
    format!("banger-vm-{vm}.scope")
}

/// What the helper can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Tell what there is.
    Observe {},
    /// Make the bridge, with the subnet's gateway as its address, and set what the kernel must do with
    /// its packets.
    EnsureBridge {
        /// The network on it.
        subnet: Subnet,
    },
    /// Remove the bridge; its taps stay, without it.
    RemoveBridge {},
    /// Make the VM's tap on the bridge, for the user's VMM to attach to.
    EnsureTap {
        /// The VM.
        vm: VmId,
    },
    /// Remove the VM's tap.
    RemoveTap {
        /// The VM.
        vm: VmId,
    },
    /// Replace all rules by these, at once.
    ApplyRules(Rules),
    /// Remove all rules.
    RevertRules {},
    /// Listen at the gateway's port 53: the reply has a UDP socket and a listening TCP socket.
    ListenDns {
        /// The network whose gateway is meant.
        subnet: Subnet,
    },
    /// Listen at a port of the gateway: the reply has a listening TCP socket.
    ListenTcp {
        /// The network whose gateway is meant.
        subnet: Subnet,
        /// The port, neither 0 nor 53.
        port: u16,
    },
    /// Have the host's resolver ask `127.0.0.1:port` for names of VMs. In the host's network only.
    RouteNames {
        /// Where the daemon's name server listens, not 0.
        port: u16,
    },
    /// Have the host's resolver ask nobody any more. In the host's network only.
    UnrouteNames {},
    /// Move the process that made this connection into a scope of the service manager, called as
    /// [`scope_name`] says: what it starts from then on is there, too, and lives on when the daemon's
    /// service ends. In the host's network only.
    EnterScope {
        /// The VM.
        vm: VmId,
        /// Bytes of memory that all in the scope have together at most; absent for no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<u64>,
    },
}

/// What guests may reach. What is not named here they may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The network of the guests.
    pub subnet: Subnet,
    /// Networks and addresses of the host itself, which no guest may reach.
    pub host_addresses: Vec<Network>,
    /// The guests that there are.
    pub guests: Vec<GuestRules>,
}

/// An IPv4 network of whatever kind, or one address with prefix 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// An address in it.
    pub address: Ipv4Addr,
    /// Bits of the network's part, 0 to 32.
    pub prefix: u8,
}

/// What one guest may reach. All guests of a user reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRules {
    /// The VM.
    pub vm: VmId,
    /// Its address: one that a guest of the subnet can have, different from the others'. What comes
    /// from its tap with another one, or from another card than [`MacAddress::of_vm`], is dropped.
    pub address: Ipv4Addr,
    /// Whether it reaches what lies beyond the uplink.
    pub nat: bool,
    /// Ports of the gateway that it reaches, besides the name server's.
    pub host_ports: Vec<u16>,
}

impl GuestRules {
    /// Its card.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        MacAddress::of_vm(&self.vm)
    }
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is as asked.
    Done {},
    /// What there is.
    Observed(Observed),
    /// The request was not valid: nothing was tried.
    Refused {
        /// Why, naming the object.
        reason: String,
    },
    /// It could not be done.
    Failed {
        /// Why, naming the object.
        reason: String,
        /// What that was due to, outermost first.
        causes: Vec<String>,
    },
}

/// What there is of banger's in the helper's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// What the bridge is called, whether it is there or not.
    #[serde(default)]
    pub bridge_name: BridgeName,
    /// The bridge's networks; absent without a bridge, empty for one without an address.
    pub bridge: Option<Vec<Network>>,
    /// VMs that have a tap, by id.
    pub taps: Vec<VmId>,
    /// Whether there is an uplink that is up and has an address.
    pub uplink: bool,
    /// Whether there are rules.
    pub rules: bool,
    /// Chains of others in the host's rules that drop what they have no rule for, and are in a table that
    /// does not know the bridge: as `FAMILY TABLE CHAIN`. There are none in a network of the user's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropping: Vec<String>,
    /// The helper's version.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_holder_says() {
        let held = Held { pid: 7, start_time: 8, userns_inode: 9, netns_inode: 10 };
        let failed =
            HolderReport::Failed { failed: "no".to_owned(), causes: vec!["why".to_owned()] };
        for (report, line) in [
            (
                HolderReport::Holds(held),
                r#"{"pid":7,"start_time":8,"userns_inode":9,"netns_inode":10}"#,
            ),
            (failed, r#"{"failed":"no","causes":["why"]}"#),
        ] {
            assert_eq!(serde_json::to_string(&report).unwrap(), line);
            assert_eq!(serde_json::from_str::<HolderReport>(line).unwrap(), report);
        }
    }
}
