//! Who gets in, and how far.

use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn old_algorithms_are_not_spoken() {
    let guest = Guest::new().await;
    for weak in [
        ["-oCiphers=aes256-ctr", "no matching cipher"],
        ["-oKexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange"],
        ["-oHostKeyAlgorithms=rsa-sha2-512", "no matching host key"],
    ] {
        let mut ssh = guest.client("ssh");
        ssh.args([weak[0], "root@127.0.0.1", "true"]);
        let ran = within(ssh.output()).await.unwrap();
        assert_eq!(ran.status.code(), Some(255));
        assert!(text(&ran.stderr).contains(weak[1]), "{}", text(&ran.stderr));
    }
}

#[tokio::test]
async fn only_the_key_lets_in_and_only_as_root() {
    let guest = Guest::new().await;
    let attempt = async |user: &str, options: &[&str]| {
        let mut ssh = guest.client("ssh");
        // The first value that ssh is given counts.
        let mut all = Command::new("ssh");
        all.args(options).args(ssh.as_std_mut().get_args());
        all.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        let ran = within(all.arg(format!("{user}@127.0.0.1")).arg("true").output()).await.unwrap();
        (ran.status.code(), text(&ran.stderr))
    };
    let identity = |name: &str| format!("-oIdentityFile={}", guest.path(name).display());
    keygen(&guest.path("stranger"), &["ed25519"]);
    let denied = |said: &str| said.contains("Permission denied (publickey).");
    for (user, options) in [
        ("nobody", vec![]),
        ("dev", vec![]),
        ("root", vec![identity("stranger"), "-oIdentityFile=none".to_owned()]),
        ("root", vec!["-oPreferredAuthentications=password".to_owned()]),
        ("root", vec!["-oPreferredAuthentications=keyboard-interactive".to_owned()]),
    ] {
        let mut options: Vec<_> = options.iter().map(String::as_str).collect();
        if options.first().is_some_and(|option| option.contains("stranger")) {
            options.pop();
            std::fs::rename(guest.path("user"), guest.path("kept")).unwrap();
        }
        let (code, said) = attempt(user, &options).await;
        assert_eq!(code, Some(255), "{user} {options:?}");
        assert!(denied(&said), "{user} {options:?}: {said}");
        let _ = std::fs::rename(guest.path("kept"), guest.path("user"));
    }
    // The line of this one has options, so it does not count.
    std::fs::rename(guest.path("restricted"), guest.path("user")).unwrap();
    std::fs::rename(guest.path("restricted.pub"), guest.path("user.pub")).unwrap();
    assert!(denied(&attempt("root", &[]).await.1));
}

#[tokio::test]
async fn users_keys_may_be_of_other_kinds() {
    let guest = Guest::new().await;
    let kinds: [&[&str]; 3] =
        [&["rsa", "-b", "2048"], &["ecdsa", "-b", "256"], &["ecdsa", "-b", "384"]];
    for kind in kinds {
        for name in ["user", "user.pub"] {
            std::fs::remove_file(guest.path(name)).unwrap();
        }
        let public = keygen(&guest.path("user"), kind);
        std::fs::write(guest.path("authorized_keys"), public).unwrap();
        let ran = guest.run(&["true"]).await;
        assert_eq!(ran.status.code(), Some(0), "{kind:?}: {}", text(&ran.stderr));
    }
}

#[tokio::test]
async fn agents_are_not_forwarded() {
    let guest = Guest::new().await;
    let mut ssh = guest.client("ssh");
    ssh.args(["-A", "root@127.0.0.1", "echo ${SSH_AUTH_SOCK:-none}"]);
    let ran = within(ssh.output()).await.unwrap();
    assert_eq!(text(&ran.stdout), "none\n");
}

#[tokio::test]
async fn what_is_no_ssh_is_not_waited_for() {
    let mut guest = Guest::new().await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'x'; 300],
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(("127.0.0.1", guest.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // Its connection ends, though this side stays open.
        let _ = within(stream.read_to_end(&mut said)).await;
        assert!(said.starts_with(b"SSH-2.0-banger"));
        drop(stream);
        within(guest.ended.recv()).await.unwrap();
    }
}
