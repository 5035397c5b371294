//! Which of the host's git settings travel, and how they are written down for the guest.

use super::error::WorkspaceError;
use super::git::{ANSWER_LIMIT, Git};
use super::index::records;
use super::origin::plan_origin;

/// Settings that travel as they are: those that change what git makes of the files and of their
/// state, and who commits. Everything else, above all what names a program, a file or a
/// credential, stays on the host.
const CARRIED: &[&str] = &[
    "core.filemode",
    "core.symlinks",
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.quotepath",
    "core.whitespace",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.checkroundtripencoding",
    "diff.renames",
    "diff.renamelimit",
    "i18n.commitencoding",
    "i18n.logoutputencoding",
    "status.renames",
    "status.renamelimit",
    "status.relativepaths",
    "user.name",
    "user.email",
];

/// The effective settings of a repository, in git's order of rising precedence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// Names (`section.name` in lower case, `section.Sub.name`) and values; a name without a
    /// value means true.
    entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Settings {
    /// Asks git.
    pub(super) async fn load(git: &Git) -> Result<Self, WorkspaceError> {
        let command = git.command("config").args(["--list", "-z"]);
        let list = command.output(ANSWER_LIMIT).await.map_err(|source| git.failure(source))?;
        Ok(Self::parse(&list))
    }

    /// Parses `git config --list -z`: `<name>\n<value>\0`, or `<name>\0`.
    pub(super) fn parse(list: &[u8]) -> Self {
        let parse = |record: &[u8]| match record.iter().position(|byte| *byte == b'\n') {
            Some(end) => (record[..end].to_vec(), Some(record[end + 1..].to_vec())),
            None => (record.to_vec(), None),
        };
        Self { entries: records(list).map(parse).collect() }
    }

    /// The value that counts: the last one.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).last()
    }

    fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.entries
            .iter()
            .filter(move |(entry, _)| entry == name.as_bytes())
            .map(|(_, value)| value.as_deref().unwrap_or(b"true"))
    }

    /// Whether a program of the user may stand between files and their blobs, as git-lfs does.
    pub(super) fn has_filters(&self) -> bool {
        let is_filter = |name: &[u8]| {
            name.starts_with(b"filter.")
                && (name.ends_with(b".clean") || name.ends_with(b".process"))
        };
        self.entries.iter().any(|(name, _)| is_filter(name))
    }

    /// Whether objects may be missing here because `origin` promises to have them.
    pub(super) fn is_partial_clone(&self) -> bool {
        self.get("remote.origin.promisor") == Some(b"true")
            || self.get("extensions.partialclone") == Some(b"origin")
    }
}

/// One setting of the guest's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    section: &'static str,
    subsection: Option<&'static str>,
    name: &'static str,
    value: Vec<u8>,
}

/// Added to the guest's `.git/config` when tracked files go through filters. The guest has no
/// such programs, so by their contents all those files would seem to be edited; with this, git
/// compares size and time first, which are those the index has from the host.
pub(super) const TRUST_TIMES: &[u8] = b"[core]\n\tcheckstat = \"minimal\"\n";

/// Added where there are submodules: those that are checked out are in use.
pub(super) const SUBMODULES: &[u8] = b"[submodule]\n\tactive = .\n";

/// The guest's `.git/config`.
pub(super) fn render_guest_config(host: &Settings, object_format: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = None;
    for setting in plan_guest_settings(host, object_format) {
        let section = (setting.section, setting.subsection);
        if last != Some(section) {
            last = Some(section);
            out.extend_from_slice(
                match setting.subsection {
                    Some(subsection) => format!("[{} \"{subsection}\"]\n", setting.section),
                    None => format!("[{}]\n", setting.section),
                }
                .as_bytes(),
            );
        }
        out.extend_from_slice(format!("\t{} = ", setting.name).as_bytes());
        render_value(&setting.value, &mut out);
        out.push(b'\n');
    }
    out
}

fn plan_guest_settings(host: &Settings, object_format: &str) -> Vec<Setting> {
    let set = |section, name, value: &[u8]| Setting {
        section,
        subsection: None,
        name,
        value: value.to_vec(),
    };
    let origin = |name, value: &[u8]| Setting {
        section: "remote",
        subsection: Some("origin"),
        name,
        value: value.to_vec(),
    };
    // The first URL is the one that is fetched from.
    let url = host.all("remote.origin.url").next().and_then(plan_origin);
    let partial = url.is_some() && host.is_partial_clone();
    let extended = partial || object_format != "sha1";
    let version: &[u8] = if extended { b"1" } else { b"0" };
    let mut planned = vec![
        set("core", "repositoryformatversion", version),
        set("core", "bare", b"false"),
        set("core", "logallrefupdates", b"true"),
    ];
    planned.extend(CARRIED.iter().filter_map(|name| {
        let (section, short) = name.split_once('.')?;
        Some(set(section, short, host.get(name)?))
    }));
    if object_format != "sha1" {
        planned.push(set("extensions", "objectformat", object_format.as_bytes()));
    }
    if let Some(url) = url {
        planned.push(origin("url", &url));
        planned.push(origin("fetch", b"+refs/heads/*:refs/remotes/origin/*"));
        if partial {
            planned.push(origin("promisor", b"true"));
            let filter = host.get("remote.origin.partialclonefilter").unwrap_or(b"blob:none");
            planned.push(origin("partialclonefilter", filter));
        }
    }
    planned
}

/// A value in the quotes of `git-config(1)`, "Syntax".
fn render_value(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(list: &[u8], format: &str) -> String {
        String::from_utf8(render_guest_config(&Settings::parse(list), format)).unwrap()
    }

    #[test]
    fn only_listed_settings_travel() {
        let list = b"user.name\nA \"B\" \\ C\0user.name\nLast\0credential.helper\nstore\0\
            core.hookspath\n/h\0core.filemode\nfalse\0core.symlinks\0filter.x.clean\nrm -rf\0\
            remote.origin.url\nhttps://t@e.org/x\0remote.origin.url\nsecond\0core.worktree\n/w\0\
            http.https://e.org.extraheader\nAuthorization: x\0remote.other.url\no\0";
        insta::assert_snapshot!(render(list, "sha1"), @r#"
        [core]
        	repositoryformatversion = "0"
        	bare = "false"
        	logallrefupdates = "true"
        	filemode = "false"
        	symlinks = "true"
        [user]
        	name = "Last"
        [remote "origin"]
        	url = "https://e.org/x"
        	fetch = "+refs/heads/*:refs/remotes/origin/*"
        "#);
    }

    #[test]
    fn format_and_missing_objects_are_told() {
        let list = b"remote.origin.url\n/o\0remote.origin.promisor\ntrue\0";
        let config = render(list, "sha256");
        assert!(config.contains("repositoryformatversion = \"1\""), "{config}");
        assert!(config.contains("[extensions]\n\tobjectformat = \"sha256\""), "{config}");
        assert!(config.contains("partialclonefilter = \"blob:none\""), "{config}");
    }

    #[test]
    fn values_are_quoted() {
        let mut out = Vec::new();
        render_value(b"a\"b\\c\nd\te;#\xff ", &mut out);
        assert_eq!(out, b"\"a\\\"b\\\\c\\nd\\te;#\xff \"");
    }
}
