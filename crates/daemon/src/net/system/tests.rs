//! A service that does what the test says, at a socket of its own.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use banger_proto::VmId;
use banger_proto::helper::{MAX_PACKET, Network};
use rustix::net::{RecvFlags, SendFlags, accept, bind, listen, recv, send};

use super::*;

struct Service {
    dir: tempfile::TempDir,
    asked: Receiver<Option<Request>>,
}

impl Service {
    /// One that answers by `reply`; without an answer, it ends the connection, and after `most` requests.
    fn new(most: usize, reply: impl Fn(&Request) -> Option<Reply> + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        bind(&socket, &SocketAddrUnix::new(dir.path().join("socket")).unwrap()).unwrap();
        listen(&socket, 16).unwrap();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            loop {
                let connection = accept(&socket).unwrap();
                if tell.send(None).is_err() {
                    return;
                }
                for _ in 0..most {
                    let mut packet = vec![0; MAX_PACKET];
                    let Ok((length @ 1.., _)) =
                        recv(&connection, packet.as_mut_slice(), RecvFlags::empty())
                    else {
                        break;
                    };
                    let request: Request = serde_json::from_slice(&packet[..length]).unwrap();
                    let answer = reply(&request);
                    let _ = tell.send(Some(request));
                    let Some(answer) = answer else { break };
                    let answer = serde_json::to_vec(&answer).unwrap();
                    send(&connection, &answer, SendFlags::NOSIGNAL).unwrap();
                }
            }
        });
        Self { dir, asked }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// What it heard so far; a connection is none.
    fn heard(&self) -> Vec<Option<Request>> {
        self.asked.try_iter().collect()
    }
}

fn done(_: &Request) -> Option<Reply> {
    Some(Reply::Done {})
}

#[tokio::test]
async fn without_a_service_its_socket_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let network = SystemNetwork::at(dir.path().join("socket"));
    assert!(!network.is_offered());
    for error in [network.ensure().await, network.find().await.map(drop)].map(Result::unwrap_err) {
        let socket = dir.path().join("socket").display().to_string();
        assert!(error.to_string().contains(&socket), "{error}");
        let problem = banger_proto::Problem::from(error);
        assert!(problem.hints.iter().any(|hint| hint.contains("system install")), "{problem:?}");
    }
    let service = Service::new(1, done);
    assert!(SystemNetwork::at(service.socket()).is_offered());
}

#[tokio::test]
async fn who_asks_does_not_notice_that_the_service_was_restarted() {
    let service = Service::new(1, done);
    let network = SystemNetwork::at(service.socket());
    let requests = [Request::RemoveBridge {}, Request::RevertRules {}, Request::UnrouteNames {}];
    for request in &requests {
        network.ask(request.clone()).await.unwrap();
    }
    let heard: Vec<_> = requests.into_iter().flat_map(|request| [None, Some(request)]).collect();
    assert_eq!(service.heard(), heard);
    assert_eq!(network.entrance().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_answers_nothing_is_asked_twice() {
    let service = Service::new(1, |_| None);
    let network = SystemNetwork::at(service.socket());
    let error = network.ask(Request::Observe {}).await.unwrap_err();
    assert!(matches!(error, NetworkError::Gone(_)), "{error}");
    let asked = Some(Request::Observe {});
    assert_eq!(service.heard(), [None, asked.clone(), None, asked]);
}

#[tokio::test]
async fn it_is_taken_away_from_the_taps_to_the_rules() {
    let vm = |number| VmId::from_random([number; 6]);
    let taps = vec![vm(1), vm(2)];
    let bridge = Some(vec![Network { address: [172, 30, 0, 1].into(), prefix: 24 }]);
    let service = Service::new(usize::MAX, move |request| {
        Some(match request {
            Request::Observe {} => Reply::Observed(Observed {
                bridge: bridge.clone(),
                taps: taps.clone(),
                ..Observed::default()
            }),
            // A host without such a resolver.
            Request::UnrouteNames {} => {
                Reply::Failed { reason: "there is none".to_owned(), causes: Vec::new() }
            }
            _ => Reply::Done {},
        })
    });
    let network = SystemNetwork::at(service.socket());
    assert!(network.find().await.unwrap());
    network.remove().await.unwrap();
    let [first, second] = [1, 2].map(|number| Some(Request::RemoveTap { vm: vm(number) }));
    assert_eq!(
        service.heard(),
        [
            None,
            Some(Request::Observe {}),
            Some(Request::Observe {}),
            Some(Request::UnrouteNames {}),
            first,
            second,
            Some(Request::RemoveBridge {}),
            Some(Request::RevertRules {}),
        ]
    );
}

#[tokio::test]
async fn what_was_never_made_is_not_taken_away() {
    let service = Service::new(usize::MAX, |request| {
        Some(match request {
            Request::Observe {} => Reply::Observed(Observed::default()),
            _ => Reply::Done {},
        })
    });
    let network = SystemNetwork::at(service.socket());
    assert!(!network.find().await.unwrap());
    network.remove().await.unwrap();
    let heard = service.heard();
    assert!(!heard.contains(&Some(Request::RemoveBridge {})), "{heard:?}");
}
