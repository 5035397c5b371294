//! The client's configuration: how `ssh NAME.vm` gets to a VM and whom it believes there
//! (ssh_config(5)). Written anew whenever it is needed, since it names this program's file.

use std::path::{Path, PathBuf};

use banger_proto::Paths;

use super::{Ssh, SshError, known_hosts, save_private};

/// Makes sure that the user's key, the file of known hosts and the client's configuration are
/// there; returns the path of that, for `ssh -F` or an `Include`. `program` is banger's own file.
///
/// # Errors
/// When they cannot be made, or a path cannot stand in a configuration. Without them a client
/// must not be started: it would trust what it should not.
pub(super) fn ensure_client(ssh: &Ssh, paths: &Paths, program: &Path) -> Result<PathBuf, SshError> {
    let identity = ssh.ensure_identity()?;
    let known = paths.known_hosts();
    if !known.exists() {
        // The daemon is its writer and would only find it missing, as it is now.
        known_hosts::change(&known, str::to_owned)?;
    }
    let text = render_config(program, &identity, &known)?;
    let config = paths.ssh_config();
    if fs_err::read_to_string(&config).ok().as_ref() != Some(&text) {
        save_private(&config, text.as_bytes())?;
    }
    Ok(config)
}

/// The configuration. Of each option the first that the client reads counts, so all that could
/// weaken it, or break it by way of what the user has for all hosts, is said.
fn render_config(program: &Path, identity: &Path, known: &Path) -> Result<String, SshError> {
    let (identity, known) = (quote(identity)?, quote(known)?);
    let program = quote_for_shell(program)?;
    // No name of a VM has a quote; a client that does not look at names itself hands them to a
    // shell, and a link could bring it any name.
    Ok(format!(
        r#"# Written by banger, which writes it again: changes are lost.
Host *.vm "!*'*"
    ProxyCommand {program} vm proxy '%h'
    User root
    Port 22
    IdentityFile {identity}
    IdentitiesOnly yes
    PreferredAuthentications publickey
    UserKnownHostsFile {known}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    HashKnownHosts no
    CheckHostIP no
    VerifyHostKeyDNS no
    UpdateHostKeys no
    CanonicalizeHostname no
    ForwardAgent no
    ForwardX11 no
"#
    ))
}

/// A path as one word of a configuration. Percent signs begin the client's own variables, and
/// `${` those of the environment; quotes cannot be expressed.
fn quote(path: &Path) -> Result<String, SshError> {
    let text = path.to_str().filter(|text| {
        !text.contains(['"', '\\']) && !text.contains("${") && !text.contains(char::is_control)
    });
    let text = text.ok_or_else(|| SshError::Path(path.to_owned()))?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// A path as one word of a command for a shell, in which the client replaces percent signs.
fn quote_for_shell(path: &Path) -> Result<String, SshError> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| SshError::Path(path.to_owned()))?;
    Ok(format!("'{}'", text.replace('%', "%%").replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client itself makes of the configuration.
    fn understood(config: &str, host: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs_err::write(&path, config).unwrap();
        let output = std::process::Command::new("ssh")
            .args(["-G", "-F"])
            .arg(&path)
            .arg(host)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_client_understands_it() {
        let config = render_config(
            Path::new("/opt/it's 100%/banger"),
            Path::new("/home/a b/id 50%"),
            Path::new("/home/a b/known"),
        )
        .unwrap();
        let options = understood(&config, "web.vm");
        for expected in [
            r"proxycommand '/opt/it'\''s 100%%/banger' vm proxy '%h'",
            "user root",
            "identityfile /home/a b/id 50%%",
            "identitiesonly yes",
            "stricthostkeychecking true",
            "globalknownhostsfile /dev/null",
            "forwardagent no",
            "updatehostkeys false",
        ] {
            assert!(options.iter().any(|option| option == expected), "{expected}: {options:#?}");
        }
        let known = options.iter().find(|option| option.starts_with("userknownhostsfile"));
        assert_eq!(known.unwrap().replace('"', ""), "userknownhostsfile /home/a b/known");
    }

    #[test]
    fn what_the_user_has_for_all_hosts_weakens_nothing() {
        let plain = Path::new("/x");
        let ours = render_config(plain, plain, plain).unwrap();
        let options = "ForwardAgent yes\nForwardX11 yes\nStrictHostKeyChecking no\nUser me\n\
                       UserKnownHostsFile /dev/null\nUpdateHostKeys yes\nIdentityFile /mine\n";
        let options = understood(&format!("{ours}\nHost *\n{options}"), "web.vm");
        for expected in [
            "forwardagent no",
            "forwardx11 no",
            "stricthostkeychecking true",
            "user root",
            "userknownhostsfile /x",
            "updatehostkeys false",
        ] {
            assert!(options.iter().any(|option| option == expected), "{expected}: {options:#?}");
        }
    }

    #[test]
    fn it_is_about_vms_only() {
        let plain = Path::new("/x");
        let config = render_config(plain, plain, plain).unwrap();
        for host in ["example.org", "web.vm.example.org", "web"] {
            let options = understood(&config, host);
            let ours = options.iter().any(|option| option.starts_with("proxycommand"));
            assert!(!ours, "{host}: {options:#?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for path in ["/a\"b", "/a\nb", "/${HOME}/x"] {
            assert!(quote(Path::new(path)).is_err(), "{path}");
        }
        assert!(quote_for_shell(Path::new("/a\nb")).is_err());
    }
}
