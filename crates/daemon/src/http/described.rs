//! What the description says beyond what stands at each call: what any request may be answered, and
//! examples.
//!
//! The examples are in `examples.json`: `examples` by the name of what they are one of, and under
//! `calls` which of them a successful answer has, where that is not the one of its type. An object
//! `{"$example": NAME}` stands for another one. `tests/description.rs` holds them to the types.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::content::Content;
use utoipa::openapi::example::Example;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema};

const EXAMPLES: &str = include_str!("examples.json");

/// Problems that calls answer with: status, the name of the answer, the example, and when.
const PROBLEMS: [(&str, &str, &str, &str); 7] = [
    ("400", "BadRequest", "Problem.bad_request", "the request is wrong in itself"),
    ("403", "Unauthorized", "Problem.unauthorized", "the socket belongs to another user"),
    ("404", "NotFound", "Problem.not_found", "there is no such thing, or no such call"),
    ("409", "Conflict", "Problem.conflict", "its state does not allow it, or a name is taken"),
    ("426", "BadVersion", "Problem.bad_version", "client and daemon speak different versions"),
    ("500", "Failed", "Problem.operation_failed", "the request was right, the work failed"),
    ("504", "Timeout", "Problem.timeout", "a bounded wait ended"),
];

/// What any request may be answered.
const ALWAYS: [&str; 3] = ["403", "426", "500"];

#[derive(Deserialize)]
struct Given {
    examples: BTreeMap<String, Value>,
    calls: BTreeMap<String, Vec<String>>,
}

/// Completes `description`. Examples that cannot be read leave it without any, which a test sees.
pub(super) fn complete(description: &mut OpenApi) {
    let given = serde_json::from_str(EXAMPLES)
        .unwrap_or_else(|_| Given { examples: BTreeMap::new(), calls: BTreeMap::new() });
    for (path, item) in &mut description.paths.paths {
        for (method, operation) in operations(item) {
            let call = format!("{method} {path}");
            complete_parameters(operation);
            complete_problems(operation);
            complete_contents(operation, &given, given.calls.get(&call));
        }
    }
    let components = description.components.get_or_insert_default();
    for (name, value) in &given.examples {
        let example = Example::builder().value(Some(splice(value, &given.examples)));
        components.examples.insert(name.clone(), example.build().into());
    }
    for (_, name, example, text) in PROBLEMS {
        let mut content = Content::new(Some(Ref::from_schema_name("Problem")));
        content.examples.insert(short(example).to_owned(), reference("examples", example));
        let response = Response::builder().description(text).content("application/json", content);
        components.responses.insert(name.to_owned(), response.build().into());
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let methods =
        [("GET", get), ("PUT", put), ("POST", post), ("DELETE", delete), ("PATCH", patch)];
    methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A parameter of which nothing else is said is a text.
fn complete_parameters(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).build();
            parameter.schema.get_or_insert_with(|| RefOr::T(Schema::Object(text())));
        }
    }
}

/// Adds the problems that the call itself has no part in, and says which those are that it has.
fn complete_problems(operation: &mut Operation) {
    let parameters = || {
        operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
    };
    let is_in_path = |parameter: &ParameterIn| matches!(parameter, ParameterIn::Path);
    let has_name = parameters().any(|parameter| is_in_path(&parameter.parameter_in));
    let can_be_wrong = parameters().next().is_some() || operation.request_body.is_some();
    let responses = &mut operation.responses.responses;
    for (status, name, ..) in PROBLEMS {
        let wanted = ALWAYS.contains(&status)
            || (status == "400" && can_be_wrong)
            || (status == "404" && has_name)
            || responses.contains_key(status);
        if wanted {
            responses.insert(status.to_owned(), reference("responses", name));
        }
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            "it is done, or goes on".clone_into(&mut response.description);
        }
    }
}

/// Gives bodies their examples; `named` are those of the answer, where its type does not say it.
fn complete_contents(operation: &mut Operation, given: &Given, named: Option<&Vec<String>>) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for (kind, content) in &mut body.content {
            complete_content(kind, content, given, None);
        }
    }
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (kind, content) in &mut response.content {
            complete_content(kind, content, given, named);
        }
    }
}

fn complete_content(
    kind: &str,
    content: &mut RefOr<Content>,
    given: &Given,
    named: Option<&Vec<String>>,
) {
    let RefOr::T(content) = content else { return };
    let of_type = match &content.schema {
        Some(RefOr::Ref(schema)) => schema.ref_location.rsplit('/').next().map(str::to_owned),
        _ => None,
    };
    if !kind.ends_with("json") {
        // Bytes: no schema says anything about them (OpenAPI 3.1, Media Type Object).
        content.schema = None;
    }
    let of_type = of_type.filter(|name| given.examples.contains_key(name));
    let names = named.cloned().unwrap_or_else(|| of_type.into_iter().collect());
    for name in names {
        content.examples.insert(short(&name).to_owned(), reference("examples", &name));
    }
}

fn reference<T>(kind: &str, name: &str) -> RefOr<T> {
    RefOr::Ref(Ref::new(format!("#/components/{kind}/{name}")))
}

/// What is after the dot in the name of an example of several.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// `value` with the examples in it that it names.
fn splice(value: &Value, examples: &BTreeMap<String, Value>) -> Value {
    match value {
        Value::Object(fields) => match fields.get("$example").and_then(Value::as_str) {
            Some(name) => examples.get(name).map_or(Value::Null, |other| splice(other, examples)),
            None => {
                let spliced = fields.iter().map(|(name, value)| (name, splice(value, examples)));
                spliced.map(|(name, value)| (name.clone(), value)).collect()
            }
        },
        Value::Array(values) => values.iter().map(|value| splice(value, examples)).collect(),
        other => other.clone(),
    }
}
