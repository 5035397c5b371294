//! Pulls from registries that behave, and that do not.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use banger_fetch::{HttpError, Progress, PullError, Pulled, SourceError, TransferError, sha256};
use banger_proto::Reference;
use banger_proto::{Code, Problem};
use tokio::sync::Notify;

use crate::image::Image;
use crate::server::{Reply, Request, Server};
use crate::{cached, registry, within};

/// Large enough for several chunks and flushes.
const LARGE: usize = 3 << 20;

fn reference(server: &Server, tag: &str) -> Reference {
    format!("{}/a/image:{tag}", server.address).parse().unwrap()
}

async fn pull(dir: &Path, server: &Server, tag: &str) -> Result<Pulled, PullError> {
    within(registry(dir).pull(&reference(server, tag), &|_| {})).await
}

/// Why nothing was received.
async fn receive_error(dir: &Path, server: &Server) -> TransferError {
    match pull(dir, server, "latest").await.unwrap_err() {
        PullError::Blob { source, .. } => *source,
        PullError::Request { source, .. } => (*source).into(),
        other => panic!("{other:?}"),
    }
}

fn assert_complete(pulled: &Pulled, image: &Image) {
    assert_eq!(pulled.config_bytes, image.config);
    assert_eq!(pulled.layers.len(), image.layers.len());
    for (layer, content) in pulled.layers.iter().zip(&image.layers) {
        assert_eq!(layer.blob.digest(), sha256(content));
        assert_eq!(layer.diff_id, sha256(content));
        assert_eq!(&fs_err::read(layer.blob.path()).unwrap(), content);
    }
}

/// A registry that does `meddle` to what it would answer when a large blob is asked for; it is told
/// the how manieth such request it is, from 0.
async fn meddling(
    image: &Image,
    meddle: impl Fn(usize, &Request, Reply) -> Reply + Send + Sync + 'static,
) -> Server {
    let (image, count) = (image.clone(), AtomicUsize::new(0));
    let large = format!("/blobs/{}", sha256(&image.layers[0]));
    Server::start(move |request| {
        let reply = image.serve(request);
        match request.path.contains(&large) {
            true => meddle(count.fetch_add(1, Ordering::Relaxed), request, reply),
            false => reply,
        }
    })
    .await
}

#[tokio::test]
async fn a_second_pull_fetches_no_blob() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE, 10, 0, 70_000, 5, 6, 7]);
    let served = image.clone();
    let server = Server::start(move |request| served.serve(request)).await;
    let seen = Mutex::new(Vec::<Progress>::new());
    let observe = |progress| seen.lock().unwrap().push(progress);
    let target = reference(&server, "multi");
    let pulled = within(registry(dir.path()).pull(&target, &observe)).await.unwrap();
    assert_complete(&pulled, &image);
    assert_eq!(pulled.digest, sha256(&image.index));
    assert_eq!(pulled.manifest_digest, sha256(&image.manifest));
    let seen = seen.into_inner().unwrap();
    let total = image.size() as u64;
    assert_eq!(seen.first(), Some(&Progress { done: 0, total, reused: 0 }));
    assert_eq!(seen.last(), Some(&Progress { done: total, total, reused: 0 }));
    assert!(seen.is_sorted_by_key(|progress| progress.done));
    assert_eq!(within(registry(dir.path()).resolve(&target)).await.unwrap(), pulled.digest);

    let blobs = server.seen("/blobs/").len();
    assert_eq!(blobs, 7, "the configuration and all layers but the empty one");
    let last = Mutex::new(None);
    let observe = |progress| *last.lock().unwrap() = Some(progress);
    let again = within(registry(dir.path()).pull(&target, &observe)).await.unwrap();
    assert_complete(&again, &image);
    assert_eq!(server.seen("/blobs/").len(), blobs);
    assert_eq!(*last.lock().unwrap(), Some(Progress { done: total, total, reused: total }));
}

#[tokio::test]
async fn broken_connections_are_continued() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    // Ten breaks are more than the tries without progress.
    let server = meddling(&image, |count, _, reply| match count {
        0..10 => Reply { cut: Some(100_000), ..reply },
        _ => reply,
    })
    .await;
    assert_complete(&pull(dir.path(), &server, "latest").await.unwrap(), &image);
    let requests = server.seen(&sha256(&image.layers[0]).hex());
    let offsets: Vec<_> = requests.iter().map(Request::offset).collect();
    let expected: Vec<_> =
        std::iter::once(None).chain((1..11).map(|n| Some(n * 100_000))).collect();
    assert_eq!(offsets, expected, "nothing is fetched twice");
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_anew() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let content = image.layers[0].clone();
    let server = meddling(&image, move |count, _, _| match count {
        0 => Reply { cut: Some(LARGE / 2), ..Reply::new(200, content.clone()) },
        _ => Reply::new(200, content.clone()),
    })
    .await;
    assert_complete(&pull(dir.path(), &server, "latest").await.unwrap(), &image);
}

#[tokio::test]
async fn another_range_than_asked_for_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let server = meddling(&image, |count, _, reply| match count {
        0 => Reply { cut: Some(LARGE / 2), ..reply },
        _ => Reply::new(206, "x").header("Content-Range", "bytes 0-0/1"),
    })
    .await;
    let error = receive_error(dir.path(), &server).await;
    assert!(
        matches!(error, TransferError::Source(SourceError::Http(HttpError::Nonsense { .. }))),
        "{error:?}"
    );
}

#[tokio::test]
async fn wrong_bytes_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let server = meddling(&image, |_, _, mut reply| {
        reply.body[LARGE / 2] ^= 1;
        reply
    })
    .await;
    let error = receive_error(dir.path(), &server).await;
    let TransferError::Digest { name, expected, found } = &error else { panic!("{error:?}") };
    assert_eq!((name, *expected), (&expected.to_string(), sha256(&image.layers[0])));
    assert_ne!(expected, found);
    assert_eq!(cached(dir.path()), [sha256(&image.config).hex()]);
}

#[tokio::test]
async fn too_many_bytes_are_cut_off() {
    let image = Image::new(&[LARGE]);
    // Once announced in the header, once only seen when they come.
    for announced in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let server = meddling(&image, move |_, _, reply| {
            let longer = [reply.body, vec![0]].concat();
            if announced {
                return Reply::new(200, longer);
            }
            let size = format!("{:x}\r\n", longer.len()).into_bytes();
            let chunked = [size, longer, b"\r\n0\r\n\r\n".to_vec()].concat();
            Reply::new(200, chunked).header("Transfer-Encoding", "chunked")
        })
        .await;
        let error = receive_error(dir.path(), &server).await;
        assert!(matches!(error, TransferError::TooLong { .. }), "{error:?}");
        assert_eq!(cached(dir.path()), [sha256(&image.config).hex()]);
    }
}

#[tokio::test]
async fn too_few_bytes_are_asked_for_a_bounded_number_of_times() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let server = meddling(&image, |_, _, _| Reply::new(200, "short")).await;
    let error = receive_error(dir.path(), &server).await;
    assert!(matches!(error, TransferError::TooShort { received: 5, .. }), "{error:?}");
    assert_eq!(server.seen(&sha256(&image.layers[0]).hex()).len(), 5);
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_a_broken_one_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let server = meddling(&image, |count, _, reply| match count {
        0..3 => Reply::new(429, "").header("Retry-After", 0),
        3 => Reply::new(503, ""),
        _ => reply,
    })
    .await;
    assert_complete(&pull(dir.path(), &server, "latest").await.unwrap(), &image);

    let dir = tempfile::tempdir().unwrap();
    let server = meddling(&image, |_, _, _| Reply::new(500, "")).await;
    let error = receive_error(dir.path(), &server).await;
    assert!(
        matches!(&error, TransferError::Source(source) if source.status() == Some(500)),
        "{error:?}"
    );
    assert_eq!(server.seen(&sha256(&image.layers[0]).hex()).len(), 5);

    let dir = tempfile::tempdir().unwrap();
    let server = meddling(&image, |_, _, _| Reply::new(429, "").header("Retry-After", 3600)).await;
    let error = receive_error(dir.path(), &server).await;
    assert!(
        matches!(&error, TransferError::Source(source) if source.status() == Some(429)),
        "{error:?}"
    );
    assert_eq!(server.seen(&sha256(&image.layers[0]).hex()).len(), 1);
}

#[tokio::test]
async fn a_dropped_pull_is_continued_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE, LARGE / 3, 100]);
    let server = meddling(&image, |count, _, reply| match count {
        0 => Reply { cut: Some(LARGE / 2), hang: true, ..reply },
        _ => reply,
    })
    .await;
    // Everything but the second half of the first layer has arrived.
    let arrived = (image.size() - LARGE / 2) as u64;
    let reached = Arc::new(Notify::new());
    let observe = {
        let reached = Arc::clone(&reached);
        move |progress: Progress| {
            if progress.done == arrived {
                reached.notify_one();
            }
        }
    };
    let client = registry(dir.path());
    let target = reference(&server, "latest");
    within(async {
        tokio::select! {
            pulled = client.pull(&target, &observe) => panic!("it hangs: {pulled:?}"),
            () = reached.notified() => {}
        }
    })
    .await;
    let large = sha256(&image.layers[0]);
    assert!(!cached(dir.path()).contains(&large.hex()), "what is partial is not complete");
    let before = server.sent();
    assert_complete(&pull(dir.path(), &server, "latest").await.unwrap(), &image);
    let again = server.seen(&large.hex())[1].offset().expect("the rest only");
    // What was collected but not yet written is lost.
    assert!(LARGE / 2 - again <= 512 << 10, "{again}");
    assert_eq!(server.sent() - before, LARGE - again + image.manifest.len());
    assert!(cached(dir.path()).iter().all(|name| !name.contains("partial")));
}

#[tokio::test]
async fn a_partial_file_that_suffered_is_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE]);
    let served = image.clone();
    let server = Server::start(move |request| served.serve(request)).await;
    let blobs = dir.path().join("oci/blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.partial", sha256(&image.layers[0]).hex()));
    for left in [vec![0; LARGE / 2], vec![0; LARGE], vec![0; LARGE + 1]] {
        fs_err::write(&partial, left).unwrap();
        assert_complete(&pull(dir.path(), &server, "latest").await.unwrap(), &image);
        assert!(!partial.exists());
        fs_err::remove_file(blobs.join(sha256(&image.layers[0]).hex())).unwrap();
    }
}

#[tokio::test]
async fn a_blob_is_received_once_for_all_who_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[LARGE, 100]);
    let served = image.clone();
    let server = Server::start(move |request| served.serve(request)).await;
    // As from several daemons: they share nothing but the directory.
    let pulls = (0..5).map(|_| pull(dir.path(), &server, "latest"));
    for pulled in futures_util::future::join_all(pulls).await {
        assert_complete(&pulled.unwrap(), &image);
    }
    assert_eq!(server.seen("/blobs/").len(), 3, "two layers and a configuration");
}

#[tokio::test]
async fn manifests_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100]);
    let served = image.clone();
    let server = Server::start(move |request| {
        let mut reply = served.serve(request);
        if request.path.contains("/manifests/") {
            reply.body.push(b' ');
        }
        reply
    })
    .await;
    for tag in ["latest", "multi"] {
        let error = pull(dir.path(), &server, tag).await.unwrap_err();
        assert!(matches!(error, PullError::Changed { .. }), "{error:?}");
    }
    let pinned = format!("{}/a/image@{}", server.address, sha256(&image.manifest));
    let pinned: Reference = pinned.parse().unwrap();
    let error = within(registry(dir.path()).pull(&pinned, &|_| {})).await.unwrap_err();
    assert!(matches!(error, PullError::Changed { .. }), "{error:?}");
    assert_eq!(server.seen("/blobs/").len(), 0);
}

#[tokio::test]
async fn a_digest_is_resolved_without_the_header_too() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100]);
    let served = image.clone();
    let server = Server::start(move |request| {
        let mut reply = served.serve(request);
        reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
        reply
    })
    .await;
    let found = within(registry(dir.path()).resolve(&reference(&server, "latest"))).await.unwrap();
    assert_eq!(found, sha256(&image.manifest));
}

#[tokio::test]
async fn a_manifest_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, vec![b' '; 5 << 20])).await;
    let error = receive_error(dir.path(), &server).await;
    assert!(
        matches!(
            error,
            TransferError::Source(SourceError::Http(HttpError::TooLong { limit: 4_194_304, .. }))
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_who_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::new(&[100]);
    let server = Server::start(move |request| image.serve(request)).await;
    let error = pull(dir.path(), &server, "other").await.unwrap_err();
    assert!(matches!(error, PullError::NotFound { .. }), "{error:?}");
    assert_eq!(Problem::from(&error).code, Code::NotFound);

    let target = reference(&server, "latest");
    drop(server);
    let error = within(registry(dir.path()).pull(&target, &|_| {})).await.unwrap_err();
    let PullError::Request { source, .. } = &error else { panic!("{error:?}") };
    assert!(
        matches!(**source, SourceError::Http(HttpError::Connect { refused: true, .. })),
        "{error:?}"
    );
    assert!(!Problem::from(&error).hints.is_empty());
}
