//! The keys of a user and of VMs in real directories.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Home {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 0, false).unwrap();
        Self { dir, paths }
    }

    fn ssh(&self) -> Ssh {
        Ssh::new(&self.paths, None, None)
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn vm() -> (VmId, VmName) {
    ("0123456789ab".parse().unwrap(), "web".parse().unwrap())
}

#[test]
fn a_guest_is_known_before_it_runs_and_forgotten_after() {
    let home = Home::new();
    let (vm, name) = vm();
    let (keys, notice) = home.ssh().introduce(&vm, &name).unwrap();
    assert_eq!(notice, None);
    let known = fs_err::read_to_string(home.paths.known_hosts()).unwrap();
    assert!(known.starts_with("web.vm,0123456789ab.vm ssh-ed25519 AAAA"), "{known}");
    let host_key = home.paths.vm_state_dir(&vm).join(HOST_KEY);
    assert_eq!([mode(&host_key), mode(&home.paths.known_hosts())], [0o600; 2]);
    assert_eq!(keys.host_key, fs_err::read_to_string(&host_key).unwrap());
    assert_eq!(home.ssh().introduce(&vm, &name).unwrap().0, keys);

    home.ssh().forget(&vm).unwrap();
    home.ssh().forget(&vm).unwrap();
    assert_eq!(fs_err::read_to_string(home.paths.known_hosts()).unwrap(), "");
    home.ssh().settle(&[(vm, name)]).unwrap();
    assert_eq!(fs_err::read_to_string(home.paths.known_hosts()).unwrap(), known);
}

#[test]
fn openssh_reads_the_keys() {
    let home = Home::new();
    let (vm, name) = vm();
    let (keys, _) = home.ssh().introduce(&vm, &name).unwrap();
    let identity = home.ssh().ensure_identity().unwrap();
    for (path, expected) in [
        (identity, keys.authorized_keys[0].clone()),
        (home.paths.vm_state_dir(&vm).join(HOST_KEY), {
            let known = fs_err::read_to_string(home.paths.known_hosts()).unwrap();
            known.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ")
        }),
    ] {
        let output =
            std::process::Command::new("ssh-keygen").arg("-yf").arg(path).output().unwrap();
        let public = String::from_utf8(output.stdout).unwrap();
        assert_eq!(public.trim_end(), expected);
    }
}

#[test]
fn all_who_need_the_users_key_at_once_get_the_same() {
    let home = Home::new();
    let made: Vec<_> = std::thread::scope(|scope| {
        let make = || {
            let path = home.ssh().ensure_identity().unwrap();
            (keys::load_public(&path).unwrap(), path)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
    let dir = home.paths.ssh_dir();
    assert_eq!([mode(&dir), mode(&made[0].1)], [0o700, 0o600]);
    assert_eq!(fs_err::read_dir(dir).unwrap().count(), 2, "nothing half made is left");
}

#[test]
fn a_key_of_the_users_own_is_used_and_left_alone() {
    let home = Home::new();
    let own = home.dir.path().join("own");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ecdsa", "-N", "secret", "-C", "me@here", "-f"])
        .arg(&own)
        .status();
    assert!(made.unwrap().success());
    let ssh = Ssh::new(&home.paths, Some("~/own".into()), Some(home.dir.path()));
    assert_eq!(ssh.ensure_identity().unwrap(), own);
    let public = fs_err::read_to_string(own.with_extension("pub")).unwrap();
    let (vm, name) = vm();
    let (keys, _) = ssh.introduce(&vm, &name).unwrap();
    assert_eq!(keys.authorized_keys, [public.trim_end()]);
    assert!(!home.paths.ssh_dir().join("id_ed25519").exists());
    // Its passphrase hides the private half only.
    fs_err::remove_file(own.with_extension("pub")).unwrap();
    let (keys, _) = ssh.introduce(&vm, &name).unwrap();
    let words = |text: &str| text.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&keys.authorized_keys[0]), words(&public));
}

#[test]
fn a_key_of_the_users_own_that_is_missing_is_told() {
    let home = Home::new();
    let (vm, name) = vm();
    let ssh = Ssh::new(&home.paths, Some("/nowhere/key".into()), None);
    let (keys, notice) = ssh.introduce(&vm, &name).unwrap();
    assert!(keys.authorized_keys.is_empty());
    assert!(notice.unwrap().contains("/nowhere/key"));
}

#[test]
fn a_damaged_key_is_an_error_and_stays() {
    let home = Home::new();
    let path = home.ssh().ensure_identity().unwrap();
    fs_err::write(&path, "not a key").unwrap();
    let error = home.ssh().ensure_identity().unwrap_err();
    assert!(error.to_string().contains("id_ed25519` is not an SSH key"), "{error}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "not a key");
}
