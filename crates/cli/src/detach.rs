//! The keys that leave a job's terminal: Ctrl-P, then Ctrl-Q.

const FIRST: u8 = 0x10;
const SECOND: u8 = 0x11;

/// Looks for the keys in what is typed.
#[derive(Debug, Default)]
pub(crate) struct DetachKeys {
    /// Whether the first was typed last. It waits for the next key, which tells what it means.
    held: bool,
}

impl DetachKeys {
    /// What of `typed`, and of what was held back, goes on; none when the keys were typed.
    pub(crate) fn take(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            if self.held && *key == SECOND {
                return None;
            }
            if std::mem::take(&mut self.held) {
                passed.push(FIRST);
            }
            if *key == FIRST {
                self.held = true;
            } else {
                passed.push(*key);
            }
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_in_a_row_detach() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.take(b"a\x11b").unwrap(), b"a\x11b");
        assert_eq!(keys.take(b"x\x10").unwrap(), b"x");
        assert_eq!(keys.take(b"\x10y").unwrap(), b"\x10\x10y");
        assert_eq!(keys.take(b"\x10").unwrap(), b"");
        assert_eq!(keys.take(b"\x11"), None);
        assert_eq!(DetachKeys::default().take(b"ls\x10\x11"), None);
    }
}
