//! Any sequence of operations leads to the same status in the guest.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const NAMES: &[&[u8]] =
    &[b"a", b"b c", b"dir/x", b"dir/y\nz", b"dir/sub/\xff", b"deep/er/file", b"\"q\"", b"deep"];

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, u8),
    Link(usize, u8),
    Remove(usize),
    Chmod(usize, bool),
    Stage(usize),
    Intend(usize),
    Unstage(usize),
    Move(usize, usize),
    StageAll,
    Commit,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || 0..NAMES.len();
    prop_oneof![
        4 => (name(), 0..4_u8).prop_map(|(name, content)| Operation::Write(name, content)),
        1 => (name(), 0..4_u8).prop_map(|(name, target)| Operation::Link(name, target)),
        2 => name().prop_map(Operation::Remove),
        1 => (name(), any::<bool>()).prop_map(|(name, on)| Operation::Chmod(name, on)),
        2 => name().prop_map(Operation::Stage),
        1 => name().prop_map(Operation::Intend),
        1 => name().prop_map(Operation::Unstage),
        1 => (name(), name()).prop_map(|(from, to)| Operation::Move(from, to)),
        2 => Just(Operation::StageAll),
        2 => Just(Operation::Commit),
    ]
}

async fn apply(host: &Host, operation: &Operation) {
    let file = |index: usize| name(NAMES[index]);
    let path = |index: usize| host.top.join(file(index));
    let content = |seed: u8| "line\n".repeat(10) + &"x".repeat(usize::from(seed));
    let git = async |args: &[&str], files: &[usize]| {
        let program = Program::new(&host.env, "git").current_dir(&host.top);
        let program = program.arg("--literal-pathspecs").args(args);
        program.args(files.iter().map(|index| file(*index))).capture(1 << 20).await.unwrap();
        Ok(())
    };
    // What fails is impossible in this state, for files and for git.
    let _ = match operation {
        Operation::Write(at, seed) => fs_err::create_dir_all(path(*at).parent().unwrap())
            .and_then(|()| fs_err::write(path(*at), content(*seed))),
        Operation::Link(at, seed) => {
            // Files are written through links, too: so none leads to anything outside.
            symlink(["a", "dir", "/no/where", "../no"][usize::from(*seed)], path(*at))
        }
        Operation::Remove(at) => fs_err::remove_file(path(*at)),
        Operation::Chmod(at, on) => {
            let mode = if *on { 0o755 } else { 0o644 };
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            match fs_err::symlink_metadata(path(*at)) {
                Ok(metadata) if metadata.is_file() => fs_err::set_permissions(path(*at), mode),
                _ => Ok(()),
            }
        }
        Operation::Stage(at) => git(&["add", "--"], &[*at]).await,
        Operation::Intend(at) => git(&["add", "-N", "--"], &[*at]).await,
        Operation::Unstage(at) => git(&["rm", "-q", "--cached", "--"], &[*at]).await,
        Operation::Move(from, to) => git(&["mv", "--"], &[*from, *to]).await,
        Operation::StageAll => git(&["add", "-A"], &[]).await,
        Operation::Commit => git(&["commit", "-qm", "c"], &[]).await,
    };
}

proptest! {
    // Each case runs some fifty git processes.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn status_is_the_same(
        operations in proptest::collection::vec(operation(), 1..24),
        include_untracked: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = Host::empty().await;
            for operation in &operations {
                apply(&host, operation).await;
            }
            host.send(Options { include_untracked, ..TRACKED }).await;
        });
    }
}
