//! The console of one VM: its last lines, and which of them are looked at.

use std::collections::VecDeque;

use banger_proto::harmless::Filter;
use banger_proto::{VmId, VmName};

/// Lines that are kept.
const KEPT: usize = 5000;

/// Bytes of a line that are kept, about: a guest may write one without end.
const MAX_LINE: usize = 1000;

/// What a tab goes to the next multiple of.
const TAB: usize = 8;

/// What a VM wrote, made harmless as it came.
#[derive(Debug)]
pub(crate) struct Console {
    /// Whose it is.
    pub(crate) vm: VmId,
    /// Its name.
    pub(crate) name: VmName,
    /// Why no more comes, once that is so.
    pub(crate) ended: Option<String>,
    filter: Filter,
    lines: VecDeque<String>,
    /// Lines below those that are shown.
    below: usize,
}

impl Console {
    /// One of which nothing is known yet.
    pub(crate) fn new(vm: VmId, name: VmName) -> Self {
        let lines = VecDeque::from([String::new()]);
        Self { vm, name, ended: None, filter: Filter::default(), lines, below: 0 }
    }

    /// Adds what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for c in self.filter.take(bytes).chars() {
            let before = self.written();
            match c {
                '\n' => self.begin_line(),
                c => self.push(c),
            }
            // Whoever looks at what was goes on looking at that.
            if self.below > 0 && self.written() > before {
                self.below = (self.below + 1).min(self.last_line());
            }
        }
    }

    fn begin_line(&mut self) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(String::new());
    }

    fn push(&mut self, c: char) {
        let Some(line) = self.lines.back_mut() else { return };
        if line.len() >= MAX_LINE {
            return;
        }
        match c {
            '\t' => {
                let length = line.chars().count();
                line.extend(std::iter::repeat_n(' ', TAB - length % TAB));
            }
            c => line.push(c),
        }
    }

    /// Looks so many lines further up, or down.
    pub(crate) fn scroll(&mut self, up: isize) {
        self.below = self.below.saturating_add_signed(up).min(self.last_line());
    }

    /// Looks at the first line, or goes on with the last.
    pub(crate) fn jump(&mut self, to_first: bool) {
        self.below = if to_first { self.last_line() } else { 0 };
    }

    /// Whether the last line is shown, and the next when it comes.
    pub(crate) fn is_following(&self) -> bool {
        self.below == 0
    }

    /// The lines for a place of `height`.
    pub(crate) fn shown(&self, height: usize) -> impl Iterator<Item = &str> {
        let end = (self.written() - self.below.min(self.written())).max(height.min(self.written()));
        self.lines.range(end.saturating_sub(height)..end).map(String::as_str)
    }

    /// Lines in all, without one that was only begun by the end of the one before.
    fn written(&self) -> usize {
        let begun = self.lines.back().is_some_and(String::is_empty);
        self.lines.len() - usize::from(begun)
    }

    fn last_line(&self) -> usize {
        self.written().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &[u8]) -> Console {
        let mut console = Console::new("aabbccddeeff".parse().unwrap(), "web".parse().unwrap());
        console.take(text);
        console
    }

    fn shown(console: &Console, height: usize) -> String {
        console.shown(height).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_last_lines_are_shown_until_one_looks_up() {
        let mut console = console(b"1\n2\n3\n4\n");
        assert_eq!(shown(&console, 2), "3|4");
        console.take(b"5\n6");
        assert_eq!(shown(&console, 2), "5|6");
        console.scroll(2);
        assert!(!console.is_following());
        assert_eq!(shown(&console, 2), "3|4");
        // What comes meanwhile does not move it.
        console.take(b"\n7\n8\n");
        assert_eq!(shown(&console, 2), "3|4");
        console.scroll(100);
        assert_eq!(shown(&console, 2), "1|2");
        console.jump(false);
        assert_eq!(shown(&console, 2), "7|8");
        console.jump(true);
        assert_eq!(shown(&console, 3), "1|2|3");
        console.scroll(-100);
        assert!(console.is_following());
        assert_eq!(shown(&console, 100), "1|2|3|4|5|6|7|8");
    }

    #[test]
    fn a_guest_drives_nothing() {
        let console = console(b"\x1b[2J\x1b]0;owned\x07a\tb\x9b31m\rc\x08\n");
        assert_eq!(shown(&console, 9), "a       b\u{fffd}31m|c\u{fffd}");
    }

    #[test]
    fn a_guest_fills_no_memory() {
        let mut console = console(&[b'x'; 3 * MAX_LINE]);
        assert_eq!(shown(&console, 1).len(), MAX_LINE);
        console.take(&b"y\n".repeat(2 * KEPT));
        assert_eq!(console.lines.len(), KEPT);
        assert_eq!(shown(&console, 1), "y");
        assert_eq!(shown(&self::console(b""), 5), "");
    }
}
