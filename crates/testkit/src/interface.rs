//! The description of the daemon's interface, by which requests and answers are held.

use serde_json::{Map, Value, json};

/// Suffix of a schema whose fields may stand among others.
const PART: &str = ".part";

/// The description, made strict: a field that it does not have is wrong.
///
/// A client has to take fields that it does not know (`docs/api.md`, "Versions"), so the description
/// itself allows them; a test that let them pass would not see that one is missing in it.
#[derive(Debug)]
pub struct Interface(Value);

impl Interface {
    /// Of a description in OpenAPI.
    ///
    /// # Panics
    /// When it has no schemas.
    #[must_use]
    pub fn of(mut description: Value) -> Self {
        let schemas = description["components"]["schemas"].take();
        let mut strict = Map::new();
        for (name, schema) in schemas.as_object().expect("schemas") {
            strict.insert(name.clone(), tighten(schema, Among::None));
            strict.insert(format!("{name}{PART}"), tighten(schema, Among::Others));
        }
        description["components"]["schemas"] = strict.into();
        Self(description)
    }

    /// Every call, as `METHOD PATH`, with what is said of it.
    #[must_use]
    pub fn calls(&self) -> Vec<(String, &Value)> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        let calls = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, call)| (format!("{} {path}", method.to_uppercase()), call))
        });
        calls.collect()
    }

    /// What `value` is, or what it refers to.
    ///
    /// # Panics
    /// When that is not there.
    #[must_use]
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                self.0.pointer(pointer).unwrap_or_else(|| panic!("no `{reference}`"))
            }
            None => value,
        }
    }

    /// Whether `body` is what `content`, a media type of the description, says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, content: &Value, body: &Value) -> Result<(), String> {
        let schema = match content["schema"]["$ref"].as_str() {
            Some(reference) => json!({ "$ref": reference }),
            None => tighten(&content["schema"], Among::None),
        };
        let mut schema = if schema.is_null() { json!({}) } else { schema };
        schema["components"] = json!({ "schemas": self.0["components"]["schemas"] });
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        validator
            .validate(body)
            .map_err(|error| format!("{error} at `{}` in {body}", error.instance_path()))
    }

    /// Whether the call `method path`, which may have a query, is answered like this. The call as the
    /// description has it.
    ///
    /// # Errors
    /// What is wrong with it, a status or a type that nobody wrote down included.
    pub fn check_answer(
        &self,
        method: &str,
        path: &str,
        status: u16,
        kind: &str,
        body: &[u8],
    ) -> Result<String, String> {
        let path = path.split('?').next().unwrap_or(path);
        let (call, described) = self
            .calls()
            .into_iter()
            .filter(|(call, _)| is_call(call, method, path))
            .min_by_key(|(call, _)| call.matches('{').count())
            .ok_or(format!("there is no `{method} {path}`"))?;
        let wrong = |what: String| format!("`{call}`, {status}: {what}");
        let answer = &described["responses"][status.to_string()];
        if answer.is_null() {
            return Err(wrong(format!("not described: {}", String::from_utf8_lossy(body))));
        }
        let contents = &self.resolve(answer)["content"];
        let content = &contents[kind.split(';').next().unwrap_or(kind)];
        if contents.is_null() && body.is_empty() {
            return Ok(call);
        }
        if content.is_null() {
            return Err(wrong(format!("`{kind}` is not described")));
        }
        let parse = |bytes: &[u8]| -> Result<Value, String> {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        };
        let checked = match kind {
            "application/json" => parse(body).and_then(|body| self.check(content, &body)),
            "application/x-ndjson" => body
                .split_inclusive(|byte| *byte == b'\n')
                .try_for_each(|line| self.check(content, &parse(line)?)),
            _ => Ok(()),
        };
        checked.map_err(wrong)?;
        Ok(call)
    }
}

/// Whether the fields that a schema has are all that there are.
#[derive(Clone, Copy, PartialEq)]
enum Among {
    None,
    Others,
}

/// `schema`, which takes no field that it does not have.
fn tighten(schema: &Value, among: Among) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let several = |schemas: &Value, among| -> Value {
        schemas.as_array().into_iter().flatten().map(|schema| tighten(schema, among)).collect()
    };
    let mut tight = Map::new();
    for (name, value) in fields {
        let value = match name.as_str() {
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), tighten(schema, Among::None)))
                .collect(),
            "items" | "additionalProperties" => tighten(value, Among::None),
            "allOf" => several(value, Among::Others),
            "oneOf" | "anyOf" => several(value, among),
            "$ref" if among == Among::Others => {
                format!("{}{PART}", value.as_str().unwrap_or_default()).into()
            }
            _ => value.clone(),
        };
        tight.insert(name.clone(), value);
    }
    let has_fields = tight.contains_key("properties") || tight.contains_key("allOf");
    if has_fields && among == Among::None && !tight.contains_key("additionalProperties") {
        tight.insert("unevaluatedProperties".to_owned(), false.into());
    }
    if among == Among::Others && tight.get("additionalProperties") == Some(&false.into()) {
        tight.remove("additionalProperties");
    }
    tight.into()
}

fn is_call(call: &str, method: &str, path: &str) -> bool {
    let Some((own_method, own_path)) = call.split_once(' ') else { return false };
    own_method == method
        && own_path.split('/').count() == path.split('/').count()
        && own_path
            .split('/')
            .zip(path.split('/'))
            .all(|(own, given)| own == given || (own.starts_with('{') && !given.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> Interface {
        let answer = |schema: &str| {
            let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
            json!({ "content": { "application/json": { "schema": schema } } })
        };
        Interface::of(json!({
            "paths": { "/v1/a/{b}": { "get": { "responses": {
                "200": answer("Whole"), "404": { "$ref": "#/components/responses/None" },
            } } } },
            "components": {
                "responses": { "None": answer("Part") },
                "schemas": {
                    "Part": { "type": "object", "properties": { "a": { "type": "string" } } },
                    "Whole": { "allOf": [
                        { "$ref": "#/components/schemas/Part" },
                        { "type": "object", "required": ["b"],
                          "properties": { "b": { "$ref": "#/components/schemas/Part" } } },
                    ] },
                },
            },
        }))
    }

    #[test]
    fn what_is_not_described_is_wrong() {
        let interface = interface();
        let check = |status, body: &str| {
            interface.check_answer("GET", "/v1/a/x?y", status, "application/json", body.as_bytes())
        };
        assert_eq!(check(200, r#"{"a":"x","b":{"a":"y"}}"#).as_deref(), Ok("GET /v1/a/{b}"));
        assert_eq!(check(404, r#"{"a":"x"}"#).as_deref(), Ok("GET /v1/a/{b}"));
        for (status, body) in [
            (200, r#"{"a":"x"}"#),
            (200, r#"{"b":{},"c":1}"#),
            (200, r#"{"b":{"c":1}}"#),
            (404, r#"{"b":{}}"#),
            (409, "{}"),
            (200, "no JSON"),
        ] {
            assert!(check(status, body).is_err(), "{status} {body}");
        }
        assert!(interface.check_answer("POST", "/v1/a/x", 200, "", b"").is_err());
        assert!(interface.check_answer("GET", "/v1/a/x", 200, "text/plain", b"x").is_err());
    }
}
