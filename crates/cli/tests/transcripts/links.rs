//! Every link within the documents leads to something: a file that is there, and a heading of it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::examples::documents;

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for (number, target) in links_of(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let found = follow(&document, &text, &target);
            let place = format!("{}:{number}", document.display());
            wrong.extend(found.err().map(|why| format!("{place}: `{target}`: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(links > 60, "only {links} links were found");
}

#[test]
fn links_and_headings_are_found() {
    let text =
        "# A `b`, *c*\n[x](a.md#b) `[no](y)`\n```\n# no\n[no](z)\n```\n## A b c\n[y](#c)[z](d)\n";
    let links = [(2, "a.md#b".to_owned()), (8, "#c".to_owned()), (8, "d".to_owned())];
    assert_eq!(links_of(text), links);
    let anchors: Vec<_> = anchors_of(text).into_iter().collect();
    assert_eq!(anchors, ["a-b-c", "a-b-c-1"]);
    assert!(follow(Path::new("none/x.md"), text, "#a-b-c").is_ok());
    assert!(follow(Path::new("none/x.md"), text, "#nowhere").is_err());
    assert!(follow(Path::new("none/x.md"), text, "y.md").is_err());
}

/// Whether `target` is there, for a link in `document`, which has `text`.
fn follow(document: &Path, text: &str, target: &str) -> Result<(), String> {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let other;
    let text = if path.is_empty() {
        text
    } else {
        let file = document.parent().expect("a directory").join(path);
        if !file.exists() {
            return Err("there is no such file".to_owned());
        }
        if anchor.is_none() {
            return Ok(());
        }
        other = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        &other
    };
    match anchor {
        Some(anchor) if !anchors_of(text).contains(anchor) => {
            Err("there is no such heading".to_owned())
        }
        _ => Ok(()),
    }
}

/// The lines that are no code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number + 1, line))
    })
}

/// Where links lead, with the numbers of their lines.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // What stands between backticks is code: every other part. A link's own text may be code, too,
        // but its target never is.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = plain.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.extend(targets.map(|target| (number, target.to_owned())));
    }
    links
}

/// The headings as GitHub names them in addresses: small letters, blanks as `-`, no punctuation, and a
/// number where one comes again.
fn anchors_of(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let name = name.replace(' ', "-");
        let mut anchor = name.clone();
        for again in 1.. {
            if anchors.insert(anchor.clone()) {
                break;
            }
            anchor = format!("{name}-{again}");
        }
    }
    anchors
}
