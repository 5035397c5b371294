//! Long lines in a narrow place.

use ratatui::text::Line;

/// A text as lines of at most `width` columns, at least one: between words, and within those that are
/// longer. All of it is seen.
pub(super) fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    let begin = |lines: &mut Vec<String>| lines.push(String::new());
    for word in text.split_inclusive(' ') {
        // The blank after a word needs no place.
        if columns(word.trim_end()) > room && room < width {
            begin(&mut lines);
            room = width;
        }
        for c in word.chars() {
            let needed = columns(c.encode_utf8(&mut [0; 4]));
            if needed > room {
                if c == ' ' {
                    continue;
                }
                begin(&mut lines);
                room = width;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            room = room.saturating_sub(needed);
        }
    }
    lines
}

fn columns(text: &str) -> usize {
    Line::from(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(fold("", 10), [""]);
        assert_eq!(fold("one two three", 80), ["one two three"]);
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("one two three", 8), ["one two ", "three"]);
        assert_eq!(fold("one two  three", 7), ["one two", "three"]);
        assert_eq!(fold("a verylongword b", 6), ["a ", "verylo", "ngword", "b"]);
        assert_eq!(fold("漢字漢字 a", 4), ["漢字", "漢字", "a"]);
        assert_eq!(fold("ab", 0), ["", "a", "b"]);
    }
}
