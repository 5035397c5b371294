//! What runs in a VM, where and as whom: what was asked, over the VM, over what the image says.
//! Pure.
//!
//! | | a command | the image's own program |
//! |---|---|---|
//! | argv | asked; else a shell | entrypoint + (asked, else the image's arguments) |
//! | directory | asked, workspace, image, home | asked, image, `/` |
//! | user | asked, root with a workspace, image, root | asked, image, root |
//! | environment | image, VM, asked | image, VM, asked |
//! | tools | of the workspace, through mise | – |
//!
//! A workspace belongs to whoever works on it: it lies in root's home. The image's own program
//! knows nothing of it and runs as the image says, as it would anywhere else.

use std::collections::BTreeMap;

use banger_proto::api::{Entrypoint, EntrypointOptions, ExecVm, RunConfig};
use banger_proto::guest::{ExecRequest, NO_SHELL, ServiceSpec};
use banger_proto::{Code, Problem, signal};

use super::plan::VmPlan;
use super::state::VmRecord;

/// `SIGTERM`: what asks a program to end whose image names no other signal.
const TERM: u8 = 15;

/// The image has no program of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image `{image}` has neither an entrypoint nor a command of its own")]
pub(crate) struct NoProgram {
    image: String,
}

impl From<NoProgram> for Problem {
    fn from(error: NoProgram) -> Self {
        let image = error.image.clone();
        Self::from_error(Code::BadRequest, &error)
            .hint(format!("name the command: banger vm run --image {image} -- COMMAND"))
    }
}

/// What the agent is asked to run for `asked`.
///
/// # Errors
/// When the image's own program is asked for and there is none.
pub(crate) fn plan_exec(asked: ExecVm, record: &VmRecord) -> Result<ExecRequest, NoProgram> {
    let none = RunConfig::default();
    let run = record.base.as_ref().map_or(&none, |base| &base.run);
    let ExecVm { argv, entrypoint, env, cwd, user, terminal, stdin } = asked;
    let workspace = record.workspace.as_ref().filter(|_| !entrypoint);
    let tools_of = workspace.map(|workspace| workspace.guest_path.clone());
    let (argv, cwd, user) = if entrypoint {
        own_program(run, &record.plan.image, EntrypointOptions { args: argv, cwd, user })?
    } else {
        let cwd = cwd.or_else(|| workspace.map(|workspace| workspace.guest_path.clone()));
        let user = user.or_else(|| image_user(run).filter(|_| workspace.is_none()));
        (argv, cwd.or_else(|| working_dir(run)), user)
    };
    Ok(ExecRequest { argv, env, cwd, user, terminal, stdin, tools_of })
}

/// The service of a VM over an image that says `run`; none when it was not asked for.
///
/// # Errors
/// When any use of the image's own program was asked for and there is none.
pub(crate) fn plan_service(
    plan: &VmPlan,
    run: &RunConfig,
) -> Result<Option<ServiceSpec>, NoProgram> {
    let (options, service) = match &plan.entrypoint {
        None => return Ok(None),
        Some(Entrypoint::Attached) => (EntrypointOptions::default(), false),
        Some(Entrypoint::Service(options)) => (options.clone(), true),
    };
    let (argv, cwd, user) = own_program(run, &plan.image, options)?;
    let stop_signal = run.stop_signal.as_deref().and_then(signal::parse).unwrap_or(TERM);
    Ok(service.then_some(ServiceSpec { argv, cwd, user, stop_signal }))
}

/// The environment of everything in a VM.
pub(crate) fn plan_env(plan: &VmPlan, run: &RunConfig) -> BTreeMap<String, String> {
    let mut env = run.env.clone();
    env.extend(plan.env.clone());
    env
}

/// The image's working directory as an absolute path.
pub(crate) fn working_dir(run: &RunConfig) -> Option<String> {
    let path = run.working_dir.as_deref().filter(|path| !path.is_empty())?;
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

/// What is told when the guest did not start `asked`: a shell that it does not have, or something
/// in a workspace that was removed there.
pub(crate) fn explain_refusal(problem: Problem, asked: &ExecRequest, record: &VmRecord) -> Problem {
    let VmPlan { name, image, .. } = &record.plan;
    if problem.code.as_str() != NO_SHELL {
        let workspace = record.workspace.as_ref().map(|workspace| &workspace.guest_path);
        return match workspace {
            Some(path) if problem.code == Code::NotFound && asked.cwd.as_ref() == Some(path) => {
                problem
                    .hint(format!("to bring `{path}` in again: banger vm workspace prepare {name}"))
                    .hint(format!("elsewhere: banger vm exec --workdir / {name} -- COMMAND"))
            }
            _ => problem,
        };
    }
    let with_command = if record.ephemeral {
        format!("banger vm run --rm --image {image} -- COMMAND")
    } else {
        format!("banger vm exec {name} -- COMMAND")
    };
    Problem::new(Code::NotFound, format!("image `{image}` has no shell"))
        .hint(format!("run a command of it: {with_command}"))
        .hint(format!("or its own program: banger vm run --image {image} --entrypoint"))
}

type Program = (Vec<String>, Option<String>, Option<String>);

/// Program and arguments, directory and user of the image's own program.
fn own_program(
    run: &RunConfig,
    image: &str,
    options: EntrypointOptions,
) -> Result<Program, NoProgram> {
    if run.entrypoint.is_empty() && run.cmd.is_empty() {
        return Err(NoProgram { image: image.to_owned() });
    }
    let args = if options.args.is_empty() { run.cmd.clone() } else { options.args };
    let argv = run.entrypoint.iter().cloned().chain(args).collect();
    let cwd = options.cwd.or_else(|| working_dir(run)).unwrap_or_else(|| "/".to_owned());
    Ok((argv, Some(cwd), options.user.or_else(|| image_user(run))))
}

fn image_user(run: &RunConfig) -> Option<String> {
    run.user.clone().filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use banger_proto::api::VmWorkspace;

    use super::*;
    use crate::vm::state::Base;
    use crate::vm::state::tests::record;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// A VM over an image with this configuration, with or without a workspace.
    fn vm(run: RunConfig, workspace: bool) -> VmRecord {
        let mut record = record("web");
        record.base =
            Some(Base { digest: String::new(), path: "/image".into(), run, kernel: None });
        record.workspace = workspace.then(|| VmWorkspace {
            host_path: "/home/u/repo".into(),
            guest_path: "/root/repo".into(),
            ..VmWorkspace::default()
        });
        record
    }

    fn image() -> RunConfig {
        RunConfig {
            working_dir: Some("/srv".into()),
            user: Some("app:web".into()),
            entrypoint: words(&["/entry", "-x"]),
            cmd: words(&["serve"]),
            stop_signal: Some("SIGQUIT".into()),
            ..RunConfig::default()
        }
    }

    /// Directory and user of a command: (asked, with a workspace, over which image).
    fn where_and_who(asked: ExecVm, workspace: bool, run: RunConfig) -> (String, String) {
        let planned = plan_exec(asked, &vm(run, workspace)).unwrap();
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        (text(planned.cwd), text(planned.user))
    }

    #[test]
    fn where_and_as_whom_a_command_runs() {
        let asked =
            || ExecVm { cwd: Some("/a".into()), user: Some("me".into()), ..ExecVm::default() };
        let own = || ExecVm { entrypoint: true, ..ExecVm::default() };
        let (plain, none) = (ExecVm::default, RunConfig::default);
        let only_cmd = || RunConfig { cmd: words(&["run"]), ..none() };
        let strings = |cwd: &str, user: &str| (cwd.to_owned(), user.to_owned());
        for (asked, workspace, run, expected) in [
            (plain(), false, none(), strings("-", "-")),
            (plain(), false, image(), strings("/srv", "app:web")),
            (plain(), true, none(), strings("/root/repo", "-")),
            (plain(), true, image(), strings("/root/repo", "-")),
            (asked(), false, image(), strings("/a", "me")),
            (asked(), true, image(), strings("/a", "me")),
            (own(), false, image(), strings("/srv", "app:web")),
            (own(), true, image(), strings("/srv", "app:web")),
            (own(), false, only_cmd(), strings("/", "-")),
            (ExecVm { entrypoint: true, ..asked() }, true, image(), strings("/a", "me")),
        ] {
            assert_eq!(where_and_who(asked.clone(), workspace, run), expected, "{asked:?}");
        }
        let odd = RunConfig {
            working_dir: Some("app".into()),
            user: Some(String::new()),
            ..RunConfig::default()
        };
        assert_eq!(where_and_who(plain(), false, odd), strings("/app", "-"));
    }

    #[test]
    fn the_images_program_takes_arguments_as_containers_do() {
        let argv = |entrypoint: &[&str], cmd: &[&str], asked: &[&str]| {
            let run = RunConfig {
                entrypoint: words(entrypoint),
                cmd: words(cmd),
                ..RunConfig::default()
            };
            let asked = ExecVm { entrypoint: true, argv: words(asked), ..ExecVm::default() };
            plan_exec(asked, &vm(run, false)).map(|planned| planned.argv.join(" ")).ok()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(argv(&["e", "-x"], &["c"], &[]), some("e -x c"));
        assert_eq!(argv(&["e", "-x"], &["c"], &["a", "b"]), some("e -x a b"));
        assert_eq!(argv(&["e"], &[], &[]), some("e"));
        assert_eq!(argv(&[], &["c", "d"], &[]), some("c d"));
        assert_eq!(argv(&[], &["c", "d"], &["a"]), some("a"));
        assert_eq!(argv(&[], &[], &[]), None);
        assert_eq!(argv(&[], &[], &["a"]), None);
        // A command is run as it is, whatever the image has.
        let asked = ExecVm { argv: words(&["ls"]), ..ExecVm::default() };
        assert_eq!(plan_exec(asked, &vm(image(), false)).unwrap().argv, words(&["ls"]));
    }

    #[test]
    fn a_service_is_planned_only_when_asked_for() {
        let mut plan = record("web").plan;
        assert_eq!(plan_service(&plan, &image()), Ok(None));
        plan.entrypoint = Some(Entrypoint::Service(EntrypointOptions::default()));
        let expected = ServiceSpec {
            argv: words(&["/entry", "-x", "serve"]),
            cwd: Some("/srv".into()),
            user: Some("app:web".into()),
            stop_signal: 3,
        };
        assert_eq!(plan_service(&plan, &image()), Ok(Some(expected)));
        let none = plan_service(&plan, &RunConfig::default()).unwrap_err();
        let problem = Problem::from(none);
        assert!(problem.message.contains("neither an entrypoint nor a command"), "{problem:?}");
        plan.entrypoint = Some(Entrypoint::Attached);
        assert_eq!(plan_service(&plan, &image()), Ok(None));
        assert!(plan_service(&plan, &RunConfig::default()).is_err());
    }

    #[test]
    fn without_a_shell_the_way_out_is_one_that_is_there() {
        let refused = || Problem::new(Code::Other(NO_SHELL.to_owned()), "no shell");
        let asked = ExecRequest::default();
        let hint = |ephemeral: bool| {
            let record = VmRecord { ephemeral, ..vm(RunConfig::default(), false) };
            explain_refusal(refused(), &asked, &record).hints.remove(0)
        };
        assert!(hint(false).ends_with("banger vm exec web -- COMMAND"));
        assert!(hint(true).contains("banger vm run --rm --image"));
        let other = Problem::new(Code::Conflict, "busy");
        let record = vm(RunConfig::default(), false);
        assert_eq!(explain_refusal(other.clone(), &asked, &record), other);
    }

    #[test]
    fn a_workspace_that_was_removed_can_be_brought_in_again() {
        let record = vm(RunConfig::default(), true);
        let refused = || Problem::new(Code::NotFound, "cannot enter");
        let hints = |asked| {
            let asked = plan_exec(asked, &record).unwrap();
            explain_refusal(refused(), &asked, &record).hints
        };
        let [again, elsewhere] = hints(ExecVm::default()).try_into().unwrap();
        assert!(again.ends_with("banger vm workspace prepare web"), "{again}");
        assert!(elsewhere.contains("--workdir /"), "{elsewhere}");
        let elsewhere = ExecVm { cwd: Some("/none".into()), ..ExecVm::default() };
        assert!(hints(elsewhere).is_empty());
    }
}
