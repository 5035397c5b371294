//! What requests say, and answers that went wrong.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use banger_proto::{Code, OpId, Problem};
use serde::de::DeserializeOwned;

/// A problem as an answer.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Problem);

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let mut response = (status_of(&self.0.code), Json(&self.0)).into_response();
        // The front adds the op id, which only it knows.
        response.extensions_mut().insert(Unnumbered(self.0));
        response
    }
}

/// A problem whose op id has still to be filled in.
#[derive(Debug, Clone)]
pub(super) struct Unnumbered(Problem);

impl Unnumbered {
    pub(super) fn number(self, op: OpId) -> Response {
        let mut problem = self.0;
        problem.op_id.get_or_insert(op);
        (status_of(&problem.code), Json(problem)).into_response()
    }
}

/// The HTTP status that fits a code best.
fn status_of(code: &Code) -> StatusCode {
    match code {
        Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::BadVersion => StatusCode::UPGRADE_REQUIRED,
        Code::Unauthorized => StatusCode::FORBIDDEN,
        Code::NotFound | Code::UnknownMethod => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Conflict => StatusCode::CONFLICT,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::OperationFailed | Code::Other(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// A JSON body, whatever its content type says; an empty one is `{}`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        let wrong = |error: &dyn std::error::Error| wrong("the request's body is wrong", error);
        let bytes = Bytes::from_request(request, state).await.map_err(|error| wrong(&error))?;
        let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| wrong(&error))
    }
}

/// Parameters in the query of a request.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let query = query.map_err(|error| wrong("the request's query is wrong", &error))?;
        Ok(Self(query.0))
    }
}

/// Parameters in the path of a request.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let path = path.map_err(|error| wrong("the request's path is wrong", &error))?;
        Ok(Self(path.0))
    }
}

fn wrong(what: &str, error: &dyn std::error::Error) -> Failed {
    Failed(Problem::new(Code::BadRequest, what).because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes with their status as `docs/api.md` has them.
    fn documented() -> Vec<(String, u16)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
        let text = fs_err::read_to_string(path).unwrap();
        let (_, section) = text.split_once("\n## Errors and versions\n").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let cells: Vec<_> = row.split(" | ").collect();
            let [code, status, meaning] = cells.as_slice() else { panic!("{row}") };
            assert!(meaning.len() > 10, "{row}");
            (code.trim_end_matches('`').to_owned(), status.parse().unwrap())
        })
        .collect()
    }

    #[test]
    fn docs_have_every_code_with_its_status() {
        let said = Code::KNOWN.map(|code| (code.as_str().to_owned(), status_of(&code).as_u16()));
        assert_eq!(documented(), said);
    }
}
