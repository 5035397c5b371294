//! The network of VMs: what a namespace of the user's own needs. The helper has tried all of it
//! ([`observe_probe`]); what is looked at besides only tells what to do.
//!
//! Where VMs are in the host's network, [`system_network`] has the findings instead.
//!
//! Where VMs need not have a network (`network = "auto"`), they run without one: then what keeps all of
//! them from it is a warning.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use banger_proto::helper::{NOT_TRIED, ProbeReport};

use super::super::inputs::{Inputs, NetworkFacts};
use super::super::namespaces::{NETWORK, USER, find_obstacle};
use super::super::packages::{NFTABLES, PASST, load_install_hint};
use super::super::{Finding, Outcome, Unable};
use super::{content, system_network};
use crate::config::NetworkChoice;
use crate::exec::{HostEnv, Program};

/// How long the helper may take to try everything; it takes some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// Most bytes that it says.
const REPORT_LIMIT: usize = 64 << 10;
/// The way out.
const PASTA: &str = "pasta";

/// Lets the helper try what this host lets its users do, in namespaces that are gone afterwards.
///
/// # Errors
/// When it does not run or says something else; the text says why.
pub(crate) async fn observe_probe(env: &HostEnv, helper: &Path) -> Result<ProbeReport, String> {
    let probe = Program::new(env, helper).arg("probe").deadline(PATIENCE);
    let said = probe.output(REPORT_LIMIT).await.map_err(|error| render_chain(&error))?;
    serde_json::from_slice(&said).map_err(|_| "it was answered with something unknown".to_owned())
}

fn render_chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

pub(in crate::doctor) async fn helper(inputs: &Inputs) -> Outcome {
    if let Some(service) = &inputs.network.service {
        return Ok(system_network::service(service));
    }
    content::program(&inputs.network.helper, "Install banger again.").await
}

/// A user namespace and a network namespace in it.
pub(in crate::doctor) async fn namespace(inputs: &Inputs) -> Outcome {
    if inputs.network.service.is_some() {
        return Ok(system_network::not_needed());
    }
    let report = tried(inputs)?;
    let Some(reason) = report.userns.as_ref().or(report.netns.as_ref()) else {
        return Ok(Finding::pass("you can have one of your own"));
    };
    Ok(grade(inputs, reason, namespace_remedy(inputs).await?))
}

pub(in crate::doctor) async fn bridge(inputs: &Inputs) -> Outcome {
    if let Some(service) = &inputs.network.service {
        return Ok(system_network::bridge(service));
    }
    let Some(reason) = &tried(inputs)?.bridge else { return Ok(Finding::pass("can be made")) };
    let remedy = match () {
        () if reason.starts_with(NOT_TRIED) => after("network-namespace"),
        // AppArmor lets the namespace be made, and takes its capabilities.
        () if find_obstacle(&inputs.host.sysctl, USER).await?.is_some() => {
            namespace_remedy(inputs).await?
        }
        () => "Load the kernel's module: `sudo modprobe bridge`.".to_owned(),
    };
    Ok(grade(inputs, reason, remedy))
}

pub(in crate::doctor) async fn tap(inputs: &Inputs) -> Outcome {
    let opened =
        fs_err::tokio::OpenOptions::new().read(true).write(true).open(&inputs.host.tun).await;
    if inputs.network.service.is_some() {
        // Taps are made by the service; VMMs open the device themselves.
        let Err(error) = opened else { return Ok(Finding::pass("VMMs can attach to theirs")) };
        let problem = format!("no VMM can attach to one: {error}");
        return Ok(grade(inputs, &problem, tap_remedy(inputs, Err(error))));
    }
    let Some(reason) = &tried(inputs)?.tap else { return Ok(Finding::pass("can be made")) };
    if reason.starts_with(NOT_TRIED) {
        return Ok(grade(inputs, reason, after("network-bridge")));
    }
    Ok(grade(inputs, reason, tap_remedy(inputs, opened.map(drop))))
}

fn tap_remedy(inputs: &Inputs, opened: std::io::Result<()>) -> String {
    let device = inputs.host.tun.display();
    match opened.map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => "Load the kernel's module: `sudo modprobe tun`, and for later \
             `echo tun | sudo tee /etc/modules-load.d/tun.conf`. A container is given the device: \
             `--device /dev/net/tun`."
            .to_owned(),
        // As systemd's own rule has it.
        Err(ErrorKind::PermissionDenied) => format!(
            "Open it to users, which gives them nothing on the host's network: \
             `sudo chmod 0666 {device}`, and for later `echo 'KERNEL==\"tun\", MODE=\"0666\", \
             OPTIONS+=\"static_node=net/tun\"' | sudo tee /etc/udev/rules.d/99-tun.rules`."
        ),
        _ => "Load the kernel's module: `sudo modprobe tun`.".to_owned(),
    }
}

/// Rules for packets, which nft loads.
pub(in crate::doctor) async fn rules(inputs: &Inputs) -> Outcome {
    if let Some(service) = &inputs.network.service {
        return Ok(system_network::rules(service));
    }
    let Some(reason) = &tried(inputs)?.nft else { return Ok(Finding::pass("can be loaded")) };
    let remedy = if reason.starts_with(NOT_TRIED) {
        after("network-namespace")
    } else {
        format!(
            "{} Where it is there, load the kernel's module: `sudo modprobe nf_tables`.",
            load_install_hint(&inputs.host.etc, &NFTABLES).await
        )
    };
    Ok(grade(inputs, reason, remedy))
}

/// Pasta, which only VMs need that reach what lies beyond the host.
pub(in crate::doctor) async fn way_out(inputs: &Inputs) -> Outcome {
    if let Some(service) = &inputs.network.service {
        return Ok(system_network::way_out(service));
    }
    let Some(path) = inputs.env.find(PASTA) else {
        let found = format!("`{PASTA}` was not found: no VM reaches beyond the host (`--nat`)");
        let hint = load_install_hint(&inputs.host.etc, &PASST).await;
        let by_default = inputs.network.nat_by_default;
        return Ok(if by_default {
            Finding::fail(found, hint)
        } else {
            Finding::warn(found, hint)
        });
    };
    let said = Program::new(&inputs.env, &path).arg("--version").output(REPORT_LIMIT).await?;
    let said = String::from_utf8_lossy(&said);
    let version = said.lines().next().unwrap_or_default().trim();
    Ok(match version.strip_prefix("pasta ") {
        Some(version) => Finding::pass(format!("`{}`, {version}", path.display())),
        None => return Err(format!("`{}` tells no version", path.display()).into()),
    })
}

/// Which network VMs get, and whether they do.
pub(in crate::doctor) async fn mode(inputs: &Inputs) -> Outcome {
    let NetworkFacts { choice, probe, status, service, .. } = &inputs.network;
    let place = match service {
        Some(_) => "the host's network",
        None => "a namespace of your own",
    };
    let choice = match choice {
        NetworkChoice::Auto => "auto",
        NetworkChoice::User => "user",
        NetworkChoice::System => "system",
    };
    let chosen = format!("{place} (network = \"{choice}\")");
    let works = match service {
        Some(service) => service.is_ok(),
        None => probe.as_ref().is_ok_and(ProbeReport::has_network),
    };
    Ok(match (status.subnet, &status.problem) {
        (_, Some(problem)) => grade(
            inputs,
            &format!("{chosen} did not work: {problem}"),
            "Mend what is wrong above, then restart the VMs that need a network: \
             `banger vm restart NAME`."
                .to_owned(),
        ),
        (Some(subnet), None) => {
            Finding::pass(format!("{chosen}: {subnet}, VMs on it: {}", status.vms))
        }
        (None, None) if works => {
            Finding::pass(format!("{chosen}, which is made when a VM needs it"))
        }
        (None, None) => {
            let found = format!("{chosen} cannot be made");
            grade(inputs, &found, "Mend what is wrong above.".to_owned())
        }
    })
}

fn tried(inputs: &Inputs) -> Result<&ProbeReport, Unable> {
    inputs.network.probe.as_ref().map_err(|why| why.as_str().into())
}

/// What to do about a kernel that refuses namespaces.
pub(super) async fn namespace_remedy(inputs: &Inputs) -> Result<String, Unable> {
    let settings = USER.into_iter().chain([NETWORK]);
    let obstacle = find_obstacle(&inputs.host.sysctl, settings).await?;
    Ok(obstacle.map_or_else(
        || {
            "Let users have user namespaces. In a container, start it so that it may: \
             `--security-opt seccomp=unconfined --device /dev/net/tun`."
                .to_owned()
        },
        |setting| setting.remedy_for(&inputs.network.helper),
    ))
}

fn after(check: &str) -> String {
    format!("See `{check}`.")
}

fn grade(inputs: &Inputs, problem: &str, remedy: String) -> Finding {
    if inputs.network.choice.is_required() {
        Finding::fail(format!("{problem}: no VM starts, as the configuration wants"), remedy)
    } else {
        Finding::warn(format!("{problem}: VMs run without a network"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{self, Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    type Check = for<'a> fn(&'a Inputs) -> futures_util::future::BoxFuture<'a, Outcome>;
    const TRIED: [(&str, Check); 5] = [
        ("namespace", |inputs| Box::pin(namespace(inputs))),
        ("bridge", |inputs| Box::pin(bridge(inputs))),
        ("tap", |inputs| Box::pin(tap(inputs))),
        ("rules", |inputs| Box::pin(rules(inputs))),
        ("mode", |inputs| Box::pin(mode(inputs))),
    ];

    async fn statuses(host: &Host) -> Vec<CheckStatus> {
        let mut statuses = Vec::new();
        for (_, check) in TRIED {
            statuses.push(check(&host.inputs).await.unwrap().status);
        }
        statuses
    }

    #[tokio::test]
    async fn what_does_not_work_is_as_bad_as_vms_need_it() {
        let mut host = Host::new();
        assert_eq!(statuses(&host).await, [Pass; 5]);
        let why = || Some("the kernel says no".to_owned());
        host.inputs.network.probe = Ok(ProbeReport {
            netns: why(),
            bridge: why(),
            tap: why(),
            nft: why(),
            ..ProbeReport::default()
        });
        assert_eq!(statuses(&host).await, [Warn; 5]);
        host.inputs.network.choice = NetworkChoice::User;
        assert_eq!(statuses(&host).await, [Fail; 5]);
        // What could not be tried is no finding; the mode then is.
        host.inputs.network.probe = Err("it is not there".to_owned());
        for (name, check) in &TRIED[..4] {
            assert!(check(&host.inputs).await.is_err(), "{name}");
        }
        assert_eq!(mode(&host.inputs).await.unwrap().status, Fail);
    }

    #[tokio::test]
    async fn the_remedy_fits_the_reason() {
        let mut host = Host::new();
        let why = || Some("the kernel says no".to_owned());
        let untried = || Some(format!("{NOT_TRIED}there is no network namespace"));
        let remedy = async |host: &Host, check: Check| {
            check(&host.inputs).await.unwrap().remedy.expect("a remedy")
        };
        let [(_, namespace), (_, bridge), (_, tap), (_, rules), _] = TRIED;
        host.inputs.network.probe = Ok(ProbeReport {
            userns: why(),
            netns: untried(),
            bridge: untried(),
            tap: untried(),
            nft: untried(),
            ..ProbeReport::default()
        });
        assert!(remedy(&host, namespace).await.contains("seccomp=unconfined"));
        assert_eq!(remedy(&host, bridge).await, "See `network-namespace`.");
        assert_eq!(remedy(&host, tap).await, "See `network-bridge`.");
        assert_eq!(remedy(&host, rules).await, "See `network-namespace`.");
        host.write("sys/user/max_user_namespaces", "0\n");
        assert!(remedy(&host, namespace).await.contains("sysctl user.max_user_namespaces=10000"));

        // Ubuntu: there is a namespace, and nothing may be done in it.
        host.write("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        host.inputs.network.probe = Ok(ProbeReport { bridge: why(), ..ProbeReport::default() });
        let profile = remedy(&host, bridge).await;
        assert!(profile.contains("banger-helper\" flags=(unconfined)"), "{profile}");

        host.inputs.network.probe =
            Ok(ProbeReport { tap: why(), nft: why(), ..ProbeReport::default() });
        assert!(remedy(&host, rules).await.contains("apt-get install nftables"));
        assert!(remedy(&host, tap).await.contains("--device /dev/net/tun"));
        host.write("tun", "");
        assert!(remedy(&host, tap).await.contains("modprobe tun"));
    }

    #[tokio::test]
    async fn a_way_out_is_wanted() {
        let mut host = Host::new();
        let finding = way_out(&host.inputs).await.unwrap();
        assert_eq!(finding.status, Pass);
        assert!(finding.found.ends_with("bin/pasta`, 2026_05_01"), "{finding:?}");
        host.program("pasta", "echo something else");
        way_out(&host.inputs).await.unwrap_err();
        host.remove("bin/pasta");
        let finding = way_out(&host.inputs).await.unwrap();
        assert_eq!(finding.status, Warn);
        assert!(finding.remedy.unwrap().contains("apt-get install passt"));
        host.inputs.network.nat_by_default = true;
        assert_eq!(way_out(&host.inputs).await.unwrap().status, Fail);
    }

    #[tokio::test]
    async fn what_went_wrong_last_is_told() {
        let mut host = Host::new();
        host.inputs.network.status.subnet = Some("172.30.0.0/24".parse().unwrap());
        let found = mode(&host.inputs).await.unwrap().found;
        assert!(found.ends_with(": 172.30.0.0/24, VMs on it: 0"), "{found}");
        host.inputs.network.status.problem = Some("it was not allowed".to_owned());
        let finding = mode(&host.inputs).await.unwrap();
        assert_eq!(finding.status, Warn);
        assert!(finding.found.contains("did not work: it was not allowed"), "{finding:?}");
    }

    #[tokio::test]
    async fn the_helper_tries() {
        let host = Host::new();
        let helper = host.path("bin/banger-helper");
        let probe = async || observe_probe(&host.inputs.env, &helper).await;
        assert!(probe().await.unwrap_err().contains("was not found"));
        host.program("banger-helper", r#"[ "$1" = probe ] && echo '{"userns":"no","tap":null}'"#);
        let expected = ProbeReport { userns: Some("no".to_owned()), ..ProbeReport::default() };
        assert_eq!(probe().await.unwrap(), expected);
        for script in ["echo '{\"unknown\":1}'", "echo hello"] {
            host.program("banger-helper", script);
            assert!(probe().await.unwrap_err().contains("something unknown"));
        }
        host.program("banger-helper", "echo broken >&2; exit 1");
        assert!(probe().await.unwrap_err().contains("broken"));
    }
}
