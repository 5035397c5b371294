//! Settings of the machine that keep its users from namespaces, and how each is lifted.
//!
//! They only name a cause. Whether namespaces can be had, is for who tries.

use std::io::{self, ErrorKind};
use std::path::Path;

/// A setting, and the value that forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its file below `/proc/sys`.
    file: &'static str,
    forbids: &'static str,
    allows: &'static str,
}

/// Ubuntu's: programs without a profile that has `userns,` get no capabilities in theirs.
const APPARMOR: Setting =
    Setting { file: "kernel/apparmor_restrict_unprivileged_userns", forbids: "1", allows: "0" };
/// What forbids user namespaces: Ubuntu's setting, Debian's, and the kernel's own.
pub(super) const USER: [Setting; 3] = [
    APPARMOR,
    Setting { file: "kernel/unprivileged_userns_clone", forbids: "0", allows: "1" },
    Setting { file: "user/max_user_namespaces", forbids: "0", allows: "10000" },
];
/// What forbids network namespaces.
pub(super) const NETWORK: Setting =
    Setting { file: "user/max_net_namespaces", forbids: "0", allows: "10000" };

/// The first of `settings` that forbids, on the machine whose `/proc/sys` this is. One that the kernel
/// does not know forbids nothing.
pub(super) async fn find_obstacle(
    sysctl: &Path,
    settings: impl IntoIterator<Item = Setting>,
) -> io::Result<Option<Setting>> {
    for setting in settings {
        let text = match fs_err::tokio::read_to_string(sysctl.join(setting.file)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read?,
        };
        if text.trim() == setting.forbids {
            return Ok(Some(setting));
        }
    }
    Ok(None)
}

impl Setting {
    fn name(self) -> String {
        self.file.replace('/', ".")
    }

    /// The setting as it is: `user.max_user_namespaces = 0`.
    pub(super) fn render(self) -> String {
        format!("{} = {}", self.name(), self.forbids)
    }

    /// How it is lifted for everybody.
    pub(super) fn remedy(self) -> String {
        format!("Allow them: `sudo sysctl {}={}`.", self.name(), self.allows)
    }

    /// How it is lifted for `program`.
    pub(super) fn remedy_for(self, program: &Path) -> String {
        match self {
            APPARMOR => render_profile(program),
            _ => format!(
                "{} To keep it: `echo '{}={}' | sudo tee /etc/sysctl.d/60-banger.conf`.",
                self.remedy(),
                self.name(),
                self.allows
            ),
        }
    }
}

/// What to write for AppArmor, and how to load it. A path in a profile is a pattern, in quotes.
fn render_profile(program: &Path) -> String {
    let special = |c: &char| r#"\"*?[]{}^@"#.contains(*c);
    let mut pattern = String::new();
    for c in program.display().to_string().chars() {
        pattern.extend(special(&c).then_some('\\'));
        pattern.push(c);
    }
    format!(
        "Let it through: write this to `/etc/apparmor.d/banger-helper`, then \
         `sudo apparmor_parser -r /etc/apparmor.d/banger-helper`.\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile banger-helper \"{pattern}\" flags=(unconfined) {{\n\
         \x20 userns,\n\
         }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_setting_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["kernel", "user"] {
            fs_err::create_dir(dir.path().join(directory)).unwrap();
        }
        let found = async || {
            let found = find_obstacle(dir.path(), USER.into_iter().chain([NETWORK])).await.unwrap();
            found.map(|setting| setting.render())
        };
        let write = |file: &str, text: &str| fs_err::write(dir.path().join(file), text).unwrap();
        assert_eq!(found().await, None, "a kernel that knows none of them");
        write(NETWORK.file, "0\n");
        assert_eq!(found().await.as_deref(), Some("user.max_net_namespaces = 0"));
        write("kernel/unprivileged_userns_clone", "0\n");
        assert_eq!(found().await.as_deref(), Some("kernel.unprivileged_userns_clone = 0"));
        write("kernel/unprivileged_userns_clone", "1\n");
        write("user/max_user_namespaces", "100\n");
        write(NETWORK.file, "100\n");
        assert_eq!(found().await, None);
    }

    #[test]
    fn the_way_out_is_exact() {
        let program = Path::new("/home/a {b}/lib/banger/banger-helper");
        insta::assert_snapshot!(APPARMOR.remedy_for(program), @r#"
        Let it through: write this to `/etc/apparmor.d/banger-helper`, then `sudo apparmor_parser -r /etc/apparmor.d/banger-helper`.
        abi <abi/4.0>,
        include <tunables/global>
        profile banger-helper "/home/a \{b\}/lib/banger/banger-helper" flags=(unconfined) {
          userns,
        }
        "#);
        insta::assert_snapshot!(
            NETWORK.remedy_for(program),
            @"Allow them: `sudo sysctl user.max_net_namespaces=10000`. To keep it: `echo 'user.max_net_namespaces=10000' | sudo tee /etc/sysctl.d/60-banger.conf`."
        );
    }
}
