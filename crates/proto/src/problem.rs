//! The one form in which a failure crosses a process boundary.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::OpId;

/// Kind of a failure, for programs. Unknown codes of a newer peer pass through as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Code {
    /// The request is wrong in itself.
    BadRequest,
    /// Client and daemon speak different versions of the interface.
    BadVersion,
    /// The caller may not use this socket.
    Unauthorized,
    /// The named object does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The object's state does not allow it, or it is in use.
    Conflict,
    /// No such method or path.
    UnknownMethod,
    /// The client went away or asked to stop.
    Cancelled,
    /// A bounded wait ended.
    Timeout,
    /// Everything else: the request was right, the work failed.
    OperationFailed,
    /// A code of a newer peer.
    Other(String),
}

impl Code {
    /// All that this build knows, in the order in which they are documented.
    pub const KNOWN: [Self; 10] = [
        Self::BadRequest,
        Self::BadVersion,
        Self::Unauthorized,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::UnknownMethod,
        Self::Cancelled,
        Self::Timeout,
        Self::OperationFailed,
    ];

    /// The code as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadVersion => "bad_version",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::UnknownMethod => "unknown_method",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::OperationFailed => "operation_failed",
            Self::Other(code) => code,
        }
    }
}

impl From<String> for Code {
    fn from(text: String) -> Self {
        let known = Self::KNOWN.into_iter().find(|code| code.as_str() == text);
        known.unwrap_or(Self::Other(text))
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

/// A failure: what went wrong, why, and the way out.
///
/// `message` is a lower-case fragment that names its object in backticks; each of `causes` is
/// the reason for the text before it; `hints` are whole sentences or commands to type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Kind of the failure.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: Code,
    /// What went wrong.
    pub message: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// The request in which it happened; the daemon's log has the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op_id: Option<OpId>,
}

impl Problem {
    /// A failure of kind `code` without causes or hints.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hints: Vec::new(), op_id: None }
    }

    /// A failure of kind `code` whose message and causes are an error and its sources.
    #[must_use]
    pub fn from_error(code: Code, error: &dyn std::error::Error) -> Self {
        let mut problem = Self::new(code, error.to_string());
        problem.causes = sources(error);
        problem
    }

    /// The same failure with more ways out.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// The same failure with `error` and its sources as causes.
    #[must_use]
    pub fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.causes.push(error.to_string());
        self.causes.extend(sources(error));
        self
    }

    /// The same failure with one more cause, innermost last.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The same failure with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// The errors below one. One that only passes a [`Problem`] on says the same as that, which is said
/// once, with the causes that it brought along.
fn sources(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut above = error.to_string();
    for source in std::iter::successors(error.source(), |source| source.source()) {
        let text = source.to_string();
        if text != above {
            causes.push(text.clone());
        }
        above = text;
        if let Some(problem) = source.downcast_ref::<Problem>() {
            causes.extend(problem.causes.iter().cloned());
        }
    }
    causes
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_pass_through() {
        let problem: Problem =
            serde_json::from_str(r#"{"code":"quota_exceeded","message":"no"}"#).unwrap();
        assert_eq!(problem.code, Code::Other("quota_exceeded".into()));
        assert!(serde_json::to_string(&problem).unwrap().contains("quota_exceeded"));
    }

    #[test]
    fn known_codes_come_back_from_the_wire() {
        for code in Code::KNOWN {
            assert_eq!(Code::from(String::from(code.clone())), code);
            assert!(!matches!(code, Code::Other(_)));
        }
    }

    #[test]
    fn collects_sources_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read `x`")]
        struct Outer(#[source] std::io::Error);
        let problem =
            Problem::from_error(Code::OperationFailed, &Outer(std::io::Error::other("disk gone")));
        assert_eq!(
            (problem.message.as_str(), problem.causes.as_slice()),
            ("cannot read `x`", &["disk gone".to_owned()][..])
        );
    }

    #[test]
    fn a_problem_that_is_passed_on_brings_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct PassedOn(#[source] Problem);
        let told = Problem::new(Code::OperationFailed, "cannot mount `x`").cause("no space");
        let problem = Problem::new(Code::OperationFailed, "cannot boot").because(&PassedOn(told));
        assert_eq!(problem.causes, ["cannot mount `x`", "no space"]);
    }
}
