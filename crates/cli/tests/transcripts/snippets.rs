//! Blocks in the documents that are not of a terminal are of the language that they are said to be of.

use std::process::Command;

use banger_daemon::config::parse_config;

use crate::examples::documents;

/// A block between fences.
struct Block {
    language: String,
    /// Number of the line that begins it.
    line: usize,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for (number, line) in document.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let (language, line) = (language.to_owned(), number + 1);
                open = Some(Block { language, line, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    blocks.extend(open);
    blocks
}

/// What is wrong with a block.
fn check(block: &Block) -> Result<(), String> {
    match block.language.as_str() {
        // Lines at a prompt are looked at as command lines, elsewhere.
        "console" => block.text.contains("$ ").then_some(()).ok_or("nothing is typed".to_owned()),
        // What is shown, and pictures.
        "text" | "" => Ok(()),
        "sh" => {
            let parsed = Command::new("bash").args(["-nc", &block.text]).output().unwrap();
            let said = String::from_utf8_lossy(&parsed.stderr).into_owned();
            parsed.status.success().then_some(()).ok_or(said)
        }
        "toml" => match parse_config(&block.text, "config.toml".as_ref()) {
            Ok((_, unknown)) if unknown.is_empty() => Ok(()),
            Ok((_, unknown)) => Err(unknown.join("\n")),
            Err(error) => Err(error.to_string()),
        },
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "ini" => {
            let fits = |line: &str| {
                let section = line.starts_with('[') && line.ends_with(']');
                line.is_empty() || line.starts_with('#') || section || line.contains('=')
            };
            block.text.lines().find(|line| !fits(line)).map_or(Ok(()), |line| Err(line.to_owned()))
        }
        other => Err(format!("nobody knows whether it is `{other}`")),
    }
}

#[test]
fn snippets_of_the_documents_are_of_their_language() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for document in documents() {
        for block in blocks(&std::fs::read_to_string(&document).unwrap()) {
            seen += usize::from(!["text", "", "console"].contains(&block.language.as_str()));
            let place = format!("{}:{}", document.display(), block.line);
            wrong.extend(check(&block).err().map(|why| format!("{place}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 10, "only {seen} snippets were found");
}

#[test]
fn what_is_of_no_language_is_found() {
    for (language, text) in [
        ("sh", "if true; then"),
        ("toml", "[vm_defaults]\nvcpus = 4"),
        ("toml", "accel = 3"),
        ("json", "{\"name\": }"),
        ("ini", "[main]\nnonsense"),
        ("console", "banger vm list"),
        ("cobol", ""),
    ] {
        let block = blocks(&format!("```{language}\n{text}\n```\n")).pop().unwrap();
        assert!(check(&block).is_err(), "{language}: {text}");
    }
}
