//! SSH into VMs: a client, and whether it knows them. Nothing else of banger needs it.

use std::io::ErrorKind;
use std::path::Path;

use super::super::inputs::Inputs;
use super::super::packages::{SSH, load_install_hint};
use super::super::{Finding, Outcome};
use crate::ssh::include;

pub(in crate::doctor) async fn client(inputs: &Inputs) -> Outcome {
    Ok(match inputs.env.find(Path::new("ssh")) {
        Some(path) => Finding::pass(format!("`{}`", path.display())),
        None => Finding::warn(
            "`ssh` was not found; `banger vm ssh` needs it, `banger vm exec` does not",
            load_install_hint(&inputs.host.etc, &SSH).await,
        ),
    })
}

pub(in crate::doctor) async fn included(inputs: &Inputs) -> Outcome {
    let Some(home) = inputs.env.home() else {
        return Ok(Finding::warn(
            "`HOME` is not set, so `~/.ssh/config` is unknown",
            "Set `HOME`.",
        ));
    };
    let path = include::path(home);
    let text = match fs_err::tokio::read(&path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    Ok(if include::includes(&text, &inputs.paths.ssh_config()) {
        Finding::pass(format!("`{}` knows VMs as NAME.vm", path.display()))
    } else {
        Finding::warn(
            format!("`{}` does not know VMs", path.display()),
            "Where ssh, scp or an editor shall reach them: `banger ssh-config --install`.",
        )
    })
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn a_client_is_wanted() {
        let host = Host::new();
        assert_eq!(client(&host.inputs).await.unwrap().status, Pass);
        host.remove("bin/ssh");
        let finding = client(&host.inputs).await.unwrap();
        assert_eq!(finding.status, Warn);
        assert!(finding.remedy.unwrap().contains("openssh-client"));
    }

    #[tokio::test]
    async fn the_line_is_wanted() {
        let host = Host::new();
        let status = async || included(&host.inputs).await.unwrap().status;
        assert_eq!(status().await, Warn);
        host.write("home/.ssh/config", "Host *\n");
        assert_eq!(status().await, Warn);
        let text = include::install(b"Host *\n", &host.inputs.paths.ssh_config());
        host.write("home/.ssh/config", text);
        assert_eq!(status().await, Pass);
    }
}
