//! Who a command runs as, from the guest's own `/etc/passwd` and `/etc/group`.
//!
//! Read directly: the C library's lookup would load the image's name service modules into a
//! statically linked program. So users of directory services are known by number only.

use std::path::Path;

use banger_proto::{Code, Problem};
use rustix::fs::{Gid, Uid};

use crate::root::RootDir;
use crate::sys::Credentials;

/// Most bytes of either file that are read.
const FILE_LIMIT: u64 = 4 << 20;

/// A user as far as a command is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) credentials: Credentials,
    pub(super) name: String,
    pub(super) home: String,
    pub(super) shell: String,
}

/// One line of `/etc/passwd`.
#[derive(Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
    shell: String,
}

/// One line of `/etc/group`.
#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Finds who `wanted` (`user` or `user:group`, names or numbers) is in `root`. None is whoever the
/// agent is, in a guest root.
pub(super) fn find(root: &RootDir, wanted: Option<&str>) -> Result<User, Problem> {
    // An image without the files has no named users; numbers still work.
    let read = |path| root.read(Path::new(path), FILE_LIMIT).unwrap_or_default();
    let own = rustix::process::geteuid().as_raw().to_string();
    resolve(wanted.unwrap_or(&own), &own, &read("/etc/passwd"), &read("/etc/group"))
}

/// `own` is the number of who is meant where only a group is wanted.
fn resolve(wanted: &str, own: &str, passwd: &[u8], group: &[u8]) -> Result<User, Problem> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some(("", group)) => (own, Some(group)),
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let wanted_group = wanted_group.filter(|group| !group.is_empty());
    let groups = parse_lines(group, parse_group);
    let accounts = parse_lines(passwd, parse_account);
    let number = user.parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let account = accounts
        .into_iter()
        .find(|account| account.name == user || number.is_some_and(|uid| account.uid == uid));
    let account = match (account, number) {
        (Some(account), _) => account,
        (None, Some(uid)) => stranger(uid),
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    };
    let gid = match wanted_group {
        None => account.gid,
        Some(wanted) => match groups.iter().find(|group| group.name == wanted) {
            Some(group) => group.gid,
            None => wanted
                .parse()
                .ok()
                .filter(|gid| *gid != u32::MAX)
                .ok_or_else(|| unknown("group", wanted, "/etc/group"))?,
        },
    };
    // A named group replaces the supplementary ones, as it does for containers.
    let mut supplementary = vec![Gid::from_raw(gid)];
    if wanted_group.is_none() {
        let others =
            groups.iter().filter(|group| group.gid != gid && group.members.contains(&account.name));
        supplementary.extend(others.map(|group| Gid::from_raw(group.gid)));
    }
    let credentials = Credentials {
        uid: Uid::from_raw(account.uid),
        gid: Gid::from_raw(gid),
        groups: supplementary,
    };
    let Account { name, home, shell, .. } = account;
    Ok(User { credentials, name, home, shell })
}

/// A number that no account has.
fn stranger(uid: u32) -> Account {
    let (name, home) = if uid == 0 { ("root".into(), "/root") } else { (uid.to_string(), "/") };
    Account { name, uid, gid: 0, home: home.into(), shell: "/bin/sh".into() }
}

fn unknown(what: &str, name: &str, file: &str) -> Problem {
    Problem::new(Code::NotFound, format!("no {what} `{name}` in the guest's `{file}`"))
        .hint("numbers work without an entry: --user 1000:1000")
}

fn parse_lines<T>(bytes: &[u8], parse: fn(&str) -> Option<T>) -> Vec<T> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| parse(str::from_utf8(line).ok()?))
        .collect()
}

/// `name:password:uid:gid:gecos:home:shell`; lines that are not that are skipped.
fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let or = |field: Option<&str>, default: &str| {
        field.filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let home = or(fields.nth(1), "/");
    Some(Account { name, uid, gid, home, shell: or(fields.next(), "/bin/sh") })
}

/// `name:password:gid:member,member`.
fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Group { name, gid, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        # a comment\nbroken:x:many\n\xff\xfe:x:5:5::/:/bin/sh\n\
        dev:x:1000:1000:Dev,,,:/home/dev:/bin/zsh\n\
        bare:x:7:8::\n";
    const GROUP: &[u8] = b"root:x:0:\ndev:x:1000:\nsudo:x:27:dev\ndocker:x:998:other,dev\n";

    fn ids(user: &User) -> (u32, u32, Vec<u32>) {
        let Credentials { uid, gid, groups } = &user.credentials;
        (uid.as_raw(), gid.as_raw(), groups.iter().map(|gid| gid.as_raw()).collect())
    }

    #[test]
    fn names_numbers_and_groups() {
        let dev = resolve("dev", "0", PASSWD, GROUP).unwrap();
        assert_eq!(ids(&dev), (1000, 1000, vec![1000, 27, 998]));
        assert_eq!((dev.home.as_str(), dev.shell.as_str()), ("/home/dev", "/bin/zsh"));
        assert_eq!(resolve("1000", "0", PASSWD, GROUP).unwrap(), dev);
        assert_eq!(
            ids(&resolve("dev:docker", "0", PASSWD, GROUP).unwrap()),
            (1000, 998, vec![998])
        );
        assert_eq!(ids(&resolve("4242:17", "0", PASSWD, GROUP).unwrap()), (4242, 17, vec![17]));
        assert_eq!(resolve("bare", "0", PASSWD, GROUP).unwrap().shell, "/bin/sh");
        // An empty half is as good as none, as in images' configurations.
        assert_eq!(resolve("dev:", "0", PASSWD, GROUP).unwrap(), dev);
        assert_eq!(ids(&resolve(":17", "0", PASSWD, GROUP).unwrap()), (0, 17, vec![17]));
    }

    #[test]
    fn an_image_without_accounts_has_a_root() {
        let root = resolve("0", "0", b"", b"").unwrap();
        assert_eq!((root.name.as_str(), root.home.as_str()), ("root", "/root"));
    }

    #[test]
    fn unknown_names_and_the_no_change_number_are_refused() {
        for name in ["nobody-here", "", "4294967295", "-1", "dev:nogroup", "dev:4294967295"] {
            let refused = resolve(name, "0", PASSWD, GROUP).unwrap_err();
            assert_eq!(refused.code, Code::NotFound, "{name}");
            assert!(refused.message.contains("` in the guest's `/etc/"), "{refused:?}");
            assert!(refused.hints[0].contains("--user 1000:1000"), "{refused:?}");
        }
    }
}
