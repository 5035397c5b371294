//! The calls of the daemon's interface, as its description tells them: what has to be known of one
//! before it is made, and what a shell offers of their paths.

use std::collections::BTreeSet;

use serde_json::Value;

/// What every path begins with.
pub(crate) const PREFIX: &str = "/v1";

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// In capitals.
    method: String,
    /// With parameters as `{name}`.
    path: String,
    /// What its body is.
    pub(crate) takes: Takes,
    /// Whether the connection is no HTTP any more after its answer.
    pub(crate) upgrades: bool,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Json,
    Bytes,
}

/// The calls that `description`, an OpenAPI document, has.
pub(crate) fn parse_description(description: &Value) -> Vec<Operation> {
    let entries = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut operations = Vec::new();
    for (path, methods) in entries(&description["paths"]) {
        for (method, operation) in entries(&methods) {
            let body = &operation["requestBody"]["content"];
            let takes = match body {
                Value::Null => Takes::Nothing,
                body if body["application/json"].is_object() => Takes::Json,
                _ => Takes::Bytes,
            };
            operations.push(Operation {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                takes,
                upgrades: operation["responses"]["101"].is_object(),
            });
        }
    }
    operations
}

/// The call that `method` (in capitals) on `path` (without its query) is; none where the description
/// has no such call.
pub(crate) fn find<'a>(
    operations: &'a [Operation],
    method: &str,
    path: &str,
) -> Option<&'a Operation> {
    let parameters = |operation: &&Operation| operation.path.matches('{').count();
    let fits = |operation: &&Operation| {
        operation.method == method
            && operation.path.split('/').count() == path.split('/').count()
            && operation.path.split('/').zip(path.split('/')).all(|(own, given)| fits(own, given))
    };
    // What is said literally comes before what is a name of anything.
    operations.iter().filter(fits).min_by_key(parameters)
}

/// What can follow on `typed`: paths up to where a name has to be given, for whose place `name` has
/// suggestions by the parameter's name.
pub(crate) fn complete(
    operations: &[Operation],
    typed: &str,
    name: impl Fn(&str) -> Vec<String>,
) -> BTreeSet<String> {
    // Without a leading slash, or with: as the user began.
    let short = !typed.starts_with('/');
    let full = if short { format!("{PREFIX}/{typed}") } else { typed.to_owned() };
    let (given, begun) = full.rsplit_once('/').unwrap_or(("", &full));
    let given: Vec<&str> = given.split('/').collect();
    let mut found = BTreeSet::new();
    for operation in operations {
        let own: Vec<&str> = operation.path.split('/').collect();
        let Some((before, rest)) = own.split_at_checked(given.len()) else { continue };
        let Some((next, after)) = rest.split_first() else { continue };
        if !before.iter().zip(&given).all(|(own, given)| fits(own, given)) {
            continue;
        }
        let mut heads = vec![(*next).to_owned()];
        if let Some(parameter) = parameter(next) {
            heads = name(parameter);
        }
        for head in heads.iter().filter(|head| head.starts_with(begun)) {
            let mut path = [given.as_slice(), &[head]].concat();
            path.extend(after.iter().take_while(|segment| parameter(segment).is_none()));
            let end = if path.len() < own.len() { "/" } else { "" };
            let path = path.join("/") + end;
            let short_path = path.strip_prefix("/v1/").filter(|_| short);
            found.insert(short_path.unwrap_or(&path).to_owned());
        }
    }
    found
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn fits(own: &str, given: &str) -> bool {
    if parameter(own).is_some() { !given.is_empty() } else { own == given }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operations() -> Vec<Operation> {
        parse_description(&json!({"paths": {
            "/v1/vms": {"get": {}, "post": {"requestBody": {"content": {"application/json": {}}}}},
            "/v1/vms/{vm}": {"get": {}},
            "/v1/vms/{vm}/exec": {"post": {"responses": {"101": {}}}},
            "/v1/vms/{vm}/jobs/{job}/kill": {"post": {}},
            "/v1/images/upload": {"post": {"requestBody": {"content": {"application/x-tar": {}}}}},
            "/v1/images/{image}": {"post": {}},
        }}))
    }

    #[test]
    fn a_call_is_found_by_method_and_path() {
        let operations = operations();
        let takes = |method, path| find(&operations, method, path).map(|found| found.takes);
        assert_eq!(takes("GET", "/v1/vms"), Some(Takes::Nothing));
        assert_eq!(takes("POST", "/v1/vms"), Some(Takes::Json));
        assert_eq!(takes("POST", "/v1/images/upload"), Some(Takes::Bytes));
        assert_eq!(takes("POST", "/v1/images/other"), Some(Takes::Nothing));
        assert_eq!(takes("GET", "/v1/vms/"), None);
        assert_eq!(takes("PUT", "/v1/vms"), None);
        assert!(find(&operations, "POST", "/v1/vms/a/exec").is_some_and(|found| found.upgrades));
        assert!(find(&operations, "GET", "/v1/vms/a").is_some_and(|found| !found.upgrades));
    }

    #[test]
    fn paths_are_offered_up_to_the_next_name() {
        let operations = operations();
        let offered = |typed: &str| {
            let names = |parameter: &str| match parameter {
                "vm" => vec!["web".to_owned()],
                _ => Vec::new(),
            };
            complete(&operations, typed, names).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(offered(""), "images/ images/upload vms vms/");
        assert_eq!(offered("/v1/v"), "/v1/vms /v1/vms/");
        assert_eq!(offered("vms/"), "vms/web vms/web/exec vms/web/jobs/");
        assert_eq!(offered("vms/db/e"), "vms/db/exec");
        assert_eq!(offered("vms/db/jobs/0a/"), "vms/db/jobs/0a/kill");
        assert_eq!(offered("nothing/"), "");
    }
}
