//! Host programs that end well, badly, late, or not at all.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncBufReadExt;

use super::*;

fn sh(script: &str) -> Program {
    let env = HostEnv::from_env(|_| None).with("GIVEN", "given");
    Program::new(&env, "sh").args(["-c", script])
}

#[tokio::test]
async fn output_is_bounded() {
    assert_eq!(sh("printf abc").output(3).await.unwrap(), b"abc");
    let error = sh("cat /dev/zero").output(100_000).await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` wrote more than 100000 bytes");
}

#[tokio::test]
async fn memory_is_bounded_for_all_that_is_started() {
    let limited = sh("ulimit -d; sh -c 'ulimit -d'").memory(64 << 20);
    assert_eq!(limited.output(100).await.unwrap(), b"65536\n65536\n");
    let unlimited = sh("ulimit -d").output(100).await.unwrap();
    assert_ne!(unlimited, b"65536\n");
}

#[tokio::test]
async fn only_the_given_environment_is_seen() {
    let output = sh("echo $GIVEN $LC_ALL $MORE; env | grep -c CARGO").env("MORE", "more");
    let captured = output.capture(100).await.unwrap();
    assert_eq!(captured.stdout, b"given C more\n0\n");
}

#[tokio::test]
async fn failures_name_program_end_and_reason() {
    let failed = sh("echo why >&2; exit 3").called("sh why").run().await.unwrap_err();
    assert_eq!(failed.to_string(), "`sh why` failed with exit code 3: why");
    let killed = sh("kill -9 $$").run().await.unwrap_err();
    assert_eq!(killed.to_string(), "`sh` was killed by signal 9");
    let flood = sh("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1").run().await;
    let Err(ExecError::Failed { stderr, .. }) = flood else { panic!("{flood:?}") };
    assert_eq!(stderr, "x".repeat(1024));
    let missing = Program::new(&HostEnv::from_env(|_| None), "no-such-program").run().await;
    assert!(matches!(missing, Err(ExecError::NotFound { .. })));
    let nowhere = sh("true").current_dir("/no/such/place").run().await;
    assert!(matches!(nowhere, Err(ExecError::Start { .. })));
}

#[tokio::test]
async fn captures_a_bad_exit() {
    let captured = sh("echo out; echo err >&2; exit 1").capture(100).await.unwrap();
    assert_eq!(captured.status.code(), Some(1));
    assert_eq!((captured.stdout.as_slice(), captured.stderr.as_str()), (&b"out\n"[..], "err"));
}

#[tokio::test]
async fn stdin_is_fed() {
    let bytes = vec![b'x'; 300_000];
    let echoed = sh("cat").stdin_bytes(bytes.clone()).output(400_000).await.unwrap();
    assert_eq!(echoed, bytes);
    sh("exit 0").stdin_bytes(bytes.clone()).run().await.unwrap();
    let stream = std::io::Cursor::new(bytes.clone());
    assert_eq!(sh("cat").stdin_stream(stream).output(400_000).await.unwrap(), bytes);
    let broken = tokio_util::io::StreamReader::new(futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"half")),
        Err(std::io::Error::other("source broke")),
    ]));
    let error = sh("cat").stdin_stream(broken).output(100).await.unwrap_err();
    assert!(matches!(error, ExecError::Follow { .. }), "{error:?}");
}

#[tokio::test]
async fn stderr_comes_in_lines() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let script = "printf '1%%\\r2%%\\r\\ndone' >&2";
    sh(script).stderr_lines(move |l| seen.lock().unwrap().push(l.to_owned())).run().await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["1%", "2%", "done"]);
}

#[tokio::test]
async fn a_missed_deadline_kills() {
    let limit = Duration::from_millis(50);
    for result in [
        sh("sleep 1000").deadline(limit).run().await,
        sh("sleep 1000").deadline(limit).output(10).await.map(drop),
    ] {
        assert!(matches!(result, Err(ExecError::Deadline { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn dropping_kills_the_whole_group() {
    let piped = sh("sleep 1000 & echo $!; wait").spawn_piped().unwrap();
    let mut lines = tokio::io::BufReader::new(piped).lines();
    let pid: i32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), flags).unwrap();
    drop(lines);
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    // Children of other tests end, too, and their signal interrupts.
    let ended =
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)));
    assert_eq!(ended, Ok(1));
}
