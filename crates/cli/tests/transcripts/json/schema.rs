//! The types of the interface as its description has them (OpenAPI 3.1, JSON Schema).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::documents::checkout;

/// All types by name.
#[derive(Debug)]
pub(super) struct Schemas(Map<String, Value>);

impl Schemas {
    /// Reads `docs/api/openapi.json`, which another test holds to be what the daemon says.
    pub(super) fn load() -> Self {
        let text = std::fs::read_to_string(checkout().join("docs/api/openapi.json")).unwrap();
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        let Value::Object(schemas) = whole["components"]["schemas"].take() else { panic!() };
        Self(schemas)
    }

    /// The type called `name`.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("no type `{name}`"))
    }

    /// The fields of `value`, with those below them, that the type `name` does not have.
    pub(super) fn undocumented(&self, value: &Value, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.compare(value, &[self.get(name)], "", &mut found);
        found
    }

    fn compare(&self, value: &Value, schemas: &[&Value], place: &str, found: &mut Vec<String>) {
        match value {
            Value::Array(values) => {
                let items = self.flat(schemas).into_iter().filter_map(|schema| schema.get("items"));
                let items: Vec<_> = items.collect();
                for value in values {
                    self.compare(value, &items, place, found);
                }
            }
            Value::Object(members) => {
                let known = self.fields(schemas);
                let schemas = self.flat(schemas);
                let any = schemas.iter().filter_map(|schema| schema.get("additionalProperties"));
                let any: Vec<_> = any.collect();
                for (name, value) in members {
                    let place =
                        if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    match known.get(name.as_str()) {
                        Some(of_it) => self.compare(value, of_it, &place, found),
                        None if any.is_empty() => found.push(place),
                        None => self.compare(value, &any, &place, found),
                    }
                }
            }
            _ => {}
        }
    }

    /// The fields that these types have in any of their forms, with what each may be.
    pub(super) fn fields<'s>(&'s self, schemas: &[&'s Value]) -> BTreeMap<&'s str, Vec<&'s Value>> {
        let mut fields: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for schema in self.flat(schemas) {
            for (name, field) in
                schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                fields.entry(name).or_default().push(field);
            }
        }
        fields
    }

    /// The types that these consist of: without references, alternatives and parts.
    pub(super) fn flat<'s>(&'s self, schemas: &[&'s Value]) -> Vec<&'s Value> {
        let mut found = Vec::new();
        for schema in schemas {
            if let Some(name) = reference(schema) {
                found.extend(self.flat(&[self.get(name)]));
                continue;
            }
            let parts =
                ["oneOf", "allOf", "anyOf"].iter().filter_map(|of| schema.get(of)?.as_array());
            let parts: Vec<&Value> = parts.flatten().collect();
            match parts.is_empty() {
                true => found.push(*schema),
                false => found.extend(self.flat(&parts)),
            }
        }
        found
    }
}

/// The name of the type that `schema` refers to.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}
