//! Bulk in both directions at once. Bounded by bytes, so that it ends when it works.

use banger_link::{Session, connect_host};
use tokio::io::duplex;
use tokio::task::JoinSet;

use crate::{MAGIC, bulk, socket_pair, spawn_guest, within};

/// Bytes that all streams together move in each direction.
const TOTAL: u64 = 100 << 20;

const STREAMS: u64 = 8;

async fn soak(session: Session) {
    let mut tasks = JoinSet::new();
    for _ in 0..STREAMS {
        let session = session.clone();
        tasks.spawn(async move { bulk(&session, TOTAL / STREAMS).await.unwrap() });
    }
    within(async { while tasks.join_next().await.map(Result::unwrap).is_some() {} }).await;
}

#[tokio::test]
async fn bulk_both_ways_over_sockets_on_one_thread() {
    soak(socket_pair().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_both_ways_over_a_narrow_pipe_on_two_threads() {
    let (host, guest) = duplex(8 << 10);
    spawn_guest(guest);
    soak(within(connect_host(host, MAGIC)).await.unwrap()).await;
}
