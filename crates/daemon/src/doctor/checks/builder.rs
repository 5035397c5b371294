//! The means to make images: mmdebstrap, and for a user who is not root the user namespaces it
//! works in.

use std::io::ErrorKind;
use std::path::Path;

use super::super::inputs::{Availability, Inputs};
use super::super::namespaces::{USER, find_obstacle};
use super::super::packages::{MMDEBSTRAP, UIDMAP, load_install_hint};
use super::super::{Finding, Outcome};

/// Ids a user must own to make an image: all that a Debian system has.
const MIN_IDS: u64 = 65_536;

pub(in crate::doctor) async fn mmdebstrap(inputs: &Inputs) -> Outcome {
    if let Some(path) = inputs.env.find("mmdebstrap") {
        return Ok(Finding::pass(format!("`{}`", path.display())));
    }
    let hint = load_install_hint(&inputs.host.etc, &MMDEBSTRAP).await;
    Ok(grade(inputs, "`mmdebstrap` was not found", hint))
}

pub(in crate::doctor) async fn user_namespaces(inputs: &Inputs) -> Outcome {
    if inputs.host.uid == 0 {
        return Ok(Finding::pass("not needed by root"));
    }
    if let Some(setting) = find_obstacle(&inputs.host.sysctl, USER).await? {
        let problem = format!("`{}` forbids user namespaces", setting.render());
        return Ok(grade(inputs, &problem, setting.remedy()));
    }
    for program in ["newuidmap", "newgidmap"] {
        if inputs.env.find(program).is_none() {
            let hint = load_install_hint(&inputs.host.etc, &UIDMAP).await;
            return Ok(grade(inputs, &format!("`{program}` was not found"), hint));
        }
    }
    for file in ["subuid", "subgid"] {
        let path = inputs.host.etc.join(file);
        let owned = count_ids(&read_if_there(&path).await?, inputs);
        if owned < MIN_IDS {
            return Ok(grade(
                inputs,
                &format!("`{}` gives this user {owned} ids, not {MIN_IDS}", path.display()),
                "Give it some: `sudo usermod --add-subuids 100000-165535 --add-subgids \
                 100000-165535 \"$USER\"`, with a range that nobody has.",
            ));
        }
    }
    Ok(Finding::pass("allowed, with enough subordinate ids"))
}

/// Without the means nothing works as long as the image is not here; later, only new images don't.
fn grade(inputs: &Inputs, problem: &str, remedy: impl Into<String>) -> Finding {
    if inputs.image.availability == Availability::Local {
        Finding::warn(format!("{problem}: images cannot be made"), remedy)
    } else {
        let image = &inputs.image.name;
        Finding::fail(format!("{problem}: the image `{image}` cannot be made"), remedy)
    }
}

/// Number of ids that `subuid(5)` gives the user, by name or by number.
fn count_ids(table: &str, inputs: &Inputs) -> u64 {
    let uid = inputs.host.uid.to_string();
    let counts = table.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let _first = fields.next()?;
        let count: u64 = fields.next()?.parse().ok()?;
        (owner == uid || Some(owner) == inputs.host.user.as_deref()).then_some(count)
    });
    counts.fold(0, u64::saturating_add)
}

/// A file's text; nothing when it is not there, as on kernels and systems without the feature.
async fn read_if_there(path: &Path) -> std::io::Result<String> {
    match fs_err::tokio::read_to_string(path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use banger_proto::api::CheckStatus::{Fail, Pass, Warn};

    use super::super::super::inputs::tests::Host;
    use super::*;

    #[tokio::test]
    async fn mmdebstrap_matters_most_without_an_image() {
        let mut host = Host::new();
        assert_eq!(mmdebstrap(&host.inputs).await.unwrap().status, Pass);
        host.remove("bin/mmdebstrap");
        assert_eq!(mmdebstrap(&host.inputs).await.unwrap().status, Warn);
        host.inputs.image.availability = Availability::Obtainable("made by mmdebstrap".into());
        assert_eq!(mmdebstrap(&host.inputs).await.unwrap().status, Fail);
    }

    #[tokio::test]
    async fn namespaces_can_be_spoilt_in_many_ways() {
        type Spoil = fn(&mut Host);
        let table: &[(&str, Spoil)] = &[
            ("apparmor", |h| h.write("sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")),
            ("unprivileged_userns_clone", |h| {
                h.write("sys/kernel/unprivileged_userns_clone", "0\n")
            }),
            ("max_user_namespaces", |h| h.write("sys/user/max_user_namespaces", "0\n")),
            ("newuidmap", |h| h.remove("bin/newuidmap")),
            ("subuid", |h| h.write("etc/subuid", "other:100000:65536\nuser:1:10\nuser:x\n")),
            ("subgid", |h| h.remove("etc/subgid")),
        ];
        for (named, spoil) in table {
            let mut host = Host::new();
            host.inputs.host.uid = 1000;
            assert_eq!(user_namespaces(&host.inputs).await.unwrap().status, Pass);
            spoil(&mut host);
            let finding = user_namespaces(&host.inputs).await.unwrap();
            assert_eq!(finding.status, Warn, "{named}");
            assert!(finding.found.contains(named), "{finding:?}");
            host.inputs.host.uid = 0;
            assert_eq!(user_namespaces(&host.inputs).await.unwrap().status, Pass);
        }
    }

    #[test]
    fn ids_add_up_by_name_and_number() {
        let mut host = Host::new();
        host.inputs.host.uid = 1000;
        assert_eq!(count_ids("user:1:60000\n1000:9:6000\nx:1:9\n#\n", &host.inputs), 66_000);
    }
}
