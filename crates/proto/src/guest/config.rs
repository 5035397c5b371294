//! What the host tells the guest at every boot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::MacAddress;

use super::{InitKind, ServiceSpec, ServiceState, SshKeys};

/// Which program becomes the guest's init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitChoice {
    /// systemd where the image has it, else the agent.
    #[default]
    Auto,
    /// The agent stays process 1, whatever the image has.
    Agent,
}

/// Configuration of one boot, or of a guest that becomes another VM. Everything the image leaves open and everything that must differ
/// between two VMs of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// The VM's name; also its host name.
    pub hostname: String,
    /// 32 hexadecimal digits for `/etc/machine-id`, unique per VM.
    pub machine_id: String,
    /// Wall clock of the host: nanoseconds since 1970 UTC.
    pub clock_unix_nanos: i64,
    /// 32 fresh random bytes as 64 hexadecimal digits, mixed into the guest's pool.
    pub random_seed: String,
    /// Environment of every command: image defaults under the VM's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory of the image, absolute: made where it is missing. Absent for none.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// The image's own program, to be run for the life of the guest.
    #[serde(default)]
    pub service: Option<ServiceSpec>,
    /// Lines for `/etc/hosts` beyond localhost and the guest itself.
    #[serde(default)]
    pub extra_hosts: Vec<String>,
    /// How its owner gets in by SSH; absent for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshKeys>,
    /// Its network card; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<GuestNetwork>,
    /// Which init to start.
    #[serde(default)]
    pub init: InitChoice,
    /// Block device serial of the image's read-only file system.
    pub base_serial: String,
    /// Block device serial of the VM's own writable file system.
    pub writable_serial: String,
    /// Block device serial of the file system with the kernel's modules for programs in the guest,
    /// which is seen below the image's; absent for none.
    #[serde(default)]
    pub modules_serial: Option<String>,
    /// How often the VM was given an image after it was made. Where the writable file system was
    /// set up for an earlier one, the guest's changes are taken from it, all but `/root`.
    #[serde(default)]
    pub rebuild: u32,
    /// Block device serial of the file system of the image before, which what is in `/root` may still
    /// depend on; absent where it is not needed or not there any more.
    #[serde(default)]
    pub previous_serial: Option<String>,
}

/// How a guest's network card is set up. The agent does it before anything of the image's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetwork {
    /// The card that is meant.
    pub mac: MacAddress,
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Bits of the network's part of it.
    pub prefix: u8,
    /// Router of everything else.
    pub gateway: Ipv4Addr,
    /// Name server.
    pub resolver: Ipv4Addr,
    /// Domain in which names without a dot are looked up.
    pub search: String,
    /// Most bytes in a packet of the card.
    pub mtu: u16,
}

/// What configuring or renewing led to: commands run in the final root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// The init that runs.
    pub init: InitKind,
    /// The service, if there is one: just started, or why not.
    #[serde(default)]
    pub service: Option<ServiceState>,
    /// Things that did not work but do not stop it, for the user to read.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Service;

    #[test]
    fn a_copy_is_told_as_much_as_a_boot() {
        let json = r#"{"service":"renew","request":{"hostname":"copy","machine_id":"0f",
            "clock_unix_nanos":5,"random_seed":"ab","base_serial":"base","writable_serial":"writable",
            "network":{"mac":"02:11:22:33:44:55","address":"172.30.0.12","prefix":24,
            "gateway":"172.30.0.1","resolver":"172.30.0.1","search":"vm","mtu":1500}}}"#;
        let service: Service = serde_json::from_str(json).unwrap();
        assert_eq!(service.name(), "renew");
        let Service::Renew(config) = &service else { panic!("{service:?}") };
        assert_eq!(config.network.as_ref().unwrap().address, Ipv4Addr::new(172, 30, 0, 12));
        let again = serde_json::to_string(&service).unwrap();
        assert_eq!(serde_json::from_str::<Service>(&again).unwrap(), service);
        assert!(
            again.starts_with(r#"{"service":"renew","request":{"hostname":"copy","#),
            "{again}"
        );
    }
}
