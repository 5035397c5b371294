//! Failures as the command line has them: a kind that decides the exit code, and a
//! [`Problem`] that is shown. Every error becomes one of these once, where it is known what the
//! user can do about it.

use std::io;

use banger_proto::harmless::render_text;
use banger_proto::{Code, OpId, Problem, exit_code};

use crate::ui::{Styled, Ui};

/// What a command ends with: its exit code or a failure to show.
pub(crate) type Outcome = Result<u8, CliError>;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The command line is wrong.
    Usage,
    /// The work failed.
    Failure,
    /// The daemon went away, or was not there any more.
    Lost,
    /// Whoever read our output has gone.
    BrokenPipe,
    /// The user, or the system for them, asked to stop with this signal.
    Interrupted(u8),
    /// Some of several targets failed; each was told when it did.
    Reported,
}

/// A failure on its way to the user.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    problem: Box<Problem>,
    /// Exit code of a [`Kind::Failure`] and a [`Kind::Reported`].
    failure_code: u8,
}

impl CliError {
    fn new(kind: Kind, problem: Problem) -> Self {
        Self { kind, problem: Box::new(problem), failure_code: exit_code::FAILURE }
    }

    /// The command line is wrong in a way its grammar cannot say.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, Problem::new(Code::BadRequest, message))
    }

    /// The work failed, here.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(Kind::Failure, Problem::new(Code::OperationFailed, message))
    }

    /// The daemon went away before it answered.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self::new(Kind::Lost, Problem::new(Code::OperationFailed, message))
    }

    /// A signal ended the work.
    pub(crate) fn interrupted(signal: u8, message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted(signal), Problem::new(Code::Cancelled, message))
    }

    /// Some of several targets failed, and each was shown already.
    pub(crate) fn reported() -> Self {
        Self::new(Kind::Reported, Problem::new(Code::OperationFailed, ""))
    }

    /// Standard output could not be written.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Kind::BrokenPipe, Problem::new(Code::Cancelled, "standard output is closed"))
        } else {
            Self::failure("cannot write to standard output").because(error)
        }
    }

    /// The same failure because of `error`.
    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.problem = Box::new(self.problem.because(error));
        self
    }

    /// The same failure with a way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem = Box::new(self.problem.hint(hint));
        self
    }

    /// The same failure of the request `op_id`, unless it names one already.
    pub(crate) fn of_operation(mut self, op_id: Option<OpId>) -> Self {
        self.problem.op_id = self.problem.op_id.take().or(op_id);
        self
    }

    /// The same failure in a command whose exit codes belong to the guest.
    pub(crate) fn in_guest_command(self) -> Self {
        self.exiting(exit_code::EXEC_FAILURE)
    }

    /// The same failure with an exit code of its own.
    pub(crate) fn exiting(mut self, code: u8) -> Self {
        self.failure_code = code;
        self
    }

    /// Whether the daemon went away: another one may answer.
    pub(crate) fn is_lost(&self) -> bool {
        self.kind == Kind::Lost
    }

    /// Kind of the problem, for the few callers that go on after some failures.
    pub(crate) fn code(&self) -> &Code {
        &self.problem.code
    }

    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => exit_code::USAGE,
            Kind::Failure | Kind::Lost | Kind::Reported => self.failure_code,
            // As if the signal had ended us, which is what shells and pipelines expect.
            Kind::BrokenPipe => exit_code::SIGNAL_BASE + SIGPIPE,
            Kind::Interrupted(signal) => exit_code::SIGNAL_BASE.saturating_add(signal),
        }
    }

    /// Whether a signal ended the work.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self.kind, Kind::Interrupted(_))
    }

    /// The failure as lines, for a screen that has its own place for them: headline, causes, hints. As
    /// the words came: they are made harmless where they are shown.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Problem { code, message, causes, hints, .. } = &*self.problem;
        let label = label(code).filter(|_| self.kind == Kind::Failure);
        let label = label.map(|label| format!("{label}: ")).unwrap_or_default();
        let all = std::iter::once(format!("{label}{message}"))
            .chain(causes.iter().map(|cause| format!("caused by: {cause}")))
            .chain(hints.iter().map(|hint| format!("hint: {hint}")));
        all.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Shows the failure on standard error, unless there is nothing to say.
    pub(crate) fn show(&self, ui: &Ui) {
        match self.kind {
            Kind::BrokenPipe | Kind::Reported => {}
            kind => ui.note(render_problem(&self.problem, kind == Kind::Failure, ui)),
        }
    }
}

const SIGPIPE: u8 = 13;

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        Self::new(Kind::Failure, problem)
    }
}

/// A failure as text: headline, causes, hints, operation.
fn render_problem(problem: &Problem, labelled: bool, ui: &Ui) -> Styled {
    let mut text = ui.red("banger:").then(" ");
    if let Some(label) = label(&problem.code).filter(|_| labelled) {
        text = text.then(label).then(": ");
    }
    text = text.then(indented(&problem.message));
    for cause in &problem.causes {
        text = text.then("\n  caused by: ").then(indented(cause));
    }
    for hint in &problem.hints {
        text = text.then("\n  ").then(ui.cyan("hint:")).then(" ").then(indented(hint));
    }
    if let Some(op_id) = &problem.op_id {
        text = text.then("\n").then(ui.dim(&format!("  (op {op_id})")));
    }
    text
}

/// The word before the message. Codes whose message says it all have none; a code this build
/// does not know is shown as it came.
fn label(code: &Code) -> Option<&str> {
    match code {
        Code::BadRequest => Some("bad request"),
        Code::BadVersion => Some("bad version"),
        Code::Unauthorized => Some("unauthorized"),
        Code::NotFound => Some("not found"),
        Code::AlreadyExists => Some("already exists"),
        Code::UnknownMethod => Some("unknown method"),
        Code::Conflict | Code::Cancelled | Code::Timeout | Code::OperationFailed => None,
        Code::Other(code) => Some(code),
    }
}

/// Later lines (a console's tail) stand under the first. Made harmless before it is indented:
/// what becomes a line of its own by that would look like one of ours.
fn indented(text: &str) -> String {
    render_text(text).trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(problem: Problem) -> String {
        render_problem(&problem, true, &Ui::plain()).as_str().to_owned()
    }

    #[test]
    fn shows_everything_once_in_order() {
        let problem = Problem::new(Code::NotFound, "no VM is called `webb`")
            .cause("the list has `web`")
            .hint("did you mean `web`?");
        let problem = Problem { op_id: Some("00aabbccddee".parse().unwrap()), ..problem };
        insta::assert_snapshot!(render(problem), @r"
        banger: not found: no VM is called `webb`
          caused by: the list has `web`
          hint: did you mean `web`?
          (op 00aabbccddee)
        ");
    }

    #[test]
    fn lines_are_the_same_words() {
        let problem = Problem::new(Code::NotFound, "no VM `webb`")
            .cause("console:\npanic")
            .hint("`banger ls` shows all VMs");
        assert_eq!(
            CliError::from(problem).lines(),
            [
                "not found: no VM `webb`",
                "caused by: console:",
                "panic",
                "hint: `banger ls` shows all VMs",
            ]
        );
    }

    #[test]
    fn guests_cannot_drive_the_terminal() {
        let problem = Problem::new(Code::OperationFailed, "the guest died")
            .cause("console:\n\x1b[2Jpanic\rbanger: all is well\r\nend\x07");
        insta::assert_snapshot!(render(problem), @r"
        banger: the guest died
          caused by: console:
            panic
            banger: all is well
            end�
        ");
    }

    #[test]
    fn unknown_codes_pass_through() {
        let problem = Problem::new(Code::Other("quota_exceeded".into()), "no more VMs");
        assert_eq!(render(problem), "banger: quota_exceeded: no more VMs");
    }

    #[test]
    fn kinds_decide_exit_codes() {
        assert_eq!(CliError::usage("x").exit_code(), 2);
        assert_eq!(CliError::failure("x").exit_code(), 1);
        assert_eq!(CliError::failure("x").in_guest_command().exit_code(), 125);
        assert_eq!(CliError::interrupted(2, "x").in_guest_command().exit_code(), 130);
        assert_eq!(CliError::stdout(&io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 141);
    }
}
