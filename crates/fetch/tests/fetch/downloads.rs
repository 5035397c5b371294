//! Single files by address.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use banger_fetch::{DownloadError, Head, HttpError, SourceError, TransferError, sha256};

use crate::image::noise;
use crate::server::{Reply, Request, Server};
use crate::{http, within};

const SIZE: usize = 1 << 20;

/// A server that breaks the first connection half-way.
async fn breaking(content: Vec<u8>) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        let reply = Reply::content(request, &content);
        match (request.path.as_str(), count.fetch_add(1, Ordering::Relaxed)) {
            ("/bundle", 0) => Reply { cut: Some(SIZE / 2), ..reply },
            ("/bundle", _) => reply,
            _ => Reply::new(404, ""),
        }
    })
    .await
}

fn transfer(error: DownloadError) -> TransferError {
    match error {
        DownloadError::Transfer { source, .. } => *source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bundle_arrives_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("bundle");
    let content = noise(1, SIZE);
    let server = breaking(content.clone()).await;
    let digest = sha256(&content);
    let seen = Mutex::new(Vec::new());
    let progress = |done| seen.lock().unwrap().push(done);
    // Without a size, which not every catalog has.
    within(http().download(&server.url("/bundle"), digest, None, &into, &progress)).await.unwrap();
    assert_eq!(fs_err::read(&into).unwrap(), content);
    assert_eq!(seen.into_inner().unwrap().last(), Some(&(SIZE as u64)));
    let offsets: Vec<_> = server.seen("/bundle").iter().map(Request::offset).collect();
    assert_eq!(offsets, [None, Some(SIZE / 2)]);

    let other = dir.path().join("other");
    let wrong = sha256(b"other");
    let url = server.url("/bundle");
    let error = within(http().download(&url, wrong, None, &other, &|_| {})).await.unwrap_err();
    let TransferError::Digest { expected, found, .. } = transfer(error) else { panic!() };
    assert_eq!((expected, found), (wrong, digest));
    let size = Some(SIZE as u64 - 1);
    let error = within(http().download(&url, digest, size, &other, &|_| {})).await.unwrap_err();
    assert!(matches!(transfer(error), TransferError::TooLong { .. }));
    let left: Vec<_> = fs_err::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [into]);
}

#[tokio::test]
async fn files_of_this_host_are_verified_alike() {
    let dir = tempfile::tempdir().unwrap();
    let (from, into) = (dir.path().join("a b"), dir.path().join("into"));
    let content = noise(2, SIZE);
    fs_err::write(&from, &content).unwrap();
    // What an earlier try left.
    fs_err::write(dir.path().join("into.partial"), &content[..1000]).unwrap();
    let url = format!("file://{}/a%20b", dir.path().display());
    let digest = sha256(&content);
    within(http().download(&url, digest, Some(SIZE as u64), &into, &|_| {})).await.unwrap();
    assert_eq!(fs_err::read(&into).unwrap(), content);
    assert_eq!(within(http().head(&url)).await.unwrap(), Head { size: Some(SIZE as u64) });
    assert_eq!(within(http().get_small(&url, SIZE)).await.unwrap(), content);
    let error = within(http().get_small(&url, SIZE - 1)).await.unwrap_err();
    let error = transfer(error);
    assert!(
        matches!(error, TransferError::Source(SourceError::Http(HttpError::TooLong { .. }))),
        "{error:?}"
    );
    let error = within(http().head("file:///no/such/file")).await.unwrap_err();
    assert!(matches!(error, DownloadError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn looking_is_not_fetching() {
    let server = breaking(noise(3, SIZE)).await;
    let head = within(http().head(&server.url("/bundle"))).await.unwrap();
    assert_eq!(head, Head { size: Some(SIZE as u64) });
    assert_eq!(server.sent(), 0);
    let error = within(http().head(&server.url("/none"))).await.unwrap_err();
    assert!(matches!(error, DownloadError::NotFound { .. }), "{error:?}");
    let error = within(http().head("ftp://localhost/x")).await.unwrap_err();
    assert!(error.to_string().contains("ftp://localhost/x"), "{error}");
}
