//! `docs/advanced.md` names every environment variable that banger reads on the host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use banger_proto::env;

/// The packages whose programs run on the host; the others are the guest's.
const ON_THE_HOST: [&str; 9] =
    ["cli", "daemon", "fetch", "helper", "link", "proto", "release", "rootfs", "tree"];

/// What is read under a name that a call has, instead of one of the constants.
const READERS: [&str; 2] = ["var(\"", "var_os(\""];

/// Variables of commands in VMs, which the host sets.
const OF_THE_GUEST: [&str; 1] = ["BANGER_FORK_INDEX"];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a checkout").to_owned()
}

/// The rows of the table: variable and purpose.
fn documented() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(checkout().join("docs/advanced.md")).unwrap();
    let table = page.split("## Environment variables").nth(1).expect("the section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let row = |(name, purpose): (&str, &str)| {
        (name.to_owned(), purpose.trim_end_matches([' ', '|']).to_owned())
    };
    rows.map(row).collect()
}

/// Names of variables that `source` reads, or has constants for.
fn read_by(source: &str) -> BTreeSet<String> {
    let product = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    let is_name = |text: &str| {
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(is_part)
    };
    for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for reader in READERS {
            let read = line.split(reader).skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(read.filter(|name| is_name(name)).map(str::to_owned));
        }
        // A constant of its own name, and whatever else is banger's.
        let mut texts = line.split('"').skip(1).step_by(2);
        let constant = line.split_once("const ").and_then(|(_, rest)| rest.split(':').next());
        names.extend(
            texts
                .by_ref()
                .filter(|text| is_name(text))
                .filter(|text| constant == Some(text) || text.starts_with("BANGER_"))
                .map(str::to_owned),
        );
    }
    names
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
            found.push(path);
        }
    }
}

#[test]
fn every_variable_is_documented() {
    let documented = documented();
    let mut expected: Vec<_> = env::TABLE
        .iter()
        .map(|variable| (variable.name.to_owned(), variable.purpose.to_owned()))
        .collect();
    let completion = "shell that asks for completion; set by what `banger completion` prints";
    expected.push(("COMPLETE".to_owned(), completion.to_owned()));
    assert_eq!(documented, expected, "docs/advanced.md");

    let mut files = Vec::new();
    for package in ON_THE_HOST {
        sources(&checkout().join("crates").join(package).join("src"), &mut files);
    }
    let mut read = BTreeSet::new();
    for file in files {
        for name in read_by(&std::fs::read_to_string(&file).unwrap()) {
            // What a build is told; nobody reads it afterwards.
            if name.starts_with("BANGER_BUILD_") {
                continue;
            }
            let is_known = documented.iter().any(|(known, _)| *known == name)
                || OF_THE_GUEST.contains(&name.as_str());
            assert!(is_known, "{}: `{name}` is not in docs/advanced.md", file.display());
            read.insert(name);
        }
    }
    // Nothing is documented that no source has any more, either.
    let stale: Vec<_> = documented.iter().filter(|(name, _)| !read.contains(name)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn variables_are_found_in_sources() {
    let source = "pub const HOME: &str = \"HOME\";\n// var(\"NOT\")\nstd::env::var_os(\"READ_1\");\n\
                  let x = (\"OTHER\", \"BANGER_X\");\n#[cfg(test)]\nvar(\"OF_A_TEST\");\n";
    let found: Vec<_> = read_by(source).into_iter().collect();
    assert_eq!(found, ["BANGER_X", "HOME", "READ_1"]);
}
