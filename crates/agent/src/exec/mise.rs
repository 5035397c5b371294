//! Running a command through `mise exec --`, so that it finds the tools that its repository names. mise
//! itself is run as it is: it knows where it is, and may be about to install them.

use std::collections::BTreeMap;
use std::path::Path;

use banger_proto::guest::{MISE, TOOL_FILES};

use super::shell::is_program;
use crate::root::RootDir;

/// Where mise installs itself, under a home, when nobody says otherwise.
const OWN_PLACE: &str = ".local/bin/mise";

/// What mise is told, unless the command's environment says otherwise. Its own names
/// (mise.jdx.dev/configuration/settings.html).
const NO_INSTALLING: (&str, &str) = ("MISE_EXEC_AUTO_INSTALL", "false");
const TRUSTED: &str = "MISE_TRUSTED_CONFIG_PATHS";

/// How a command finds the tools of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tools {
    /// The directory names none.
    None,
    /// This file names some, and there is no mise.
    NoMise(&'static str),
    /// Through the mise at this path.
    Through(String),
}

/// How a command of `env` finds the tools that `directory` names; with a mise, `env` then has what
/// that needs.
pub(super) fn find(root: &RootDir, directory: &str, env: &mut BTreeMap<String, String>) -> Tools {
    let file = TOOL_FILES.iter().find(|name| root.has(&Path::new(directory).join(name)));
    let Some(file) = file else { return Tools::None };
    let text = |name: &str| env.get(name).map(String::as_str).unwrap_or_default();
    let listed = text("PATH").split(':').map(|directory| format!("{directory}/{MISE}"));
    let own = format!("{}/{OWN_PLACE}", text("HOME"));
    let is_mise = |path: &String| path.starts_with('/') && is_program(root, path);
    let Some(mise) = listed.chain([own]).find(is_mise) else { return Tools::NoMise(file) };
    // The files are their owner's, who would only be asked to say so, and a command that is to run
    // does not wait for downloads.
    for (name, value) in [NO_INSTALLING, (TRUSTED, directory)] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Tools::Through(mise)
}

/// What is said of tools that nothing provides.
pub(super) fn render_missing(file: &str) -> String {
    format!("banger: `{file}` names tools, and this VM has no mise to provide them\n")
}

/// The arguments of mise that run `program` with `args`.
pub(super) fn through(program: String, args: Vec<String>) -> Vec<String> {
    if program == MISE {
        return args;
    }
    ["exec".to_owned(), "--".to_owned(), program].into_iter().chain(args).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn mise_is_used_where_it_is_and_has_something_to_do() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        std::fs::create_dir_all(at("root/repo")).unwrap();
        std::fs::create_dir_all(at("root/.local/bin")).unwrap();
        std::fs::create_dir_all(at("opt/bin")).unwrap();
        let root = Root::Directory(top.path().to_owned()).open().unwrap();
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), ":relative:/opt/bin".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let find = |env: &mut _| find(&root, "/root/repo", env);
        let install = |path: &str| {
            std::fs::write(at(path), "").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(at(path), mode).unwrap();
        };
        assert_eq!(find(&mut env), Tools::None);
        std::fs::write(at("root/repo/.tool-versions"), "").unwrap();
        assert_eq!(find(&mut env), Tools::NoMise(".tool-versions"));
        install("root/.local/bin/mise");
        assert_eq!(find(&mut env), Tools::Through("/root/.local/bin/mise".into()));
        install("opt/bin/mise");
        env.insert(NO_INSTALLING.0.to_owned(), "true".to_owned());
        assert_eq!(find(&mut env), Tools::Through("/opt/bin/mise".into()));
        assert_eq!((&*env[TRUSTED], &*env[NO_INSTALLING.0]), ("/root/repo", "true"));
        let words = through("make".into(), vec!["test".into()]);
        assert_eq!(words, ["exec", "--", "make", "test"]);
        assert_eq!(through(MISE.into(), vec!["install".into()]), ["install"]);
    }
}
