//! What a VM is made of: agent, kernel, image and default values.

use std::io::ErrorKind;
use std::path::Path;

use banger_proto::ByteSize;
use tokio::io::AsyncReadExt;

use super::super::inputs::{Availability, DefaultItem, Inputs};
use super::super::{Finding, Outcome};

pub(in crate::doctor) async fn agent(inputs: &Inputs) -> Outcome {
    let remedy = "Install banger again, or set `BANGER_AGENT_BIN` to the agent.";
    program(&inputs.agent, remedy).await
}

/// Whether a program of banger's own is there.
pub(super) async fn program(file: &Path, remedy: &str) -> Outcome {
    let path = file.display();
    let mut magic = [0; 4];
    let read = async { fs_err::tokio::File::open(file).await?.read_exact(&mut magic).await };
    Ok(match read.await {
        Ok(_) if &magic == b"\x7fELF" => Finding::pass(format!("`{path}`")),
        Ok(_) => Finding::fail(format!("`{path}` is no program"), remedy),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Finding::fail(format!("`{path}` is not there"), remedy),
            ErrorKind::UnexpectedEof => Finding::fail(format!("`{path}` is no program"), remedy),
            _ => return Err(error.into()),
        },
    })
}

pub(in crate::doctor) async fn kernel(inputs: &Inputs) -> Outcome {
    if let Availability::Outdated(lacks) = &inputs.kernel.availability {
        let name = &inputs.kernel.name;
        let remedy = format!("Get it again, for new VMs: `banger kernel pull --force {name}`.");
        return Ok(Finding::warn(format!("`{name}` is here {lacks}"), remedy));
    }
    item(&inputs.kernel, "Set another `default_kernel_name` in the configuration file.")
}

pub(in crate::doctor) async fn image(inputs: &Inputs) -> Outcome {
    item(&inputs.image, "Set another `default_image_name` in the configuration file.")
}

fn item(item: &DefaultItem, remedy: &str) -> Outcome {
    let name = &item.name;
    match &item.availability {
        Availability::Local | Availability::Outdated(_) => {
            Ok(Finding::pass(format!("`{name}` is here")))
        }
        Availability::Obtainable(how) => {
            Ok(Finding::pass(format!("`{name}` is obtained at first use: {how}")))
        }
        Availability::Missing(why) => {
            Ok(Finding::fail(format!("`{name}` is neither here nor obtainable: {why}"), remedy))
        }
        Availability::Unknown(why) => Err(why.as_str().into()),
    }
}

/// Shows what VMs get and why; wrong values do not get past loading the configuration.
pub(in crate::doctor) async fn vm_defaults(inputs: &Inputs) -> Outcome {
    let values = inputs.defaults.iter();
    let rendered: Vec<_> =
        values.map(|d| format!("{} {} ({})", d.name, d.value, d.origin)).collect();
    Ok(Finding::pass(rendered.join(", ")))
}

/// Disks, sockets and processes that belong to no VM.
pub(in crate::doctor) async fn leftovers(inputs: &Inputs) -> Outcome {
    let garbage = match &inputs.garbage {
        Ok(garbage) => garbage,
        Err(problem) => return Err(problem.to_string().into()),
    };
    let size = ByteSize::from_bytes(garbage.leftovers.iter().map(|left| left.size.bytes()).sum());
    Ok(match garbage.leftovers.len() {
        0 => Finding::pass("none: all there is belongs to a VM"),
        count => Finding::warn(
            format!("{count} belong to no VM ({})", size.human()),
            "See which: `banger system gc --dry-run`; `banger system gc` removes them, and `banger doctor --fix` \
             those that hold nobody's work.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::DefaultValue;
    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn the_agent_is_a_program() {
        let host = Host::new();
        assert_eq!(agent(&host.inputs).await.unwrap().status, Pass);
        for content in ["#!/bin/sh", ""] {
            host.write("banger-agent", content);
            assert_eq!(agent(&host.inputs).await.unwrap().status, Fail);
        }
        host.remove("banger-agent");
        assert_eq!(agent(&host.inputs).await.unwrap().status, Fail);
    }

    #[tokio::test]
    async fn image_and_kernel_are_here_or_obtainable() {
        let mut host = Host::new();
        for (availability, expected) in [
            (Availability::Local, Some(Pass)),
            (Availability::Obtainable("made by mmdebstrap".into()), Some(Pass)),
            (Availability::Missing("no recipe".into()), Some(Fail)),
            (Availability::Unknown("the index is broken".into()), None),
        ] {
            host.inputs.image.availability = availability.clone();
            host.inputs.kernel.availability = availability;
            let image = image(&host.inputs).await.ok().map(|finding| finding.status);
            let kernel = kernel(&host.inputs).await.ok().map(|finding| finding.status);
            assert_eq!((image, kernel), (expected, expected));
        }
    }

    #[tokio::test]
    async fn a_kernel_of_an_earlier_version_can_be_had_anew() {
        let mut host = Host::new();
        host.inputs.kernel.availability = Availability::Outdated("without modules".into());
        let finding = kernel(&host.inputs).await.unwrap();
        assert_eq!(
            (finding.status, finding.found.as_str()),
            (Warn, "`krn` is here without modules")
        );
        assert!(finding.remedy.unwrap().contains("banger kernel pull --force krn"));
    }

    #[tokio::test]
    async fn defaults_tell_where_they_come_from() {
        let mut host = Host::new();
        let value = |name: &str, value: &str, origin: &str| DefaultValue {
            name: name.into(),
            value: value.into(),
            origin: origin.into(),
        };
        host.inputs.defaults = vec![value("vcpu", "4", "auto"), value("memory", "8G", "config")];
        let finding = vm_defaults(&host.inputs).await.unwrap();
        assert_eq!(finding.found, "vcpu 4 (auto), memory 8G (config)");
    }
}
