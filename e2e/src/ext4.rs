//! Reading an ext4 image with the tools that come with ext4, `e2fsck` and `debugfs`: without
//! rights, and without any code of banger's.
//!
//! `debugfs` takes inodes by number, so names with line ends or without an encoding need no
//! quoting; what it prints says how long each part is.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::tree::{self, Entry, Kind, Tree};

const ROOT: u32 = 2;

/// Asserts that `e2fsck` finds nothing to say about `image`.
///
/// # Panics
/// When it does.
#[track_caller]
pub fn expect_clean(image: &Path) {
    let checked = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(image).output().expect("e2fsck");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{}: {said}", image.display());
}

/// Reads everything in `image`.
///
/// # Panics
/// When it is no file system or `debugfs` says what this module does not know.
#[must_use]
pub fn read_image(image: &Path) -> Tree {
    let listed = list(image);
    let mut paths: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, (_, file)) in listed.iter().enumerate() {
        paths.entry(file.inode).or_default().push(at);
    }
    let mut inodes: Vec<(u32, u64)> =
        paths.iter().map(|(inode, at)| (*inode, listed[at[0]].1.size)).collect();
    // In the order of the disk, which is faster.
    inodes.sort_unstable();

    let mut tree = Tree::new();
    let mut by_path = HashMap::new();
    for (inode, entry) in inspect(image, &inodes) {
        for &at in &paths[&inode] {
            by_path.insert(listed[at].0.clone(), inode);
            tree.insert(listed[at].0.clone(), entry.clone());
        }
    }
    tree::name_links(&mut tree, |path, _| by_path[path]);
    // Where `e2fsck` puts what it finds; belongs to the file system, not to what is in it.
    if tree.get(b"lost+found".as_slice()).is_some_and(|entry| entry.kind == Kind::Directory) {
        tree.remove(b"lost+found".as_slice());
    }
    tree
}

/// A name in a directory.
struct Listed {
    inode: u32,
    is_directory: bool,
    size: u64,
}

/// Every path in the image, level by level.
fn list(image: &Path) -> Vec<(Vec<u8>, Listed)> {
    let mut found = vec![(Vec::new(), Listed { inode: ROOT, is_directory: true, size: 0 })];
    let mut level = 0..1;
    while !level.is_empty() {
        let parents: Vec<(Vec<u8>, u32)> = found[level.clone()]
            .iter()
            .filter(|(_, file)| file.is_directory)
            .map(|(path, file)| (path.clone(), file.inode))
            .collect();
        let mut debugfs = Debugfs::start(
            image,
            parents.iter().map(|(_, inode)| format!("ls -p <{inode}>")).collect(),
        );
        for (parent, _) in parents {
            debugfs.expect_echo();
            while let Some((name, file)) = debugfs.listed() {
                // Inode 0: room for a name, and no name.
                if name == b"." || name == b".." || file.inode == 0 {
                    continue;
                }
                let mut path = parent.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend(name);
                found.push((path, file));
            }
        }
        debugfs.end();
        level = level.end..found.len();
    }
    found
}

/// What `inodes`, given with their sizes, are.
fn inspect(image: &Path, inodes: &[(u32, u64)]) -> Vec<(u32, Entry)> {
    // What a directory's blocks hold is of no interest, what a device's would hold does not exist;
    // both are known only when `stat` has been read, so contents come in a second round.
    let mut debugfs =
        Debugfs::start(image, inodes.iter().map(|(inode, _)| format!("stat <{inode}>")).collect());
    let mut found: Vec<(u32, u64, Stat)> = Vec::with_capacity(inodes.len());
    for &(inode, size) in inodes {
        debugfs.expect_echo();
        found.push((inode, size, debugfs.stat(size)));
    }
    debugfs.end();

    let mut commands = Vec::new();
    for (inode, _, stat) in &found {
        if stat.has_contents() {
            commands.push(format!("cat <{inode}>"));
        }
        commands.extend(stat.long_xattrs.iter().map(|name| format!("ea_get -x <{inode}> {name}")));
    }
    let mut debugfs = Debugfs::start(image, commands);
    let entries = found
        .into_iter()
        .map(|(inode, size, stat)| (inode, stat.into_entry(size, &mut debugfs)))
        .collect();
    debugfs.end();
    entries
}

/// What `stat` says.
#[derive(Debug, Default)]
struct Stat {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, u32),
    device: (u32, u32),
    fast_link: Option<Vec<u8>>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names of those whose values are too long for `stat` to print.
    long_xattrs: Vec<String>,
}

impl Stat {
    fn has_contents(&self) -> bool {
        self.kind == "regular" || (self.kind == "symlink" && self.fast_link.is_none())
    }

    /// Adds what only further commands tell, which `debugfs` has been given in this order.
    fn into_entry(self, size: u64, debugfs: &mut Debugfs) -> Entry {
        let kind = match self.kind.as_str() {
            "regular" => {
                debugfs.expect_echo();
                let mut contents = (&mut debugfs.output).take(size);
                let (length, digest) = tree::digest(&mut contents).expect("contents");
                assert_eq!(length, size, "contents end early");
                Kind::File(size, digest)
            }
            "symlink" => Kind::Symlink(self.fast_link.unwrap_or_else(|| {
                debugfs.expect_echo();
                debugfs.bytes(size)
            })),
            "directory" => Kind::Directory,
            "FIFO" => Kind::Fifo,
            "socket" => Kind::Socket,
            "character special" => Kind::Character(self.device.0, self.device.1),
            "block special" => Kind::Block(self.device.0, self.device.1),
            other => panic!("unknown type `{other}`"),
        };
        let mut xattrs = self.xattrs;
        for name in self.long_xattrs {
            debugfs.expect_echo();
            // `NAME (LENGTH) = 01 02 …`
            let line = debugfs.line();
            let hex = line.split(|&byte| byte == b'=').nth(1).expect("a value");
            xattrs.insert(name.into_bytes(), parse_hex(hex));
        }
        for (name, value) in &mut xattrs {
            if name.starts_with(b"system.posix_acl_") {
                *value = acl_of_disk(value);
            }
        }
        let mode = if self.kind == "symlink" { 0o777 } else { self.mode & 0o7777 };
        Entry {
            kind,
            mode,
            owner: self.owner,
            modified: self.modified,
            xattrs,
            first_name: Vec::new(),
        }
    }
}

/// A running `debugfs` that answers commands in turn.
struct Debugfs {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Debugfs {
    fn start(image: &Path, commands: Vec<String>) -> Self {
        let mut child = Command::new("/usr/sbin/debugfs")
            .args(["-f", "-"])
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("debugfs starts");
        let mut stdin = child.stdin.take().expect("piped");
        std::thread::spawn(move || {
            let text: String = commands.into_iter().map(|command| command + "\n").collect();
            // It fails when the reader has given up, which says why.
            let _ = stdin.write_all(text.as_bytes());
        });
        let output = BufReader::with_capacity(1 << 20, child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// Reads the command that comes back before its answer.
    fn expect_echo(&mut self) {
        // `ls` ends its answer with an empty line, a `stat` with none or one.
        let mut line = self.line();
        while line.is_empty() {
            line = self.line();
        }
        assert!(line.starts_with(b"debugfs: "), "`{}` is no command", line.escape_ascii());
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).expect("debugfs answers");
        assert_eq!(line.pop(), Some(b'\n'), "debugfs ended: {}", line.escape_ascii());
        line
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(count).expect("fits")];
        self.output.read_exact(&mut bytes).expect("debugfs answers");
        bytes
    }

    fn next_is(&mut self, bytes: &[u8]) -> bool {
        self.output.fill_buf().expect("debugfs answers").starts_with(bytes)
    }

    /// The next name of a listing: `/INODE/MODE/UID/GID/NAME/SIZE/`, no size for directories.
    fn listed(&mut self) -> Option<(Vec<u8>, Listed)> {
        if !self.next_is(b"/") {
            return None;
        }
        let mut fields = Vec::new();
        for _ in 0..7 {
            let mut field = Vec::new();
            self.output.read_until(b'/', &mut field).expect("debugfs answers");
            field.pop();
            fields.push(field);
        }
        assert!(self.line().is_empty(), "a listing's line goes on");
        let text = |at: usize| String::from_utf8_lossy(&fields[at]).into_owned();
        let mode = u32::from_str_radix(&text(2), 8).expect("mode");
        let listed = Listed {
            inode: text(1).parse().expect("inode"),
            is_directory: mode & 0o170_000 == 0o040_000,
            size: text(6).parse().unwrap_or(0),
        };
        Some((fields.swap_remove(5), listed))
    }

    /// The answer to `stat`; `size` is the length of a symbolic link's target.
    fn stat(&mut self, size: u64) -> Stat {
        let mut stat = Stat::default();
        loop {
            if self.next_is(b"Fast link dest: \"") {
                self.bytes(17);
                stat.fast_link = Some(self.bytes(size));
                self.line();
            }
            // The next command, or the end.
            let ahead = self.output.fill_buf().expect("debugfs answers");
            if ahead.is_empty() || ahead.starts_with(b"debugfs: ") {
                return stat;
            }
            let line = self.line();
            let text = String::from_utf8_lossy(&line);
            let after = |key: &str| {
                let word = text.split_once(key).map(|(_, rest)| rest.trim_start());
                word.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
            };
            if text.starts_with("Inode: ") {
                let kind = text.split_once("Type: ").and_then(|(_, rest)| rest.split_once("  "));
                kind.expect("a type").0.trim().clone_into(&mut stat.kind);
                let mode = after("Mode:").expect("a mode");
                stat.mode = u32::from_str_radix(&mode, 8).expect("mode");
            } else if text.starts_with("User:") {
                // Large ones are printed as negative numbers.
                let number = |key| {
                    let id = after(key).and_then(|id| id.parse::<i64>().ok()).expect("an owner");
                    u32::try_from(id.rem_euclid(1 << 32)).expect("fits")
                };
                stat.owner = (number("User:"), number("Group:"));
            } else if let Some(time) = text.trim_start().strip_prefix("mtime: ") {
                stat.modified = parse_time(time).expect("a time");
            } else if text.contains("evice major/minor number: ") {
                let numbers = after("number: ").expect("numbers");
                let (major, minor) = numbers.split_once(':').expect("two numbers");
                stat.device = (major.parse().expect("major"), minor.parse().expect("minor"));
            } else if text == "Extended attributes:" {
                while self.next_is(b"  ") {
                    self.xattr(&mut stat);
                }
            }
        }
    }

    /// `  NAME (LENGTH) = VALUE`: the value in hexadecimal or quoted, absent when it is long or
    /// empty.
    fn xattr(&mut self, stat: &mut Stat) {
        let line = self.line();
        let text = String::from_utf8_lossy(&line);
        let (name, rest) = text.trim_start().split_once(" (").expect("a length");
        match rest.split_once(") = ") {
            None if rest == "0)" => drop(stat.xattrs.insert(name.into(), Vec::new())),
            None => stat.long_xattrs.push(name.to_owned()),
            Some((_, value)) => {
                let value = match value.strip_prefix('"') {
                    Some(quoted) => parse_quoted(quoted.strip_suffix('"').expect("a quote")),
                    None => parse_hex(value.as_bytes()),
                };
                stat.xattrs.insert(name.as_bytes().to_vec(), value);
            }
        }
    }

    fn end(mut self) {
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).expect("debugfs ends");
        assert!(self.child.wait().expect("debugfs ends").success(), "debugfs failed");
        let rest = rest.trim_ascii();
        assert!(rest.is_empty(), "debugfs says more: {}", rest.escape_ascii());
    }
}

/// `0xSECONDS:EXTRA -- …`: seconds are signed; of the extra bits two extend the seconds, the rest
/// are nanoseconds (kernel documentation, filesystems/ext4, "Inode Timestamps").
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, extra) = text.split_whitespace().next()?.strip_prefix("0x")?.split_once(':')?;
    let seconds = u32::from_str_radix(seconds, 16).ok()?.cast_signed();
    let extra = u32::from_str_radix(extra, 16).ok()?;
    Some((i64::from(seconds) + (i64::from(extra & 3) << 32), extra >> 2))
}

fn parse_hex(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect()
}

/// Text in which a backslash stands before quotes and backslashes.
fn parse_quoted(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().expect("what it is for") } else { byte });
    }
    plain
}

/// An access control list as the system calls give it, from the shorter form of the disk, which
/// leaves out numbers that say nothing (Linux, `fs/ext4/acl.h` and `uapi/linux/posix_acl_xattr.h`).
fn acl_of_disk(disk: &[u8]) -> Vec<u8> {
    const NAMED: [u16; 2] = [0x02, 0x08];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let mut rest = &disk[4..];
    while let Some((head, after)) = rest.split_at_checked(4) {
        acl.extend_from_slice(head);
        let tag = u16::from_le_bytes([head[0], head[1]]);
        let (id, after) =
            if NAMED.contains(&tag) { after.split_at(4) } else { ([0xff; 4].as_slice(), after) };
        acl.extend_from_slice(id);
        rest = after;
    }
    acl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_after_2038() {
        assert_eq!(parse_time("0xfffffffa:00000000 -- x"), Some((-6, 0)));
        assert_eq!(parse_time("0x00000001:00000005 -- x"), Some(((1 << 32) + 1, 1)));
    }
}
