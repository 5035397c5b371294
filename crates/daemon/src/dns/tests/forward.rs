//! What guests are told of names that are not of the zone.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::AsyncWriteExt;

use super::serving::{Client, MAY, MAY_NOT, address, connect, for_guests, frame, receive};
use super::upstream::{GOOD, Manner, Upstream, dead};
use super::{extended, question};

fn example(id: u16) -> Message {
    question(id, "eXample.cOm.", RecordType::A)
}

fn addresses(upstreams: &[&Upstream]) -> Vec<SocketAddr> {
    upstreams.iter().map(|upstream| upstream.address).collect()
}

#[tokio::test]
async fn an_answer_passes_byte_for_byte() {
    let upstream = Upstream::start(Manner::Answers);
    let (server, _names) = for_guests(addresses(&[&upstream]));
    let client = Client::of(&server, MAY).await;
    client.send(&extended(0x1234, "eXample.cOm.", RecordType::A, 800)).await;
    let received = client.receive().await;
    let (asked, said) = upstream.heard.lock().unwrap().pop().unwrap();
    assert_eq!(received[..2], [0x12, 0x34], "the guest's id");
    assert_eq!(received[2..], said[2..], "and everything else the resolver's");
    let asked = Message::from_vec(&asked).unwrap();
    assert_eq!(asked.queries[0].name.to_string(), "eXample.cOm.", "its letters");
    assert_eq!(asked.edns.unwrap().max_payload(), 800, "no more than the guest takes");
}

#[tokio::test]
async fn who_may_not_go_out_reaches_no_resolver() {
    let upstream = Upstream::start(Manner::Answers);
    let (server, _names) = for_guests(addresses(&[&upstream]));
    let client = Client::of(&server, MAY_NOT).await;
    let reply = client.ask(&example(1)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert_eq!(
        address(&client.ask(&question(2, "host.vm.", RecordType::A)).await),
        Some([172, 30, 0, 1].into())
    );
    let mut stream = connect(&server, MAY_NOT).await;
    stream.write_all(&frame(&example(3))).await.unwrap();
    assert_eq!(receive(&mut stream).await.metadata.response_code, ResponseCode::Refused);
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn the_next_is_asked_when_one_is_dead_or_fails() {
    let (fails, answers) = (Upstream::start(Manner::Fails), Upstream::start(Manner::Answers));
    let resolvers = vec![dead(), fails.address, answers.address];
    let (server, _names) = for_guests(resolvers);
    let client = Client::of(&server, MAY).await;
    assert_eq!(address(&client.ask(&example(1)).await), Some(GOOD));
    assert_eq!((fails.asked(), answers.asked()), (1, 1));
    // Who has answered is asked first from then on.
    assert_eq!(address(&client.ask(&example(2)).await), Some(GOOD));
    assert_eq!((fails.asked(), answers.asked()), (1, 2));
}

#[tokio::test]
async fn a_failure_is_told_when_nobody_knows_better() {
    let fails = Upstream::start(Manner::Fails);
    for resolvers in [vec![fails.address, dead()], vec![dead(), dead()]] {
        let (server, _names) = for_guests(resolvers);
        let client = Client::of(&server, MAY).await;
        let reply = client.ask(&example(9)).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert_eq!((reply.metadata.id, address(&reply)), (9, None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_is_asked_when_one_is_silent_or_lies() {
    for manner in [Manner::Silent, Manner::Lies] {
        let (first, answers) = (Upstream::start(manner), Upstream::start(Manner::Answers));
        let (server, _names) = for_guests(addresses(&[&first, &answers]));
        let client = Client::of(&server, MAY).await;
        assert_eq!(address(&client.ask(&example(1)).await), Some(GOOD), "{manner:?}");
        assert_eq!(first.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_resolvers_ends_before_the_guests_patience() {
    let silent = Upstream::start(Manner::Silent);
    let (server, _names) = for_guests(addresses(&[&silent, &silent, &silent, &silent, &silent]));
    let client = Client::of(&server, MAY).await;
    let since = tokio::time::Instant::now();
    let reply = client.ask(&example(1)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    // Time that was not waited for, but counted.
    assert!(since.elapsed().as_secs() < 5, "{:?}", since.elapsed());
    assert_eq!(silent.asked(), 5, "all of them");
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_comes_on_a_stream() {
    let upstream = Upstream::start(Manner::Truncates);
    let (server, _names) = for_guests(addresses(&[&upstream]));
    let reply = Client::of(&server, MAY).await.ask(&example(1)).await;
    assert!(reply.metadata.truncation);
    let mut stream = connect(&server, MAY).await;
    // One of the zone beside it does not wait for it.
    let both = [frame(&example(2)), frame(&question(3, "web.vm.", RecordType::A))].concat();
    stream.write_all(&both).await.unwrap();
    let mut replies = [receive(&mut stream).await, receive(&mut stream).await];
    replies.sort_by_key(|reply| reply.metadata.id);
    let [long, short] = replies;
    assert!(!long.metadata.truncation);
    assert_eq!((long.metadata.id, long.answers.len()), (2, 21));
    assert_eq!((short.metadata.id, address(&short)), (3, Some(MAY)));
}

#[tokio::test]
async fn a_resolver_that_says_too_much_is_cut_short() {
    let upstream = Upstream::start(Manner::Overflows);
    let (server, _names) = for_guests(addresses(&[&upstream]));
    let client = Client::of(&server, MAY).await;
    client.send(&example(5)).await;
    let packet = client.receive().await;
    assert!(packet.len() <= 512);
    let reply = Message::from_vec(&packet).unwrap();
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!((reply.metadata.id, &reply.queries), (5, &example(5).queries));
}

#[tokio::test(start_paused = true)]
async fn one_guest_has_so_many_questions_under_way() {
    let silent = Upstream::start(Manner::Silent);
    let (server, _names) = for_guests(addresses(&[&silent]));
    let client = Client::of(&server, MAY).await;
    for id in 0..=64 {
        client.send(&example(id)).await;
    }
    let mut failed = Vec::new();
    for _ in 0..=64 {
        let reply = Message::from_vec(&client.receive().await).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        failed.push(reply.metadata.id);
    }
    assert_eq!(failed[0], 64, "the one too many is refused at once");
    assert_eq!(silent.asked(), 64);
}
