//! `docs/json.md`: a table for every command, and one for every type that it has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema::{Schemas, reference};
use super::{COMMANDS, Shape};

const HEAD: &str = "\
<!-- Generated; to change it: UPDATE_DOCS=1 cargo test -p banger-cli --test transcripts docs_json -->
# What commands print as JSON

With `--json` a command prints one JSON value to standard output, and nothing else there. The names of
fields are stable: new ones may come, and those that are here stay. Sizes are bytes, times are RFC 3339 in
UTC. A field that is optional is absent or null when it has nothing to say. Words that guests and images
choose are in it exactly as they are, escaped where a terminal could act on them.

What went wrong goes to standard error as text; the [exit code](exit-codes.md) tells that it did.

```console
$ banger ls --json | jq -r '.vms[] | select(.state == \"running\") | .name'
$ banger vm show --json web | jq .address
```

Types that several commands have in common are [below](#types). They are those of the
[interface](api.md), and so are their names.

";

/// What is said of a field that may be absent or null.
const OPTIONAL: &str = ", optional";

const LOG: &str = "\
The lines of JSON that the daemon's log consists of, one value a line: `timestamp`, `level`, `message`
and `target`, and the fields of what is logged. Those are for people and may change.
";

const DONE: &str = "\
The VMs for which it went well, in the order in which they were named; copies in that of their numbers.

| field | type | meaning |
|---|---|---|
| `vms` | list of [VmView](#vmview) | The VMs, as they are afterwards; those that are deleted as they were. |
";

/// The whole page.
pub(super) fn render(schemas: &Schemas) -> String {
    let mut page = HEAD.to_owned();
    let mut pending = Vec::new();
    for alike in COMMANDS.chunk_by(|one, next| one.shape == next.shape) {
        let words: Vec<_> = alike.iter().map(|one| format!("`banger {}`", one.words)).collect();
        page.push_str(&format!("## {}\n\n", words.join(", ")));
        match alike[0].shape {
            Shape::Done => {
                pending.push("VmView".to_owned());
                page.push_str(DONE);
            }
            Shape::Api(name) => {
                page.push_str(&render_type(schemas, name, &mut pending));
            }
            Shape::ListOf(name) => {
                page.push_str(&format!("A list of [{name}](#{}).\n", name.to_lowercase()));
                pending.push(name.to_owned());
            }
            Shape::Own(fields) => {
                page.push_str(TABLE);
                for (name, kind, meaning) in fields {
                    page.push_str(&format!("| `{name}` | {kind} | {meaning} |\n"));
                }
            }
            Shape::Log => page.push_str(LOG),
        }
        page.push('\n');
    }
    page.push_str("## Types\n");
    let mut done = BTreeSet::new();
    let mut texts = std::collections::BTreeMap::new();
    while let Some(name) = pending.pop() {
        if done.insert(name.clone()) {
            texts.insert(name.clone(), render_type(schemas, &name, &mut pending));
        }
    }
    for (name, text) in texts {
        page.push_str(&format!("\n### {name}\n\n{text}"));
    }
    page
}

const TABLE: &str = "| field | type | meaning |\n|---|---|---|\n";

/// A type: what it is, and a table of its fields or of what it can be. Types that it refers to go
/// to `pending`.
fn render_type(schemas: &Schemas, name: &str, pending: &mut Vec<String>) -> String {
    let schema = schemas.get(name);
    let mut text = format!("{}\n\n", describe(schema));
    let values = render_values(schemas, schema);
    if values.iter().any(|(_, meaning)| !meaning.is_empty()) {
        text.push_str("| value | meaning |\n|---|---|\n");
        for (word, meaning) in &values {
            text.push_str(&format!("| `{word}` | {meaning} |\n"));
        }
    } else if !values.is_empty() {
        let words: Vec<_> = values.iter().map(|(word, _)| format!("`{word}`")).collect();
        text.push_str(&format!("One of {}.\n", words.join(", ")));
    }
    let fields = schemas.fields(&[schema]);
    if !fields.is_empty() {
        if !values.is_empty() {
            text.push_str("\nOr an object with one of:\n\n");
        }
        text.push_str(TABLE);
    }
    let forms = schemas.flat(&[schema]);
    for (field, kinds) in fields {
        // Required by every form that has it, and every form has it.
        let required = |form: &&Value| {
            let names = form.get("required").and_then(Value::as_array);
            names.into_iter().flatten().any(|name| name == field)
        };
        let is_part = schema.get("allOf").is_some();
        let always = match is_part {
            true => forms.iter().any(required),
            false => forms.iter().all(required),
        };
        let Some(first) = kinds.first() else { continue };
        let mut kind = render_kind(schemas, first, pending);
        if let Some(alternatives) = render_words(&kinds) {
            kind = alternatives;
        }
        if !always || kind.ends_with(OPTIONAL) {
            kind = format!("{}{OPTIONAL}", kind.trim_end_matches(OPTIONAL));
        }
        let meaning = kinds.iter().map(|kind| describe(kind)).find(|text| !text.is_empty());
        let meaning = meaning.unwrap_or_else(|| match render_words(&kinds) {
            Some(_) => "Which of its forms it has.".to_owned(),
            None => String::new(),
        });
        text.push_str(&format!("| `{field}` | {kind} | {meaning} |\n"));
    }
    text
}

/// The words that a field is one of, over all forms of its type.
fn render_words(kinds: &[&Value]) -> Option<String> {
    let mut words = Vec::new();
    for kind in kinds {
        for word in kind.get("enum")?.as_array()? {
            words.push(format!("`{}`", word.as_str()?));
        }
    }
    Some(words.join(", "))
}

/// The words that a type can be, with the meaning of each as far as that is told.
fn render_values<'s>(schemas: &'s Schemas, schema: &'s Value) -> Vec<(&'s str, String)> {
    let mut values = Vec::new();
    for form in schemas.flat(&[schema]) {
        let words = form.get("enum").and_then(Value::as_array).into_iter().flatten();
        let words: Vec<_> = words.filter_map(Value::as_str).collect();
        // What several words have in common is said of the type.
        let meaning = if words.len() == 1 { describe(form) } else { String::new() };
        values.extend(words.into_iter().map(|word| (word, meaning.clone())));
    }
    values
}

/// What a field is, with a link to its type where that has a table.
fn render_kind(schemas: &Schemas, schema: &Value, pending: &mut Vec<String>) -> String {
    if let Some(name) = reference(schema) {
        let target = schemas.get(name);
        let plain =
            target.get("enum").is_none() && target.get("type").is_some_and(|kind| kind != "object");
        if plain {
            return render_kind(schemas, target, pending);
        }
        pending.push(name.to_owned());
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(forms) = schema.get("oneOf").and_then(Value::as_array) {
        let (nulls, forms): (Vec<_>, Vec<_>) =
            forms.iter().partition(|form| form["type"] == "null");
        let kinds: Vec<_> = forms.iter().map(|form| render_kind(schemas, form, pending)).collect();
        let null = if nulls.is_empty() { "" } else { OPTIONAL };
        return kinds.join(" or ") + null;
    }
    let kind = &schema["type"];
    let names: Vec<&str> = match kind {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let kind = match names.first().copied() {
        Some("string") => "text".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", render_kind(schemas, &schema["items"], pending)),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) => format!("{} by name", render_kind(schemas, values, pending)),
            None => "object".to_owned(),
        },
        _ => "anything".to_owned(),
    };
    if names.contains(&"null") { kind + OPTIONAL } else { kind }
}

/// What a schema says it is: its first paragraph, in the words of a page.
fn describe(schema: &Value) -> String {
    let own = schema.get("description").and_then(Value::as_str);
    let forms = schema.get("oneOf").and_then(Value::as_array).filter(|_| own.is_none());
    let inner = forms.into_iter().flatten().find_map(|form| form.get("description")?.as_str());
    let text = own.or(inner).unwrap_or_default();
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    unlink(&text)
}

/// Takes away links to what only the source has: [`x`] and [x](Y).
fn unlink(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, (label, after))) =
        rest.split_once('[').and_then(|(before, after)| Some((before, after.split_once(']')?)))
    {
        let is_link = label.starts_with('`') || after.starts_with('(');
        plain.push_str(before);
        if is_link {
            plain.push_str(label);
            let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
            rest = target.map_or(after, |(_, after)| after);
        } else {
            plain.push_str(&format!("[{label}]"));
            rest = after;
        }
    }
    plain + rest
}
