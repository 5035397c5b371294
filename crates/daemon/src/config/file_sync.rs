//! `[[file_sync]]`: files of this host that every VM gets a copy of at each start.
//!
//! What an entry may say is checked when the configuration is read, without looking at any file.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Root's home in a guest.
const GUEST_HOME: &str = "/root";
/// Mode of a file where its entry says none.
const FILE_MODE: u32 = 0o600;

/// An entry of the list as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct FileSyncEntry {
    /// What is copied: a path in the home.
    pub host: String,
    /// Where it goes: a path in root's home.
    pub guest: String,
    /// Mode of a file, octal digits.
    pub mode: Option<String>,
}

/// An entry that makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSync {
    /// Its place in the list, from 1.
    pub number: usize,
    /// What is copied, as an absolute path.
    pub host: PathBuf,
    /// Where it goes, as an absolute path.
    pub guest: String,
    /// Mode of a file. Of a directory, everything keeps its own.
    pub mode: u32,
}

/// What the entries of the configuration at `path` mean to somebody with this home.
///
/// # Errors
/// When one makes no sense, naming it.
pub fn plan_file_sync(
    entries: &[FileSyncEntry],
    home: Option<&Path>,
    path: &Path,
) -> Result<Vec<FileSync>, ConfigError> {
    let plan = |(index, entry): (usize, &FileSyncEntry)| {
        let number = index + 1;
        plan_entry(number, entry, home).map_err(|(key, message)| ConfigError::Entry {
            path: path.to_owned(),
            list: "file_sync",
            number,
            key,
            message,
        })
    };
    entries.iter().enumerate().map(plan).collect()
}

/// An entry, or the key that is wrong and why.
fn plan_entry(
    number: usize,
    entry: &FileSyncEntry,
    home: Option<&Path>,
) -> Result<FileSync, (&'static str, String)> {
    let FileSyncEntry { host, guest, mode } = entry;
    let host = plan_host(host, home).map_err(|message| ("host", message))?;
    let guest = plan_guest(guest).map_err(|message| ("guest", message))?;
    let mode = mode.as_deref().map_or(Ok(FILE_MODE), parse_mode);
    let mode = mode.map_err(|message| ("mode", message))?;
    Ok(FileSync { number, host, guest, mode })
}

fn plan_host(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    refuse_odd(text)?;
    let home = home.ok_or("the home is not known: HOME is not set")?;
    let inside = match text.strip_prefix("~/") {
        Some(inside) => Path::new(inside),
        None if text.starts_with('/') => Path::new(text)
            .strip_prefix(home)
            .map_err(|_| format!("`{text}` is not in your home, `{}`", home.display()))?,
        None => return Err(relative(text)),
    };
    // `~//etc` would begin at the top again.
    let inside: PathBuf =
        inside.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if inside.as_os_str().is_empty() {
        return Err(format!("`{text}` is the whole home"));
    }
    Ok(home.join(inside))
}

fn plan_guest(text: &str) -> Result<String, String> {
    refuse_odd(text)?;
    let inside = text.strip_prefix("~/").or_else(|| text.strip_prefix("/root/"));
    let inside = match inside {
        Some(inside) => inside.trim_matches('/'),
        None if text.starts_with('/') => return Err(format!("`{text}` is not under `/root/`")),
        None => return Err(relative(text)),
    };
    if inside.is_empty() || inside == "." {
        return Err(format!("`{text}` names nothing in root's home"));
    }
    Ok(format!("{GUEST_HOME}/{inside}"))
}

/// Refuses what is nowhere a path of an entry.
fn refuse_odd(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("it has a byte 0".to_owned());
    }
    if Path::new(text).components().any(|part| part == Component::ParentDir) {
        return Err(format!("`{text}` has a `..` in it"));
    }
    if text.starts_with('~') && !text.starts_with("~/") {
        return Err(format!("`{text}` is somebody else's home, or no path: begin with `~/`"));
    }
    Ok(())
}

fn relative(text: &str) -> String {
    format!("`{text}` is relative: begin with `~/`")
}

/// Three or four octal digits.
fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.filter(|_| (3..=4).contains(&text.len()))
        .ok_or_else(|| format!("`{text}` is no mode: octal digits like \"0600\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, guest: &str, mode: Option<&str>) -> FileSyncEntry {
        let mode = mode.map(str::to_owned);
        FileSyncEntry { host: host.to_owned(), guest: guest.to_owned(), mode }
    }

    fn plan(entry: FileSyncEntry) -> Result<FileSync, String> {
        let fine = self::entry("~/fine", "~/fine", None);
        let home = Some(Path::new("/home/u"));
        let planned = plan_file_sync(&[fine, entry], home, "/c".as_ref());
        planned.map(|mut all| all.remove(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_become_absolute() {
        let planned = plan(entry("~/.config//nvim/", "~/.config/nvim/", None)).unwrap();
        assert_eq!(planned.host, Path::new("/home/u/.config/nvim"));
        assert_eq!((planned.guest.as_str(), planned.mode), ("/root/.config/nvim", 0o600));
        let planned = plan(entry("/home/u/.netrc", "/root/.netrc", Some("0640"))).unwrap();
        assert_eq!(planned.host, Path::new("/home/u/.netrc"));
        assert_eq!(
            (planned.guest.as_str(), planned.mode, planned.number),
            ("/root/.netrc", 0o640, 2)
        );
        let planned = plan(entry("~//etc/passwd", "~/x", None)).unwrap();
        assert_eq!(planned.host, Path::new("/home/u/etc/passwd"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (wrong, key, why) in [
            (entry("", "~/x", None), "host", "it is empty"),
            (entry("~/x", "", None), "guest", "it is empty"),
            (entry("x", "~/x", None), "host", "`x` is relative"),
            (entry("~/x", "x", None), "guest", "`x` is relative"),
            (entry("~/a/../../b", "~/x", None), "host", "`..`"),
            (entry("~/x", "~/../etc", None), "guest", "`..`"),
            (entry("~bob/x", "~/x", None), "host", "somebody else's"),
            (entry("~/x", "~root/x", None), "guest", "somebody else's"),
            (entry("~", "~/x", None), "host", "begin with"),
            (entry("~/", "~/x", None), "host", "the whole home"),
            (entry("/home/u", "~/x", None), "host", "the whole home"),
            (entry("/etc/passwd", "~/x", None), "host", "not in your home"),
            (entry("/home/user/x", "~/x", None), "host", "not in your home"),
            (entry("~/x", "/etc/x", None), "guest", "not under"),
            (entry("~/x", "/root", None), "guest", "not under"),
            (entry("~/x", "~/", None), "guest", "names nothing"),
            (entry("~/x", "~/x", Some("rw")), "mode", "no mode"),
            (entry("~/x", "~/x", Some("0888")), "mode", "no mode"),
            (entry("~/x", "~/x", Some("+600")), "mode", "no mode"),
            (entry("~/x", "~/x", Some("")), "mode", "no mode"),
            (entry("~/x", "~/x", Some("77777")), "mode", "no mode"),
        ] {
            let message = plan(wrong.clone()).unwrap_err();
            let named = format!("configuration `/c`, entry 2 of `file_sync`, key `{key}`: ");
            assert!(message.starts_with(&named) && message.contains(why), "{wrong:?}: {message}");
        }
        let nobody = plan_file_sync(&[entry("~/x", "~/x", None)], None, "/c".as_ref());
        assert!(nobody.unwrap_err().to_string().contains("HOME is not set"));
    }
}
