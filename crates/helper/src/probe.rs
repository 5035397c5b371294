//! The role that tells what this machine lets its users do, by doing it in namespaces that are gone when
//! the process ends.

use std::io::{self, Write};

use banger_proto::BridgeName;
use banger_proto::helper::{NOT_TRIED, ProbeReport, Reply, Request, Rules};
use banger_proto::jail::JailTrial;
use banger_proto::{Subnet, VmId};

use crate::jail;
use crate::keeper::Keeper;
use crate::namespace::{Refused, create_user};
use crate::operations::execute;
use crate::place::Place;
use crate::request::parse_request;

/// Tries everything and prints what was found as one line of JSON.
///
/// # Errors
///
/// It cannot be printed.
pub fn probe() -> io::Result<()> {
    let line = serde_json::to_string(&look())?;
    writeln!(io::stdout(), "{line}")
}

fn look() -> ProbeReport {
    // First: from then on, this process is in namespaces itself.
    let jail = match jail::try_out() {
        Ok(missing) => JailTrial { failed: None, missing },
        Err(error) => JailTrial { failed: Some(error.to_string()), missing: Vec::new() },
    };
    let mut report = ProbeReport { jail, ..ProbeReport::default() };
    match create_user() {
        Ok(user) => report.netns = user.create_network().err().map(|error| why(&error)),
        Err(error) => {
            report.userns = Some(why(&error));
            report.netns = untried("there is no user namespace");
        }
    }
    // Without a network of its own, this would be done to the host's.
    if report.netns.is_some() {
        let reason = untried("there is no network namespace");
        return ProbeReport { bridge: reason.clone(), tap: reason.clone(), nft: reason, ..report };
    }
    let place = Place::own(BridgeName::default());
    let subnet: Result<Subnet, _> = "10.0.0.0/29".parse();
    if let Ok(subnet) = subnet {
        report.bridge = try_out(&place, &Request::EnsureBridge { subnet });
        // The rules of no guests have every expression that those of many have.
        let rules = Rules { subnet, host_addresses: Vec::new(), guests: Vec::new() };
        report.nft = try_out(&place, &Request::ApplyRules(rules));
    }
    report.tap = match report.bridge {
        None => try_out(&place, &Request::EnsureTap { vm: VmId::from_random([0; 6]) }),
        Some(_) => untried("there is no bridge"),
    };
    report
}

fn why(error: &Refused) -> String {
    joined(error.to_string(), crate::causes(error))
}

fn untried(because: &str) -> Option<String> {
    Some(format!("{NOT_TRIED}{because}"))
}

/// Requests take the way that all take.
fn try_out(place: &Place, request: &Request) -> Option<String> {
    let packet = match serde_json::to_vec(request) {
        Ok(packet) => packet,
        Err(error) => return Some(error.to_string()),
    };
    match parse_request(&packet)
        .map(|checked| execute(place, None, &mut Keeper::default(), &checked))
    {
        Ok((Reply::Failed { reason, causes }, _)) => Some(joined(reason, causes)),
        Ok(_) => None,
        Err(refusal) => Some(refusal.to_string()),
    }
}

fn joined(reason: String, causes: Vec<String>) -> String {
    std::iter::once(reason).chain(causes).collect::<Vec<_>>().join(": ")
}
