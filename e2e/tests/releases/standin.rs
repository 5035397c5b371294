//! Programs in the place of banger's: making those takes minutes, and the scripts only ask them what they are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_e2e::Releases;

/// Does what `make build place` does for the scripts. `OTHER_KEY` and `OTHER_VERSION` are what the programs say
/// in the place of what they were told when they were made.
const MAKE: &str = r#"#!/bin/bash
set -eu
for word; do case $word in DESTDIR=*) tree=${word#DESTDIR=} ;; esac; done
mkdir -p "$tree"/{bin,lib/banger,share/doc/banger,share/man/man1}
version=${OTHER_VERSION:-$BANGER_BUILD_VERSION}
jq -n --arg version "$version" --arg key "${OTHER_KEY:-$BANGER_BUILD_KEY}" \
    '{version: $version, release_key: $key}' > "$tree/bin/said"
printf '#!/bin/sh\ncat <<END\n%s\nEND\n' "$(cat "$tree/bin/said")" > "$tree/bin/banger"
rm "$tree/bin/said"
for name in agent supervisor helper; do
    printf '#!/bin/sh\necho "banger-%s %s"\n' $name "$version (${BANGER_BUILD_COMMIT:0:12}, now)" \
        > "$tree/lib/banger/banger-$name"
done
echo manual > "$tree/share/man/man1/banger.1"
chmod +x "$tree"/bin/* "$tree"/lib/banger/*
"#;

/// Writes a program of its own to `dir`.
pub(crate) fn program(dir: &Path, name: &str, script: &str) -> PathBuf {
    fs::create_dir_all(dir).expect("a directory");
    let path = dir.join(name);
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

/// The script that publishes `version`, which comes to such programs.
pub(crate) fn publishing(releases: &Releases, version: &str) -> Command {
    let bin = releases.dir().with_extension("bin");
    program(&bin, "make", MAKE);
    let mut command = releases.publishing(version);
    let path = std::env::var("PATH").expect("a search path");
    command.env("PATH", format!("{}:{path}", bin.display()));
    command
}
