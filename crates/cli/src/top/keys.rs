//! Bytes of a terminal as keys.
//!
//! What a key sends is one character, or a sequence that begins with ESC (ECMA-48 §5.4; the keys
//! themselves are xterm's, which all terminals of today send). ESC alone is a key, too, so that only time
//! tells it from the beginning of a sequence: see [`Decoder::is_waiting`]. What was pasted is
//! nobody's keys: a text with a `d` and a `y` in it is not to delete anything.

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// The first of all.
    Home,
    /// The last of all.
    End,
    /// Enter.
    Enter,
    /// Esc.
    Escape,
    /// Backspace.
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

const ESC: u8 = 0x1b;

/// What a terminal sends before and after what is pasted, once it was asked to (xterm's mode 2004).
const PASTE_BEGIN: &[u8] = b"200~";
const PASTE_END: &[u8] = b"201~";

/// Longest sequence that is a key of ours; a longer one is given up.
const MAX_SEQUENCE: usize = 32;

/// Makes keys of bytes, in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Bytes of what is not whole yet; at most [`MAX_SEQUENCE`].
    begun: Vec<u8>,
    /// Between the two marks of something pasted.
    pasting: bool,
}

impl Decoder {
    /// The keys in the next piece.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.push(*byte)).collect()
    }

    /// Whether ESC was the last: a key, unless more comes at once.
    pub(crate) fn is_waiting(&self) -> bool {
        self.begun == [ESC]
    }

    /// Nothing more came.
    pub(crate) fn give_up(&mut self) -> Option<Key> {
        let escape = self.is_waiting() && !self.pasting;
        self.begun.clear();
        escape.then_some(Key::Escape)
    }

    fn push(&mut self, byte: u8) -> Option<Key> {
        // ESC begins anew, whatever there was before: pressed twice, it is a key.
        if byte == ESC {
            let key = self.give_up();
            self.begun.push(ESC);
            return key;
        }
        self.begun.push(byte);
        let key = match self.begun.as_slice() {
            [ESC, b'[' | b'O'] => return None,
            [ESC, b'[', parameters @ .., last] => {
                // Parameters and what stands between them and the final character (ECMA-48 §5.4).
                if matches!(last, b' '..=b'?') && self.begun.len() < MAX_SEQUENCE {
                    return None;
                }
                match (parameters, last) {
                    (_, b'~') if self.begun[2..] == *PASTE_BEGIN => {
                        self.pasting = true;
                        None
                    }
                    (_, b'~') if self.begun[2..] == *PASTE_END => {
                        self.pasting = false;
                        self.begun.clear();
                        return None;
                    }
                    ([], last) => cursor_key(*last),
                    (b"1" | b"7", b'~') => Some(Key::Home),
                    (b"4" | b"8", b'~') => Some(Key::End),
                    (b"5", b'~') => Some(Key::PageUp),
                    (b"6", b'~') => Some(Key::PageDown),
                    _ => None,
                }
            }
            [ESC, b'O', last] => match last {
                b'M' => Some(Key::Enter),
                last => cursor_key(*last),
            },
            // A key with Alt: none of ours.
            [ESC, ..] => None,
            [single] if single.is_ascii() => ascii_key(*single),
            several => match std::str::from_utf8(several) {
                Ok(text) => text.chars().next().map(Key::Char),
                Err(error) if error.error_len().is_none() => return None,
                Err(_) => None,
            },
        };
        self.begun.clear();
        key.filter(|_| !self.pasting)
    }
}

/// The keys that xterm sends as `ESC [ X`, or `ESC O X` for applications.
fn cursor_key(last: u8) -> Option<Key> {
    match last {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

fn ascii_key(byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => Some(Key::Enter),
        0x03 => Some(Key::Interrupt),
        0x08 | 0x7f => Some(Key::Backspace),
        b' '..=b'~' => Some(Key::Char(byte.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().take(bytes)
    }

    #[test]
    fn keys_are_what_terminals_send() {
        assert_eq!(keys(b"\x1b[A\x1b[B\x1bOA\x1bOB"), [Key::Up, Key::Down, Key::Up, Key::Down]);
        assert_eq!(keys(b"\x1b[5~\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\x1b[H\x1b[1~\x1b[F\x1b[4~"), [Key::Home, Key::Home, Key::End, Key::End]);
        assert_eq!(
            keys(b"j\r\x03\x7f"),
            [Key::Char('j'), Key::Enter, Key::Interrupt, Key::Backspace]
        );
        assert_eq!(keys("é漢".as_bytes()), [Key::Char('é'), Key::Char('漢')]);
    }

    #[test]
    fn what_is_no_key_of_ours_is_none_at_all() {
        // With Ctrl, with Alt, a report of the mouse, a character that is none, a tab.
        assert_eq!(
            keys(b"\x1b[1;5A\x1bd\x1b[<0;3;4Mx\xff\xfey\t"),
            [Key::Char('x'), Key::Char('y')]
        );
        let endless = [b"\x1b[".as_slice(), &[b'1'; 100], b"x"].concat();
        assert_eq!(keys(&endless).last(), Some(&Key::Char('x')));
    }

    #[test]
    fn what_is_pasted_presses_nothing() {
        assert_eq!(keys(b"\x1b[200~dy\r\x1b[Aq\x1b[201~j"), [Key::Char('j')]);
    }

    #[test]
    fn any_pieces_are_the_same_keys() {
        let bytes = "\x1b[A\x1b[5~é\x1b[200~d\x1b[201~q".as_bytes();
        let whole = keys(bytes);
        assert_eq!(whole, [Key::Up, Key::PageUp, Key::Char('é'), Key::Char('q')]);
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let pieces: Vec<Key> = bytes.chunks(step).flat_map(|p| decoder.take(p)).collect();
            assert_eq!(pieces, whole, "{step} at once");
        }
    }

    #[test]
    fn escape_is_a_key_when_nothing_follows() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.take(b"\x1b"), []);
        assert!(decoder.is_waiting());
        assert_eq!(decoder.give_up(), Some(Key::Escape));
        assert!(!decoder.is_waiting());
        assert_eq!(decoder.take(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
    }
}
