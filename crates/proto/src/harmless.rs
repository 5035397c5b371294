//! Text of others made harmless for a terminal.
//!
//! Guests, images, registries and archives choose the words in tables, errors and logs, and a
//! terminal obeys some of them: it may be retitled, made to fill the clipboard, made to overwrite
//! or reorder what stands there. Everything that reaches a terminal passes here, at the moment it
//! is shown and not before: what is stored and what JSON carries stays exact.
//!
//! ```text
//!          ESC                 [
//!   text ───────▶ escape ───────────▶ sequence ──final character──▶ text
//!    │ CR            │ ] P X ^ _
//!    ▼               └──────────────▶ string ──BEL, ST, control──▶ text
//!   return ──LF──▶ text
//! ```
//!
//! Whole control sequences (ECMA-48 §5.4, §5.6) are left out, since kernels and init systems use
//! them for colour. None of them lasts beyond its line, so that nobody hides the next one. A
//! carriage return that ends no line begins one. Every other character that a terminal acts upon
//! becomes U+FFFD.

use std::borrow::Cow;

/// Text that does nothing to a terminal but fill it; lines and tabs stay.
#[must_use]
pub fn render_text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| acts_on_terminal(c) && !is_layout(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut state = State::Text;
    text.chars().for_each(|c| state.take(c, &mut shown));
    Cow::Owned(shown)
}

/// The same on one line.
#[must_use]
pub fn render_line(text: &str) -> String {
    render_text(text).replace(is_layout, " ")
}

/// JSON that means the same and does nothing to a terminal.
#[must_use]
pub fn render_json(json: String) -> String {
    if !json.chars().any(|c| acts_on_terminal(c) && !is_layout(c)) {
        return json;
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // Outside of its strings JSON has none of these, and in them it may be written so.
        if acts_on_terminal(c) && !is_layout(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Makes a stream of bytes harmless, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    /// The beginning of a character whose end has not come yet; at most three bytes.
    unfinished: Vec<u8>,
}

impl Filter {
    /// What is to be shown for the next piece.
    pub fn take(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.extend_from_slice(piece);
        let mut shown = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|c| self.state.take(c, &mut shown));
            let invalid = chunk.invalid();
            // At the end of the piece it may only be cut.
            if chunks.peek().is_none() && is_cut(invalid) {
                self.unfinished = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.state.take(char::REPLACEMENT_CHARACTER, &mut shown);
            }
        }
        shown
    }
}

/// Whether `bytes` begin a character that is longer.
fn is_cut(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

/// Where in a control sequence a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After a carriage return.
    Return,
    /// After `ESC`, and what stands between it and its final character.
    Escape,
    /// In a sequence of parameters.
    Sequence,
    /// In a string for the terminal: a title, a link, the clipboard.
    String,
}

impl State {
    /// Goes on with `c`, adding to `shown` what is to be seen of it.
    fn take(&mut self, c: char, shown: &mut String) {
        *self = match (*self, c) {
            (Self::Return, '\r') => Self::Return,
            (Self::Return, '\n') => Self::show(c, shown),
            (Self::Return, _) => {
                shown.push('\n');
                Self::begin(c, shown)
            }
            (Self::Escape, '[') => Self::Sequence,
            (Self::Escape, ']' | 'P' | 'X' | '^' | '_') => Self::String,
            (Self::Escape, ' '..='/') => Self::Escape,
            (Self::Escape, '0'..='~') => Self::Text,
            (Self::Sequence, ' '..='?') => Self::Sequence,
            (Self::Sequence, '@'..='~') => Self::Text,
            (Self::String, '\u{7}' | '\u{9c}') => Self::Text,
            (Self::String, c) if !c.is_control() => Self::String,
            // What cannot be there ends the sequence and is looked at by itself.
            (Self::Text | Self::Escape | Self::Sequence | Self::String, _) => Self::begin(c, shown),
        };
    }

    fn begin(c: char, shown: &mut String) -> Self {
        match c {
            '\r' => Self::Return,
            '\u{1b}' => Self::Escape,
            // The same in one character (ECMA-48 §5.3), which terminals know in UTF-8, too.
            '\u{9b}' => Self::Sequence,
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => Self::String,
            c => Self::show(c, shown),
        }
    }

    fn show(c: char, shown: &mut String) -> Self {
        let kept = is_layout(c) || !acts_on_terminal(c);
        shown.push(if kept { c } else { char::REPLACEMENT_CHARACTER });
        Self::Text
    }
}

/// Characters that lay text out as anybody expects.
fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// Whether a terminal does something else with this character than to show it: control
/// characters, and those that reorder the text around them (UAX #9) or begin a line (UAX #14).
fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What guests may try, and what is seen of it.
    const NASTY: &[(&str, &str)] = &[
        ("colour", "\u{1b}[0;32mOK\u{1b}[0m started|OK started"),
        ("cleared screen", "\u{1b}[2J\u{1b}[Hfake|fake"),
        ("title", "\u{1b}]0;owned\u{7}text|text"),
        ("clipboard", "\u{1b}]52;c;cm0gLXJmIC8=\u{1b}\\text|text"),
        ("link", "\u{1b}]8;;http://evil/\u{1b}\\click\u{1b}]8;;\u{1b}\\|click"),
        ("device control", "\u{1b}P$q\"p\u{1b}\\text|text"),
        (
            "private message",
            "\u{1b}^secret\u{1b}\\a\u{1b}_secret\u{1b}\\b\u{1b}Xsecret\u{1b}\\c|abc",
        ),
        ("one character sequence", "\u{9b}31mred|red"),
        ("one character string", "\u{9d}0;owned\u{9c}text\u{90}x\u{7}!|text!"),
        ("reset and other short ones", "\u{1b}c\u{1b}7\u{1b}(0\u{1b}#8a|a"),
        ("reordering", "gnp\u{202e}exe.\u{2066}x\u{200f}|gnp\u{fffd}exe.\u{fffd}x\u{fffd}"),
        ("backspaces", "safe\u{8}\u{8}evil|safe\u{fffd}\u{fffd}evil"),
        ("overwritten line", "evil\rsafe|evil\nsafe"),
        ("line ends", "a\r\nb\r\r\nc\td|a\nb\nc\td"),
        ("bell, nothing, delete", "a\u{7}\u{0}\u{7f}b|a\u{fffd}\u{fffd}\u{fffd}b"),
        ("other line ends", "a\u{85}\u{2028}\u{b}\u{c}b|a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b"),
        ("what only this line hides", "a\u{1b}]0;hidden\nseen|a\nseen"),
        ("sequence in a sequence", "\u{1b}[3\u{1b}]0;t\u{7}1m|1m"),
        ("sequence without an end", "a\u{1b}[12\nb\u{1b}|a\nb"),
        ("letters of all kinds", "né 漢字 👩‍👩‍👧 שלום|né 漢字 👩‍👩‍👧 שלום"),
    ];

    fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        NASTY.iter().map(|(what, case)| {
            let (text, shown) = case.split_once('|').unwrap();
            (*what, text, shown)
        })
    }

    fn is_harmless(text: &str) -> bool {
        text.chars().all(|c| is_layout(c) || !acts_on_terminal(c))
    }

    #[test]
    fn nothing_acts_and_words_stay() {
        for (what, text, shown) in cases() {
            assert_eq!(render_text(text), shown, "{what}");
        }
        assert_eq!(render_line("a\r\nb\tc\u{1b}[1m"), "a b c");
        assert!(matches!(render_text("plain\n\ttext"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stream_is_the_same_in_whatever_pieces() {
        for (what, text, shown) in cases() {
            for step in 1..text.len() {
                let mut filter = Filter::default();
                let pieces = text.as_bytes().chunks(step).map(|piece| filter.take(piece));
                assert_eq!(pieces.collect::<String>(), shown, "{what}, {step} at once");
            }
        }
        // A terminal that takes bytes for characters knows 0x9b, too.
        assert_eq!(Filter::default().take(b"a\x9b31mb\xff\xe2\x82"), "a\u{fffd}31mb\u{fffd}");
    }

    #[test]
    fn json_means_the_same() {
        for (what, text, _) in cases() {
            let json = serde_json::to_string_pretty(&[text]).unwrap();
            let shown = render_json(json);
            assert!(is_harmless(&shown), "{what}: {shown:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text], "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless_afterwards(
            pieces: Vec<Vec<u8>>,
            text in "[\u{1b}\u{9b}\u{9d}\\[\\]\\\\0-9mPX\r\n\u{7}a\u{202e}]*",
        ) {
            let mut filter = Filter::default();
            let shown: String = pieces.iter().map(|piece| filter.take(piece)).collect();
            prop_assert!(is_harmless(&shown) && filter.unfinished.len() < 4);
            let shown = render_text(&text);
            prop_assert!(is_harmless(&shown));
            prop_assert_eq!(render_text(&shown), shown.as_ref());
        }
    }
}
