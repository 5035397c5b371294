//! From a request to everything decided: who, where, with which environment.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use banger_proto::guest::ExecRequest;
use banger_proto::{Code, Problem};

use super::mise::{self, Tools};
use super::shell::Shell;
use super::user::{self, User};
use crate::context::Context;
use crate::root::{Root, RootDir};
use crate::sys::{ChildSetup, Credentials};

/// Where programs are looked for when neither the image nor the request says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A terminal every image's terminfo knows, unless the request names the user's.
const DEFAULT_TERM: &str = "xterm-256color";

/// A command, ready to be started once.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The program: a path or a name to be looked for in `PATH`.
    pub(super) program: String,
    /// What it is told it was called as.
    pub(super) arg0: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) root: RootDir,
    pub(super) setup: ChildSetup,
    /// The file that names tools, where nothing provides them.
    pub(super) missing_tools: Option<&'static str>,
    /// Owner of the command's terminal.
    pub(super) credentials: Credentials,
}

impl Plan {
    /// Decides everything about the command that `request` asks for.
    ///
    /// # Errors
    /// When a text has a NUL, the user or the directory does not exist, or the guest's root
    /// cannot be opened.
    pub(crate) fn make(context: &Context, request: &ExecRequest) -> Result<Self, Problem> {
        refuse_malformed(request)?;
        let root = context.root.open().map_err(|error| {
            Problem::new(Code::OperationFailed, "cannot open the guest's root").because(&error)
        })?;
        let user = user::find(&root, request.user.as_deref())?;
        let cwd = open_cwd(&root, request.cwd.as_deref(), &user.home)?;
        let (program, arg0, args) = match request.argv.split_first() {
            Some((program, args)) => (program.clone(), program.clone(), args.to_vec()),
            None => {
                let Shell { program, arg0, args } = Shell::find(&root, &user.shell)?;
                (program, arg0, args)
            }
        };
        let setup = ChildSetup {
            root: context.root.is_foreign().then(|| reopen(&root)).transpose()?,
            cwd,
            credentials: changes_user(&context.root, request).then(|| user.credentials.clone()),
            terminal: request.terminal.is_some(),
            urgent: false,
        };
        let credentials = user.credentials.clone();
        let mut env = environment(context.env(), request, &user);
        let mut missing_tools = None;
        let (program, arg0, args) = match find_tools(&root, request, &mut env) {
            Tools::Through(mise) => (mise.clone(), mise, mise::through(program, args)),
            Tools::NoMise(file) => {
                missing_tools = Some(file);
                (program, arg0, args)
            }
            Tools::None => (program, arg0, args),
        };
        Ok(Self { program, arg0, args, env, root, setup, missing_tools, credentials })
    }

    /// The shell of a plan that was made for no command, told to run the line `command` instead
    /// of being a login shell: what sshd does with the commands it is given.
    #[must_use]
    pub(crate) fn with_line(mut self, command: &str) -> Self {
        if let Some(name) = self.arg0.strip_prefix('-') {
            self.arg0 = name.to_owned();
        }
        self.args.retain(|arg| arg != "-l");
        self.args.extend(["-c".to_owned(), command.to_owned()]);
        self
    }

    /// Everything as it is, but another program, called `name`.
    #[must_use]
    pub(crate) fn with_program(mut self, program: &str, name: &str) -> Self {
        program.clone_into(&mut self.program);
        name.clone_into(&mut self.arg0);
        self.args.clear();
        self
    }
}

/// A hosted agent without privilege runs commands as itself; asking it for another user then
/// fails in the child, as it should.
fn changes_user(root: &Root, request: &ExecRequest) -> bool {
    root.is_foreign() || request.user.is_some() || rustix::process::geteuid().is_root()
}

/// No system call takes a NUL; a variable's name has no `=` and is not empty.
fn refuse_malformed(request: &ExecRequest) -> Result<(), Problem> {
    let bad = |what: &str| Problem::new(Code::BadRequest, format!("{what} is malformed"));
    let nul = |text: &str| text.contains('\0');
    if request.argv.iter().any(|arg| nul(arg)) || request.argv.first().is_some_and(String::is_empty)
    {
        return Err(bad("the command"));
    }
    for (name, value) in &request.env {
        if name.is_empty() || name.contains('=') || nul(name) || nul(value) {
            return Err(bad(&format!("the variable `{}`", name.escape_default())));
        }
    }
    if request.cwd.as_deref().is_some_and(|cwd| nul(cwd) || !cwd.starts_with('/')) {
        return Err(bad("the working directory").hint("Give an absolute path."));
    }
    Ok(())
}

/// A shell sees to its tools itself, and elsewhere other tools count.
fn find_tools(root: &RootDir, request: &ExecRequest, env: &mut BTreeMap<String, String>) -> Tools {
    let ExecRequest { argv, cwd, tools_of, .. } = request;
    let is_there =
        |directory: &&str| cwd.as_ref().is_some_and(|cwd| Path::new(cwd).starts_with(directory));
    match tools_of.as_deref().filter(is_there) {
        Some(directory) if !argv.is_empty() => mise::find(root, directory, env),
        _ => Tools::None,
    }
}

/// Opens the asked-for directory. Without one it is the home, or the top where an image has no
/// home, as a login does it.
fn open_cwd(root: &RootDir, asked: Option<&str>, home: &str) -> Result<OwnedFd, Problem> {
    let opened = match asked {
        Some(cwd) => root.directory(Path::new(cwd)),
        None => root.directory(Path::new(home)).or_else(|_| root.directory(Path::new("/"))),
    };
    opened.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Code::NotFound,
            _ => Code::OperationFailed,
        };
        let cwd = asked.unwrap_or("/");
        Problem::new(code, format!("cannot enter the working directory `{cwd}` in the guest"))
            .because(&error)
            .hint("make it there first, or give another: --workdir DIRECTORY")
    })
}

fn reopen(root: &RootDir) -> Result<OwnedFd, Problem> {
    rustix::io::fcntl_dupfd_cloexec(root, 3).map_err(|errno| {
        Problem::new(Code::OperationFailed, "cannot open the guest's root").because(&errno)
    })
}

/// Defaults under the guest's environment under the request's.
fn environment(
    guest: BTreeMap<String, String>,
    request: &ExecRequest,
    user: &User,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("PATH", DEFAULT_PATH),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if request.terminal.is_some() {
        env.insert("TERM".into(), DEFAULT_TERM.into());
    }
    env.extend(guest.into_iter().filter(|(name, value)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    }));
    env.extend(request.env.clone());
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nuls_and_relative_directories_are_refused() {
        let bad = [
            ExecRequest { argv: vec!["a\0b".into()], ..ExecRequest::default() },
            ExecRequest { argv: vec![String::new()], ..ExecRequest::default() },
            ExecRequest { cwd: Some("here".into()), ..ExecRequest::default() },
            ExecRequest { env: [("A=B".into(), String::new())].into(), ..ExecRequest::default() },
        ];
        for request in bad {
            assert_eq!(refuse_malformed(&request).unwrap_err().code, Code::BadRequest);
        }
    }
}
