//! What the package with a program is called on this distribution.

use std::path::Path;

/// A program and its package by distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    pub(super) debian: &'static str,
    pub(super) arch: &'static str,
    pub(super) fedora: &'static str,
    pub(super) nix: &'static str,
    /// Where to look when the distribution is another.
    pub(super) home: &'static str,
}

/// QEMU's x86-64 system emulator.
pub(super) const QEMU: Package = Package {
    debian: "qemu-system-x86",
    arch: "qemu-base",
    fedora: "qemu-system-x86-core",
    nix: "qemu",
    home: "https://www.qemu.org/download/",
};
/// Git.
pub(super) const GIT: Package = Package {
    debian: "git",
    arch: "git",
    fedora: "git-core",
    nix: "git",
    home: "https://git-scm.com/downloads",
};
/// The tool that images are made with.
pub(super) const MMDEBSTRAP: Package = Package {
    debian: "mmdebstrap",
    arch: "mmdebstrap",
    fedora: "mmdebstrap",
    nix: "mmdebstrap",
    home: "https://gitlab.mister-muffin.de/josch/mmdebstrap",
};
/// `newuidmap` and `newgidmap`.
pub(super) const UIDMAP: Package = Package {
    debian: "uidmap",
    arch: "shadow",
    fedora: "shadow-utils",
    nix: "shadow",
    home: "https://github.com/shadow-maint/shadow",
};

/// Pasta.
pub(super) const PASST: Package = Package {
    debian: "passt",
    arch: "passt",
    fedora: "passt",
    nix: "passt",
    home: "https://passt.top",
};
/// `nft`.
pub(super) const NFTABLES: Package = Package {
    debian: "nftables",
    arch: "nftables",
    fedora: "nftables",
    nix: "nftables",
    home: "https://nftables.org",
};
/// OpenSSH's client.
pub(super) const SSH: Package = Package {
    debian: "openssh-client",
    arch: "openssh",
    fedora: "openssh-clients",
    nix: "openssh",
    home: "https://www.openssh.com/portable.html",
};

/// A sentence that says how to install `package` on the host whose `/etc` this is.
pub(super) async fn load_install_hint(etc: &Path, package: &Package) -> String {
    // Without the file the distribution is unknown, which the hint copes with.
    let os_release = fs_err::tokio::read_to_string(etc.join("os-release")).await;
    render_install_hint(&os_release.unwrap_or_default(), package)
}

/// The sentence for the distribution that an `os-release(5)` names.
fn render_install_hint(os_release: &str, package: &Package) -> String {
    let value = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let (id, like) = (value("ID"), value("ID_LIKE"));
    let families = std::iter::once(id.as_str()).chain(like.split_whitespace());
    for family in families {
        return match family {
            "debian" | "ubuntu" => {
                format!("Install it: `sudo apt-get install {}`.", package.debian)
            }
            "arch" | "manjaro" => format!("Install it: `sudo pacman -S {}`.", package.arch),
            "fedora" | "rhel" => format!("Install it: `sudo dnf install {}`.", package.fedora),
            "nixos" => format!("Add `pkgs.{}` to `environment.systemPackages`.", package.nix),
            _ => continue,
        };
    }
    format!("Install it from your distribution or from {}.", package.home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_fit_the_distribution() {
        for (os_release, expected) in [
            ("NAME=x\nID=debian\n", "Install it: `sudo apt-get install qemu-system-x86`."),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"",
                "Install it: `sudo apt-get install qemu-system-x86`.",
            ),
            ("ID=manjaro\nID_LIKE=arch", "Install it: `sudo pacman -S qemu-base`."),
            ("ID='fedora'", "Install it: `sudo dnf install qemu-system-x86-core`."),
            ("ID=nixos", "Add `pkgs.qemu` to `environment.systemPackages`."),
            ("", "Install it from your distribution or from https://www.qemu.org/download/."),
        ] {
            assert_eq!(render_install_hint(os_release, &QEMU), expected);
        }
    }
}
