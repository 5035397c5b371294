//! Host programs that banger starts: QEMU and git.

use std::path::Path;

use crate::exec::Program;
use crate::hypervisor::detect::QEMU_PROGRAM;

use super::super::inputs::Inputs;
use super::super::packages::{self, GIT, QEMU, load_install_hint};
use super::super::{Finding, Outcome, Unable};

/// Oldest QEMU that is known to have what the machine uses (April 2022).
const MIN_QEMU: (u32, u32) = (7, 0);
/// Oldest git with all that workspaces ask of it (December 2020).
const MIN_GIT: (u32, u32) = (2, 30);

pub(in crate::doctor) async fn qemu(inputs: &Inputs) -> Outcome {
    let name = inputs.qemu.as_deref().unwrap_or(Path::new(QEMU_PROGRAM));
    program(inputs, name, "QEMU emulator version ", MIN_QEMU, &QEMU).await
}

/// Git is needed for workspaces only.
pub(in crate::doctor) async fn git(inputs: &Inputs) -> Outcome {
    let finding = program(inputs, Path::new("git"), "git version ", MIN_GIT, &GIT).await?;
    Ok(match finding.remedy {
        None => finding,
        Some(remedy) => {
            Finding::warn(format!("{}; repositories cannot be brought in", finding.found), remedy)
        }
    })
}

async fn program(
    inputs: &Inputs,
    name: &Path,
    before_version: &str,
    (major, minor): (u32, u32),
    package: &packages::Package,
) -> Outcome {
    let hint = load_install_hint(&inputs.host.etc, package).await;
    let Some(path) = inputs.env.find(name) else {
        return Ok(Finding::fail(format!("`{}` was not found", name.display()), hint));
    };
    let answer = Program::new(&inputs.env, &path).arg("--version").output(1 << 16).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (text, version) = parse_version(&answer, before_version)
        .ok_or_else(|| Unable::from(format!("`{}` tells no version", path.display())))?;
    let found = format!("`{}` {text}", path.display());
    Ok(if version >= (major, minor) {
        Finding::pass(found)
    } else {
        Finding::fail(format!("{found} is older than {major}.{minor}"), hint)
    })
}

/// The version behind `before` as text and as numbers.
fn parse_version<'a>(answer: &'a str, before: &str) -> Option<(&'a str, (u32, u32))> {
    let (_, rest) = answer.split_once(before)?;
    let text = rest.split_whitespace().next()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    Some((text, (numbers.next()?, numbers.next()?)))
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[test]
    fn versions() {
        for (answer, before, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2)", "QEMU emulator version ", Some((7, 2))),
            ("QEMU emulator version 10.0-rc1", "QEMU emulator version ", Some((10, 0))),
            ("git version 2.39.5 (Apple)", "git version ", Some((2, 39))),
            ("git version 2.50.GIT", "git version ", Some((2, 50))),
            ("git version two", "git version ", None),
            ("", "git version ", None),
        ] {
            let parsed = parse_version(answer, before).map(|(_, version)| version);
            assert_eq!(parsed, expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn qemu_is_needed_and_not_too_old() {
        for (script, expected) in [
            (Some("echo QEMU emulator version 7.0.0"), Some(Pass)),
            (Some("echo QEMU emulator version 6.2.0"), Some(Fail)),
            (Some("echo something else"), None),
            (Some("exit 1"), None),
            (None, Some(Fail)),
        ] {
            let host = Host::new();
            match script {
                Some(script) => host.program("qemu-system-x86_64", script),
                None => host.remove("bin/qemu-system-x86_64"),
            }
            let found = qemu(&host.inputs).await.ok().map(|finding| finding.status);
            assert_eq!(found, expected, "{script:?}");
        }
    }

    #[tokio::test]
    async fn git_is_wanted() {
        let host = Host::new();
        assert_eq!(git(&host.inputs).await.unwrap().status, Pass);
        host.remove("bin/git");
        assert_eq!(git(&host.inputs).await.unwrap().status, Warn);
    }
}
