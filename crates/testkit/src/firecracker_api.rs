//! Firecracker's published description of its API, by which requests are held.

use std::path::Path;

use serde_json::{Value, json};

/// The description beside the project's directory.
const DESCRIPTION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/firecracker-api.yaml");

/// The description of each request's body.
#[derive(Debug)]
pub struct FirecrackerApi(Value);

impl FirecrackerApi {
    /// Reads the description; none where there is none, which is said.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn load() -> Option<Self> {
        if !Path::new(DESCRIPTION).exists() {
            eprintln!("skipped: Firecracker's requests, as their description is not there");
            return None;
        }
        let text = fs_err::read_to_string(DESCRIPTION).expect("the description");
        let mut description: Value = serde_saphyr::from_str(&text).expect("a description in YAML");
        let definitions = description["definitions"].as_object_mut().expect("definitions");
        for definition in definitions.values_mut() {
            // Firecracker refuses what it does not know, which its description does not say.
            if definition.get("properties").is_some() {
                definition["additionalProperties"] = false.into();
            }
        }
        Some(Self(description))
    }

    /// Whether this is a request that Firecracker understands.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_request(&self, method: &str, path: &str, body: &Value) -> Result<(), String> {
        let paths = self.0["paths"].as_object().expect("paths");
        let (_, requests) = paths
            .iter()
            .find(|(template, _)| is_path_of(template, path))
            .ok_or(format!("there is no `{path}`"))?;
        let request = requests
            .get(method.to_lowercase())
            .ok_or(format!("there is no `{method}` for `{path}`"))?;
        let parameters = request["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let schema = parameters.iter().find(|parameter| parameter["in"] == "body");
        match (schema, body) {
            (None, Value::Null) => Ok(()),
            (None, _) => Err(format!("`{method} {path}` has no body")),
            (Some(parameter), body) => self.check(&parameter["schema"], body),
        }
    }

    /// Whether this is a configuration that Firecracker boots from: each part is the body of the
    /// request that would make it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_config(&self, config: &Value) -> Result<(), String> {
        for (part, value) in config.as_object().ok_or("it is no object")? {
            let path = format!("/{part}");
            match value {
                Value::Array(several) => several
                    .iter()
                    .try_for_each(|value| self.check_request("PUT", &format!("{path}/any"), value)),
                value => self.check_request("PUT", &path, value),
            }
            .map_err(|error| format!("`{part}`: {error}"))?;
        }
        Ok(())
    }

    fn check(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let mut schema = schema.clone();
        schema["definitions"] = self.0["definitions"].clone();
        if let Some(reference) = schema.as_object_mut().and_then(|schema| schema.remove("$ref")) {
            schema["allOf"] = json!([{ "$ref": reference }]);
        }
        let validator = jsonschema::draft4::new(&schema).expect("a schema");
        validator.validate(body).map_err(|error| format!("{error} at `{}`", error.instance_path()))
    }
}

fn is_path_of(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(part, actual)| part == actual || part.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_described_is_refused() {
        let Some(api) = FirecrackerApi::load() else { return };
        let check = |method, path, body| api.check_request(method, path, &body);
        check("GET", "/", Value::Null).unwrap();
        check("PUT", "/actions", json!({ "action_type": "SendCtrlAltDel" })).unwrap();
        check("PATCH", "/drives/a", json!({ "drive_id": "a", "path_on_host": "/a" })).unwrap();
        check("PUT", "/actions", json!({ "action_type": "Explode" })).unwrap_err();
        check("PUT", "/actions", json!({})).unwrap_err();
        check("PATCH", "/drives/a", json!({ "drive_id": "a", "bytes": 1 })).unwrap_err();
        check("PUT", "/drive/a", json!({})).unwrap_err();
        check("DELETE", "/actions", Value::Null).unwrap_err();
        api.check_config(&json!({ "machine-config": { "vcpu_count": 1, "mem_size_mib": 1 } }))
            .unwrap();
        api.check_config(&json!({ "machine-config": { "vcpu_count": 0, "mem_size_mib": 1 } }))
            .unwrap_err();
        api.check_config(&json!({ "drives": [{ "is_root_device": true }] })).unwrap_err();
        api.check_config(&json!({ "sound-card": {} })).unwrap_err();
    }
}
