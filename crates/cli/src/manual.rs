//! The manual: a page for each command that is shown, rendered from the grammar.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A page of the manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Name of its file (`banger-vm-run.1`).
    pub(crate) file: String,
    /// Its text, roff with the macros of man(7).
    pub(crate) text: Vec<u8>,
}

/// The pages of `grammar` and of all commands in it that are not hidden.
///
/// # Errors
/// When the renderer fails, which writes into memory.
pub(crate) fn render_pages(grammar: Command) -> io::Result<Vec<Page>> {
    let mut grammar = grammar.disable_help_subcommand(true);
    grammar.build();
    let mut pages = Vec::new();
    add_pages(&grammar, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(render_page(command)?);
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        add_pages(child, pages)?;
    }
    Ok(())
}

fn render_page(command: &Command) -> io::Result<Page> {
    let source = concat!("banger ", env!("CARGO_PKG_VERSION"));
    // A blank for a date, which would be that of the build: an empty word is left out, and what is behind
    // it would take its place.
    let man = Man::new(command.clone()).date(" ").source(source).manual("banger");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    render_synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    // Every command has `--help` at least.
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|child| !child.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = command.get_after_help() {
        render_examples(&examples.to_string()).to_writer(&mut text)?;
    }
    Ok(Page { file: man.get_filename(), text: begin_once(&text) })
}

/// The same with the definitions that begin a page where it begins only: every section has them.
fn begin_once(text: &[u8]) -> Vec<u8> {
    let beginning = Roff::new().render();
    let text = String::from_utf8_lossy(text).replace(&beginning, "");
    format!("{beginning}{text}").into_bytes()
}

/// The usage as the help has it: it knows what comes after `--`.
fn render_synopsis(command: &Command) -> Roff {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let mut section = Roff::new();
    section.control("SH", ["SYNOPSIS"]);
    for form in usage.lines().map(str::trim) {
        let rest = form.strip_prefix(name).unwrap_or_default();
        section.text([bold(name), roman(rest)]).control("br", []);
    }
    section
}

/// Examples keep their lines: what stands under each other is to be read so.
fn render_examples(text: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in text.lines().filter(|line| !matches!(*line, "Example:" | "Examples:")) {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}
