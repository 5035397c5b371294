//! The jail around VMMs. The helper has tried it ([`JailTrial`]).

use banger_proto::jail::{JailTrial, Wall};

use super::super::inputs::Inputs;
use super::super::{Finding, Outcome};
use super::network::namespace_remedy;

/// All that there is, where nothing is missing.
const WHOLE: &str = "VMMs have namespaces and a root directory of their own, no privilege, and Landlock around them";
/// What is done about a kernel without it.
const LANDLOCK_REMEDY: &str = "Boot a kernel that has it: Linux 5.13 or later, with `landlock` in what \
     `cat /sys/kernel/security/lsm` shows (`lsm=` on its command line).";

/// What there is of the jail.
pub(in crate::doctor) async fn walls(inputs: &Inputs) -> Outcome {
    let report = inputs.network.probe.as_ref().map_err(String::as_str)?;
    let JailTrial { failed, missing } = &report.jail;
    if let Some(why) = failed {
        return Err(why.as_str().into());
    }
    let Some((first, _)) = missing.first() else { return Ok(Finding::pass(WHOLE)) };
    let told: Vec<String> =
        missing.iter().map(|(wall, why)| format!("{} ({why})", wall.as_str())).collect();
    let found = format!("VMMs run without {}", told.join(", "));
    let remedy = match first {
        Wall::Landlock => LANDLOCK_REMEDY.to_owned(),
        // The kernel keeps a process to what its service was forbidden, wherever it is moved to.
        _ if inputs.paths.is_serviced() => "As a service of the system, what banger starts may make no \
             namespaces (`RestrictNamespaces=`); Landlock stands in their place. As a daemon of your own \
             (`banger daemon start`, without the service), VMMs have both."
            .to_owned(),
        Wall::Root => "A container that hides parts of `/proc` keeps those inside from having one of their \
             own: run banger outside of it, or let it see all (`--security-opt unmask=ALL`). It also takes \
             Linux 5.12."
            .to_owned(),
        Wall::Namespaces | Wall::Network => namespace_remedy(inputs).await?,
    };
    Ok(Finding::warn(found, remedy))
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus;
    use banger_proto::helper::ProbeReport;

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_a_warning_with_the_way_out() {
        let mut host = Host::new();
        assert_eq!(walls(&host.inputs).await.unwrap(), Finding::pass(WHOLE));
        let mut found = async |missing: &[Wall]| {
            let missing = missing.iter().map(|wall| (*wall, "because".to_owned())).collect();
            let jail = JailTrial { failed: None, missing };
            host.inputs.network.probe = Ok(ProbeReport { jail, ..ProbeReport::default() });
            let finding = walls(&host.inputs).await.unwrap();
            assert_eq!(finding.status, CheckStatus::Warn);
            format!("{}. {}", finding.found, finding.remedy.unwrap())
        };
        let both = found(&[Wall::Namespaces, Wall::Landlock]).await;
        assert!(
            both.starts_with("VMMs run without namespaces of its own (because), Landlock"),
            "{both}"
        );
        assert!(found(&[Wall::Landlock]).await.contains("Linux 5.13"));
        assert!(found(&[Wall::Root]).await.contains("Linux 5.12"));

        host.write("sys/user/max_user_namespaces", "0\n");
        let jail = JailTrial { failed: None, missing: vec![(Wall::Namespaces, String::new())] };
        host.inputs.network.probe = Ok(ProbeReport { jail, ..ProbeReport::default() });
        let remedy = walls(&host.inputs).await.unwrap().remedy.unwrap();
        assert!(remedy.contains("sysctl user.max_user_namespaces="), "{remedy}");
        host.inputs.paths.runtime_dir = "/run/banger/1000".into();
        let remedy = walls(&host.inputs).await.unwrap().remedy.unwrap();
        assert!(remedy.contains("RestrictNamespaces="), "{remedy}");

        let jail = JailTrial { failed: Some("broken".to_owned()), missing: Vec::new() };
        host.inputs.network.probe = Ok(ProbeReport { jail, ..ProbeReport::default() });
        assert_eq!(walls(&host.inputs).await.unwrap_err().to_string(), "broken");
    }
}
