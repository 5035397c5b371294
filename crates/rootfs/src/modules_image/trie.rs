//! The binary form of kmod's lists (`modules.dep.bin` and its like): a tree over the letters of its
//! keys, so that a name is found without reading all of them, and patterns in the keys can be
//! followed. It is the form that kmod reads; the texts beside are for others.
//!
//! ```text
//! file:  magic │ version │ where the root is │ nodes, the lower ones first      all numbers: 32 bits,
//! node:  prefix NUL │ first, last letter │ a node for each between │ values      the high byte first
//! ```
//!
//! Which of the three parts a node has stands in the highest bits of whatever points to it.
//! (`libkmod/libkmod-index.c` of kmod documents the form; it is the same since 2009.)

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
/// Length of the file's beginning, which the nodes follow.
const START: u32 = 12;
const HAS_PREFIX: u32 = 1 << 31;
const HAS_VALUES: u32 = 1 << 30;
const HAS_CHILDREN: u32 = 1 << 29;
/// Longest key that is taken, in bytes: the tree is as deep.
const MAX_KEY: usize = 512;

/// A list being made.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    prefix: Vec<u8>,
    children: BTreeMap<u8, Node>,
    /// Values with their ranks, the lowest first.
    values: Vec<(u32, Vec<u8>)>,
}

impl Trie {
    /// Adds `value` under `key`. Of several under one key that with the lowest `rank` comes first.
    /// Keys that no tree can have, which no module has, are left out.
    pub(super) fn insert(&mut self, key: &str, value: &str, rank: u32) {
        let key = key.as_bytes();
        let odd = |&byte: &u8| byte == 0 || !byte.is_ascii();
        if key.len() > MAX_KEY || key.iter().any(odd) || value.contains('\0') {
            return;
        }
        let values = self.root.reach(key);
        let entry = (rank, value.as_bytes().to_vec());
        if let Err(at) = values.binary_search(&entry) {
            values.insert(at, entry);
        }
    }

    /// The list as a file.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(MAGIC.to_be_bytes());
        file.extend(VERSION.to_be_bytes());
        file.extend([0; 4]);
        let root = self.root.render(&mut file);
        file[8..START as usize].copy_from_slice(&root.to_be_bytes());
        file
    }
}

impl Node {
    /// The values under `key`, seen from here; the way there is made.
    fn reach(&mut self, key: &[u8]) -> &mut Vec<(u32, Vec<u8>)> {
        let new = self.children.is_empty() && self.values.is_empty() && self.prefix.is_empty();
        if new {
            self.prefix = key.to_vec();
        }
        let common = self.prefix.iter().zip(key).take_while(|(own, asked)| own == asked).count();
        if common < self.prefix.len() {
            let rest = self.prefix.split_off(common);
            let mut lower = std::mem::take(self);
            self.prefix = std::mem::replace(&mut lower.prefix, rest[1..].to_vec());
            self.children.insert(rest[0], lower);
        }
        match key[common..].split_first() {
            None => &mut self.values,
            Some((letter, rest)) => {
                let child = self.children.entry(*letter);
                child
                    .or_insert_with(|| Self { prefix: rest.to_vec(), ..Self::default() })
                    .reach(rest)
            }
        }
    }

    /// Writes the node and all below it; what points to it.
    fn render(&self, file: &mut Vec<u8>) -> u32 {
        let children: BTreeMap<u8, u32> =
            self.children.iter().map(|(letter, child)| (*letter, child.render(file))).collect();
        // 28 bits, which hundreds of thousands of modules do not fill.
        let mut pointer = u32::try_from(file.len()).unwrap_or(0);
        if !self.prefix.is_empty() {
            pointer |= HAS_PREFIX;
            file.extend(&self.prefix);
            file.push(0);
        }
        if let (Some((&first, _)), Some((&last, _))) =
            (children.first_key_value(), children.last_key_value())
        {
            pointer |= HAS_CHILDREN;
            file.extend([first, last]);
            for letter in first..=last {
                file.extend(children.get(&letter).copied().unwrap_or(0).to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            pointer |= HAS_VALUES;
            file.extend(u32::try_from(self.values.len()).unwrap_or(0).to_be_bytes());
            for (rank, value) in &self.values {
                file.extend(rank.to_be_bytes());
                file.extend(value);
                file.push(0);
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the file says about `key`, as a reader of it goes.
    fn find(file: &[u8], key: &str) -> Vec<(u32, String)> {
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let text = |at: usize| {
            let len = file[at..].iter().position(|&byte| byte == 0).unwrap();
            String::from_utf8(file[at..at + len].to_vec()).unwrap()
        };
        assert_eq!((number(0), number(4)), (MAGIC, VERSION));
        let (mut pointer, mut key) = (number(8), key.as_bytes());
        loop {
            let mut at = (pointer & 0x0fff_ffff) as usize;
            if pointer & HAS_PREFIX != 0 {
                let prefix = text(at);
                let Some(rest) = key.strip_prefix(prefix.as_bytes()) else { return Vec::new() };
                key = rest;
                at += prefix.len() + 1;
            }
            let mut child = 0;
            if pointer & HAS_CHILDREN != 0 {
                let (first, last) = (file[at], file[at + 1]);
                at += 2;
                if let Some(letter) = key.first().filter(|letter| (first..=last).contains(letter)) {
                    child = number(at + usize::from(letter - first) * 4);
                }
                at += usize::from(last - first + 1) * 4;
            }
            if key.is_empty() {
                if pointer & HAS_VALUES == 0 {
                    return Vec::new();
                }
                let count = number(at);
                at += 4;
                return (0..count)
                    .map(|_| {
                        let (rank, value) = (number(at), text(at + 4));
                        at += 5 + value.len();
                        (rank, value)
                    })
                    .collect();
            }
            if child == 0 {
                return Vec::new();
            }
            (pointer, key) = (child, &key[1..]);
        }
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut trie = Trie::default();
        let keys = ["br_netfilter", "bridge", "br", "overlay", "b", "bridges", "fs-overlay"];
        for key in keys {
            trie.insert(key, &format!("value of {key}"), 7);
        }
        trie.insert("bridge", "the first", 2);
        trie.insert("bridge", "the first", 2);
        trie.insert("é", "not a letter", 0);
        let file = trie.render();
        for key in keys.into_iter().filter(|key| *key != "bridge") {
            assert_eq!(find(&file, key), [(7, format!("value of {key}"))]);
        }
        let both = [(2, "the first".to_owned()), (7, "value of bridge".to_owned())];
        assert_eq!(find(&file, "bridge"), both);
        for none in ["", "bri", "overlays", "x", "br_"] {
            assert_eq!(find(&file, none), [], "{none}");
        }
    }

    #[test]
    fn an_empty_one_is_one_too() {
        let file = Trie::default().render();
        assert_eq!(file.len(), START as usize);
        assert_eq!(find(&file, "x"), []);
    }
}
