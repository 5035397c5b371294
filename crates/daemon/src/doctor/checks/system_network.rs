//! The network of VMs where it is the host's: whether the service that changes it answers, and what else on
//! the host is in its way.

use banger_proto::helper::Observed;

use super::super::Finding;

/// What the service answered, or why it did not.
type Service = Result<Observed, String>;

/// Whether the service answers.
pub(super) fn service(service: &Service) -> Finding {
    match service {
        Ok(observed) => Finding::pass(format!("the service answers, version {}", observed.version)),
        Err(why) => Finding::fail(
            why.clone(),
            "See how it is: `banger system status`, `systemctl status banger-helper.socket`. Without it: \
             `network = \"user\"` in the configuration.",
        ),
    }
}

/// What only a namespace needs.
pub(super) fn not_needed() -> Finding {
    Finding::pass("not needed: VMs are in the host's network")
}

pub(super) fn bridge(service: &Service) -> Finding {
    match service {
        Ok(Observed { bridge: Some(networks), .. }) => {
            let networks: Vec<_> = networks
                .iter()
                .map(|network| format!("{}/{}", network.address, network.prefix))
                .collect();
            Finding::pass(format!("is there: {}", networks.join(", ")))
        }
        Ok(_) => Finding::pass("is made when a VM needs it"),
        Err(_) => unknown(),
    }
}

/// Rules of others: a packet passes only where all let it.
pub(super) fn rules(service: &Service) -> Finding {
    match service {
        Ok(observed) if observed.dropping.is_empty() => {
            Finding::pass("no other rules drop what they do not know")
        }
        Ok(observed) => {
            let (chains, bridge) = (observed.dropping.join("`, `"), &observed.bridge_name);
            Finding::warn(
                format!(
                    "`{chains}` drops what it has no rule for: VMs may reach neither each other nor beyond \
                     the host, or no name server"
                ),
                format!(
                    "Let packets of the bridge through. Docker has a chain for that: \
                     `sudo iptables -I DOCKER-USER -i {bridge} -j ACCEPT` and \
                     `sudo iptables -I DOCKER-USER -o {bridge} -j ACCEPT`. ufw: `sudo ufw route allow in on \
                     {bridge}` and `sudo ufw allow in on {bridge}`. What VMs may reach is up to banger's own \
                     rules all the same."
                ),
            )
        }
        Err(_) => unknown(),
    }
}

/// The host's own routes.
pub(super) fn way_out(service: &Service) -> Finding {
    match service {
        Ok(Observed { uplink: true, .. }) => Finding::pass("the host's own routes"),
        Ok(_) => Finding::warn(
            "the host has no interface but its own that is up and has an address",
            "Connect the host to a network, for VMs that are to go out.",
        ),
        Err(_) => unknown(),
    }
}

fn unknown() -> Finding {
    Finding::warn("not known: the service does not answer", "See `network-helper`.")
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{self, Fail, Pass, Warn};
    use banger_proto::helper::Network;

    use super::*;

    const CHECKS: [fn(&Service) -> Finding; 4] = [service, bridge, rules, way_out];

    fn statuses(service: &Service) -> [CheckStatus; 4] {
        CHECKS.map(|check| check(service).status)
    }

    #[test]
    fn what_the_service_sees_is_judged() {
        let good = Observed { uplink: true, version: "1".to_owned(), ..Observed::default() };
        assert_eq!(statuses(&Ok(good.clone())), [Pass; 4]);
        assert_eq!(
            statuses(&Ok(Observed { uplink: false, ..good.clone() })),
            [Pass, Pass, Pass, Warn]
        );
        assert_eq!(statuses(&Err("cannot reach it".to_owned())), [Fail, Warn, Warn, Warn]);

        let network = Network { address: [172, 30, 0, 1].into(), prefix: 24 };
        let up = bridge(&Ok(Observed { bridge: Some(vec![network]), ..good.clone() }));
        assert_eq!(up.found, "is there: 172.30.0.1/24");
        let dropping = vec!["ip filter FORWARD".to_owned()];
        let docker = rules(&Ok(Observed { dropping, ..good }));
        assert!(docker.found.starts_with("`ip filter FORWARD` drops"), "{docker:?}");
        assert!(docker.remedy.unwrap().contains("DOCKER-USER -i br-fc"));
    }
}
