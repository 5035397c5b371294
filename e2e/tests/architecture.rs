//! The shape of the code, held by a test: which crate may see which, how large a file gets, and where what is not
//! of this project comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which crates of the workspace each of them may use. Development dependencies are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("banger-proto", &[]),
    ("banger-link", &["banger-proto"]),
    ("banger-rootfs", &["banger-proto"]),
    ("banger-fetch", &["banger-proto"]),
    ("banger-helper", &["banger-proto"]),
    ("banger-release", &["banger-fetch", "banger-proto"]),
    ("banger-tree", &["banger-proto"]),
    ("banger-ssh-server", &[]),
    ("banger-agent", &["banger-link", "banger-proto", "banger-ssh-server", "banger-tree"]),
    (
        "banger-daemon",
        &["banger-fetch", "banger-link", "banger-proto", "banger-rootfs", "banger-tree"],
    ),
    (
        "banger-cli",
        &["banger-daemon", "banger-link", "banger-proto", "banger-release", "banger-tree"],
    ),
    (
        "banger-testkit",
        &["banger-agent", "banger-daemon", "banger-fetch", "banger-link", "banger-proto"],
    ),
    ("banger-e2e", &["banger-proto", "banger-rootfs", "banger-testkit"]),
];

/// Crates that the programs of the guest and of root must never link.
const FORBIDDEN_IN_GUEST_AND_HELPER: &[&str] =
    &["axum", "clap", "hyper", "reqwest", "rusqlite", "utoipa"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(checkout().join("Cargo.toml"))
        // Only what this platform links is downloaded, and only that is asked for.
        .other_options(
            ["--offline", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
                .map(str::to_owned)
                .to_vec(),
        )
        .exec()
        .expect("cargo metadata")
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent")
}

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for dir in ["crates", "e2e"] {
        walk(&checkout().join(dir), &mut found);
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(members, allowed.keys().copied().collect(), "crates of the workspace");
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Development
                && members.contains(dependency.name.as_str())
            {
                assert!(
                    allowed[package.name.as_str()].contains(dependency.name.as_str()),
                    "{} must not use {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn guest_and_helper_stay_small() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let name = |id| metadata[id].name.as_str().to_owned();
    for root in ["banger-agent", "banger-helper"] {
        let mut queue: Vec<_> =
            resolve.nodes.iter().filter(|node| name(&node.id) == root).map(|n| &n.id).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = resolve.nodes.iter().find(|node| &node.id == id).expect("node");
            let linked = |dep: &&cargo_metadata::NodeDep| {
                dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            };
            // Optional dependencies appear only when a feature asks for them, and the resolver
            // unites features over the workspace: `proto` with `openapi` is the daemon's wish.
            let united = name(id) == "banger-proto";
            queue.extend(
                node.deps
                    .iter()
                    .filter(linked)
                    .filter(|dep| !(united && name(&dep.pkg) == "utoipa"))
                    .map(|dep| &dep.pkg),
            );
        }
        let linked: BTreeSet<String> = seen.into_iter().map(name).collect();
        assert!(linked.contains("banger-proto"), "{root} links {linked:?}");
        for forbidden in FORBIDDEN_IN_GUEST_AND_HELPER {
            assert!(!linked.contains(*forbidden), "{root} links {forbidden}");
        }
    }
}

#[test]
fn only_exec_and_the_owners_of_processes_start_programs() {
    // exec.rs starts host programs; launching a supervisor, a VMM, a daemon or a guest's
    // command is the very job of the others; `vm ssh` becomes another program. The network's holder
    // outlives the daemon, and its helper is spoken to on a socket: neither is a program that does
    // one thing and ends. The helper has no daemon to ask: it loads rules by nft, and becomes a VMM.
    // Nor has who installs the daemon as a service or puts another release in its place, and the builder is what starts programs for it.
    let starters = [
        "crates/agent/src/",
        "crates/cli/src/builder.rs",
        "crates/cli/src/client",
        "crates/cli/src/cmd/vm/ssh.rs",
        "crates/cli/src/system/host.rs",
        "crates/cli/src/update/trial.rs",
        "crates/daemon/src/exec.rs",
        "crates/daemon/src/hypervisor/supervised/launch.rs",
        "crates/daemon/src/net/user/",
        "crates/daemon/src/supervise/",
        "crates/helper/src/program.rs",
        "crates/helper/src/run.rs",
    ];
    for path in sources() {
        let place = path.strip_prefix(checkout()).expect("inside").display().to_string();
        let product = place.contains("/src/")
            && !place.starts_with("e2e")
            && !place.contains("testkit")
            && !place.contains("/tests");
        let text = fs::read_to_string(&path).expect("source");
        let product_text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if product && product_text.contains("Command::new(") {
            assert!(
                starters.iter().any(|starter| place.starts_with(starter))
                    || product_text.contains("clap::Command"),
                "{place} starts a program itself"
            );
        }
    }
}

#[test]
fn files_are_small_and_named_for_what_they_know() {
    for path in sources() {
        let place = path.strip_prefix(checkout()).expect("inside").display().to_string();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!["util", "utils", "common", "helpers"].contains(&stem), "{place} says nothing");
        let text = fs::read_to_string(&path).expect("source");
        if place.contains("/src/") {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = product.lines().count();
            let limit = if stem == "main" { 60 } else { 500 };
            assert!(lines <= limit, "{place} has {lines} lines, at most {limit}");
            assert!(product.trim_start().starts_with("//!"), "{place} does not say what it is for");
        }
    }
}

/// The registry whose packages never change under a version.
const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

#[test]
fn what_building_and_testing_fetch_is_pinned() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = fs::read_to_string(checkout().join(lock)).expect("a lock file");
        let fetched: Vec<&str> =
            text.split("[[package]]").filter(|package| package.contains("\nsource = ")).collect();
        assert!(fetched.len() > 50, "{lock} has {} packages", fetched.len());
        for package in fetched {
            let pinned = package.contains(REGISTRY) && package.contains("\nchecksum = \"");
            assert!(pinned, "{lock}: its bytes may change:{package}");
        }
    }
    let scripts = fs::read_dir(checkout().join("scripts")).expect("scripts").flatten();
    let files = scripts.map(|entry| entry.path()).filter(|path| path.is_file());
    let files = files.chain(["Makefile", ".ci/run"].map(|name| checkout().join(name)));
    for file in files {
        let text = fs::read_to_string(&file).expect("a script");
        for line in text.lines().filter(|line| line.contains("cargo install")) {
            let pinned = line.contains("--locked") && line.contains("--version");
            assert!(pinned, "{}: `{line}` takes what is newest", file.display());
        }
        let runs_a_download = text.lines().any(|line| {
            let fetches = line.contains("curl ") || line.contains("wget ");
            fetches && (line.contains("| sh") || line.contains("| bash")) && !line.starts_with('#')
        });
        assert!(!runs_a_download, "{} runs what it fetches", file.display());
    }
    let workflows = checkout().join(".github/workflows");
    assert!(!workflows.exists(), "actions of others are to be pinned by commit: hold that here");
}
