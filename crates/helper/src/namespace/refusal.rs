//! Why the kernel refuses namespaces: what is tried decides, settings of the machine only name the cause.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Making a user namespace.
    User,
    /// Saying who is who in it.
    Maps,
    /// Making a network namespace.
    Network,
}

/// A machine that does not let its users have namespaces.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}{}", because.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
pub struct Refused {
    what: &'static str,
    because: Option<String>,
    source: io::Error,
}

/// Settings of the machine; absent where the kernel does not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Settings {
    max_user_namespaces: Option<u64>,
    max_net_namespaces: Option<u64>,
    unprivileged_userns_clone: Option<u64>,
    apparmor_restricts: Option<u64>,
    container: bool,
}

impl Refused {
    pub(super) fn new(step: Step, settings: &Settings, source: io::Error) -> Self {
        let what = match step {
            Step::User => "make a user namespace",
            Step::Maps => "become root in a user namespace",
            Step::Network => "make a network namespace",
        };
        let because = explain(step, &source, settings);
        Self { what, because, source }
    }
}

impl Settings {
    pub(super) fn observe() -> Self {
        let number = |path: &str| {
            let text = std::fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
            text.trim().parse().ok()
        };
        Self {
            max_user_namespaces: number("user/max_user_namespaces"),
            max_net_namespaces: number("user/max_net_namespaces"),
            unprivileged_userns_clone: number("kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns"),
            // What Docker, Podman and systemd-nspawn leave inside.
            container: ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"]
                .iter()
                .any(|path| Path::new(path).exists()),
        }
    }
}

fn explain(step: Step, error: &io::Error, settings: &Settings) -> Option<String> {
    let errno = Errno::from_io_error(error)?;
    let full = |name: &str, most: Option<u64>| match most {
        Some(0) => format!("`{name}` is 0"),
        Some(most) => format!("there are as many as `{name}` allows, {most}"),
        None => format!("there are as many as `{name}` allows"),
    };
    match (step, errno) {
        (Step::User, Errno::NOSPC) => {
            Some(full("user.max_user_namespaces", settings.max_user_namespaces))
        }
        (Step::Network, Errno::NOSPC) => {
            Some(full("user.max_net_namespaces", settings.max_net_namespaces))
        }
        (Step::User, Errno::PERM) if settings.unprivileged_userns_clone == Some(0) => {
            Some("`kernel.unprivileged_userns_clone` is 0".to_owned())
        }
        // Ubuntu's AppArmor lets the namespace be made and takes its capabilities.
        (_, Errno::PERM | Errno::ACCESS) if settings.apparmor_restricts == Some(1) => Some(
            "AppArmor forbids it (`kernel.apparmor_restrict_unprivileged_userns` is 1): \
             the program needs a profile with `userns,`"
                .to_owned(),
        ),
        (_, Errno::PERM) if settings.container => Some("the container forbids it".to_owned()),
        (Step::User, Errno::PERM) => {
            Some("a container, a chroot or a security module forbids it".to_owned())
        }
        (Step::User, Errno::INVAL) => Some("the kernel has none".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_named() {
        let free = Settings {
            max_user_namespaces: Some(1000),
            max_net_namespaces: Some(1000),
            unprivileged_userns_clone: Some(1),
            apparmor_restricts: Some(0),
            container: false,
        };
        let seen: Vec<String> = [
            (Step::User, Errno::NOSPC, Settings { max_user_namespaces: Some(0), ..free }),
            (Step::User, Errno::NOSPC, free),
            (Step::Network, Errno::NOSPC, Settings { max_net_namespaces: Some(0), ..free }),
            (Step::User, Errno::PERM, Settings { unprivileged_userns_clone: Some(0), ..free }),
            (Step::Maps, Errno::ACCESS, Settings { apparmor_restricts: Some(1), ..free }),
            (Step::Network, Errno::PERM, Settings { apparmor_restricts: Some(1), ..free }),
            (Step::User, Errno::PERM, Settings { container: true, ..free }),
            (Step::User, Errno::PERM, Settings::default()),
            (Step::User, Errno::INVAL, free),
            (Step::Network, Errno::NOMEM, free),
        ]
        .into_iter()
        .map(|(step, errno, settings)| {
            format!("{step:?} {errno:?}: {:?}", explain(step, &errno.into(), &settings))
        })
        .collect();
        insta::assert_snapshot!(seen.join("\n"));
    }
}
