//! Any edits and commits in the guest come home exactly.

use proptest::prelude::*;

use super::*;

const NAMES: &[&[u8]] = &[
    b"a",
    b"b c",
    b"sub/x",
    b"sub/y\nz",
    b"sub/dir/\xff",
    b"deep/er/file",
    b"\"q\"",
    b"deep",
    b"sub/b",
    b"old",
    b"link",
    b"run.sh",
    b"-x",
    b"t\tab",
    b"back\\slash",
];

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, u8),
    Link(usize, u8),
    Remove(usize),
    Chmod(usize, bool),
    Move(usize, usize),
    Commit,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || 0..NAMES.len();
    prop_oneof![
        5 => (name(), 0..6_u8).prop_map(|(name, content)| Operation::Write(name, content)),
        1 => (name(), 0..4_u8).prop_map(|(name, target)| Operation::Link(name, target)),
        3 => name().prop_map(Operation::Remove),
        1 => (name(), any::<bool>()).prop_map(|(name, on)| Operation::Chmod(name, on)),
        1 => (name(), name()).prop_map(|(from, to)| Operation::Move(from, to)),
        1 => Just(Operation::Commit),
    ]
}

fn contents(seed: u8) -> Vec<u8> {
    match seed {
        0 => Vec::new(),
        1 => b"line\r\nline\r\n".repeat(5),
        2 => (0..=255).collect(),
        3 => b"no end".to_vec(),
        _ => [b"line\n".repeat(10), vec![b'x'; usize::from(seed)]].concat(),
    }
}

fn edit(top: &Path, operation: &Operation) {
    let path = |index: usize| top.join(OsStr::from_bytes(NAMES[index]));
    // What fails is impossible in this state.
    let _ =
        match operation {
            Operation::Write(at, seed) => fs_err::create_dir_all(path(*at).parent().unwrap())
                .and_then(|()| match fs_err::symlink_metadata(path(*at)) {
                    Ok(metadata) if metadata.is_symlink() => Ok(()),
                    _ => fs_err::write(path(*at), contents(*seed)),
                }),
            Operation::Link(at, seed) => {
                symlink(["a", "sub", "/etc", "../.."][usize::from(*seed)], path(*at))
            }
            Operation::Remove(at) => fs_err::remove_file(path(*at)),
            Operation::Chmod(at, on) => match fs_err::symlink_metadata(path(*at)) {
                Ok(metadata) if metadata.is_file() => fs_err::set_permissions(
                    path(*at),
                    PermissionsExt::from_mode(if *on { 0o755 } else { 0o644 }),
                ),
                _ => Ok(()),
            },
            Operation::Move(from, to) => fs_err::rename(path(*from), path(*to)),
            Operation::Commit => {
                commit(top, "c");
                Ok(())
            }
        };
}

proptest! {
    // Each case is a daemon, a VM and some fifty git processes.
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_guests_tree_comes_home(
        before in proptest::collection::vec(operation(), 0..8),
        after in proptest::collection::vec(operation(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let env = TestEnv::new();
            let host = env.dir().join("re po");
            repository(&host);
            before.iter().for_each(|operation| edit(&host, operation));
            let rig = Rig::over(env, host, true).await;
            after.iter().for_each(|operation| edit(&rig.guest, operation));
            let base = git(&rig.host, &["rev-parse", "HEAD"]);
            rig.round_trip(&base).await;
            let index = git_files(&rig.host);
            let applied: Result<serde_json::Value, _> = rig.post("apply", json!({})).await;
            applied.unwrap();
            assert_eq!(tree(&rig.host), tree(&rig.guest));
            assert_eq!(git_files(&rig.host), index);
            rig.daemon.stop().await;
        });
    }
}
