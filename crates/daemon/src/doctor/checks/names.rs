//! Names of VMs on this host. Nothing else needs them: what is wrong with them is a warning.

use banger_proto::api::DnsStatus;

use super::super::inputs::Inputs;
use super::super::{Finding, Outcome};

/// Whether the daemon answers for names. Whether other programs ask it, is for a resolver's
/// configuration, of which there are many.
pub(in crate::doctor) async fn answered(inputs: &Inputs) -> Outcome {
    let DnsStatus { listen, problem } = &inputs.dns;
    if let (Some(listen), Some(why)) = (listen, &inputs.network.status.names_problem) {
        return Ok(Finding::warn(
            format!(
                "NAME.vm is answered at {listen}, and the host's resolver does not ask there: {why}"
            ),
            "Have systemd-resolved on this host, and `dns_listen` at 127.0.0.1; or tell another resolver, as \
             docs/dns-routing.md shows.",
        ));
    }
    Ok(match (listen, problem) {
        (Some(listen), _) => Finding::pass(format!("NAME.vm is answered at {listen}")),
        (None, Some(problem)) => Finding::warn(
            format!("NAME.vm is not answered: {problem}"),
            "Set `dns_listen` in the configuration to another port, then `banger daemon stop`.",
        ),
        (None, None) => Finding::pass("NAME.vm is not answered, as configured"),
    })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus;

    use super::*;
    use crate::doctor::inputs::tests::Host;

    #[tokio::test]
    async fn a_port_that_is_taken_has_a_way_out() {
        let mut host = Host::new();
        assert_eq!(answered(&host.inputs).await.unwrap().status, CheckStatus::Pass);
        host.inputs.network.status.names_problem = Some("it is not there".to_owned());
        let finding = answered(&host.inputs).await.unwrap();
        assert_eq!(finding.status, CheckStatus::Warn);
        assert!(finding.found.ends_with("does not ask there: it is not there"), "{finding:?}");
        host.inputs.dns = DnsStatus { listen: None, problem: Some("it is taken".to_owned()) };
        let finding = answered(&host.inputs).await.unwrap();
        assert_eq!(finding.status, CheckStatus::Warn);
        assert_eq!(finding.found, "NAME.vm is not answered: it is taken");
        assert!(finding.remedy.unwrap().contains("dns_listen"));
        host.inputs.dns = DnsStatus::default();
        assert_eq!(answered(&host.inputs).await.unwrap().status, CheckStatus::Pass);
    }
}
