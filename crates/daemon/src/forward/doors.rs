//! The sockets of one VM: one for each port that was published, one for each port that the guest
//! listens at.
//!
//! A port of the guest has the same number at the VM's loopback address. Where only root may have
//! that number, it is [`SHIFT`] more, or the next one that is free; such a socket makes way for the
//! guest's own port of that number.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use banger_proto::api::Publish;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::budget::{Budget, Permit};

/// Most sockets at the loopback address of one VM.
const MAX_FORWARDED: usize = 128;
/// Connections that wait to be accepted at one socket; the kernel may allow fewer.
const BACKLOG: u32 = 4096;
/// Ports below this may belong to root alone.
const FIRST_FREE_PORT: u16 = 1024;
/// What is added to one of those.
const SHIFT: u16 = 8000;
/// Numbers that are tried from there on.
const ATTEMPTS: u16 = 200;

/// What a socket is there for. Those that were asked for come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// It was asked for.
    Published(Publish),
    /// The guest listens at this port.
    Listening(u16),
}

impl Purpose {
    fn guest_port(self) -> u16 {
        match self {
            Self::Published(publish) => publish.guest,
            Self::Listening(port) => port,
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    at: SocketAddr,
    _place: Permit,
}

/// Makes a socket that listens; a parameter, since a test that root runs is forbidden no port.
type Bind = fn(SocketAddr) -> io::Result<TcpListener>;

/// The sockets of one VM. Dropped, they are closed.
#[derive(Debug)]
pub(super) struct Doors {
    loopback: Option<Ipv4Addr>,
    budget: Budget,
    bind: Bind,
    published: BTreeSet<Publish>,
    doors: BTreeMap<Purpose, Result<Door, String>>,
    /// Who was let in last, so that each has its turn.
    last: Option<Purpose>,
}

/// Makes one socket.
///
/// # Errors
/// Why it cannot be had, as the kernel says.
pub(super) fn open_door(at: SocketAddr, budget: &Budget) -> io::Result<Door> {
    open_with(bind, at, budget)
}

fn open_with(bind: Bind, at: SocketAddr, budget: &Budget) -> io::Result<Door> {
    let place = budget.door().ok_or_else(|| {
        io::Error::other("the daemon has no room for more ports (its limit of open files)")
    })?;
    let listener = bind(at)?;
    Ok(Door { at: listener.local_addr()?, listener, _place: place })
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a VM that ran before may still be fading away.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

impl Doors {
    /// The sockets of a VM at `loopback`; those in `open` are there already, the other ones of
    /// `published` are tried when it is settled.
    pub(super) fn new(
        loopback: Option<Ipv4Addr>,
        budget: Budget,
        published: BTreeSet<Publish>,
        open: BTreeMap<Publish, Door>,
    ) -> Self {
        let doors = open.into_iter().map(|(publish, door)| (Purpose::Published(publish), Ok(door)));
        Self { loopback, budget, bind, published, doors: doors.collect(), last: None }
    }

    /// Makes the sockets those of a guest that listens at `ports`, as far as they can be had.
    pub(super) fn settle(&mut self, ports: &BTreeSet<u16>) {
        self.doors.retain(|purpose, door| match purpose {
            Purpose::Published(_) => door.is_ok(),
            Purpose::Listening(port) => door.is_ok() && ports.contains(port),
        });
        for publish in self.published.clone() {
            let purpose = Purpose::Published(publish);
            if !self.doors.contains_key(&purpose) {
                let door = self.open(publish.endpoint());
                self.doors
                    .insert(purpose, door.map_err(|error| explain(publish.endpoint(), &error)));
            }
        }
        let Some(loopback) = self.loopback else { return };
        // First those that cannot have another number.
        let mut ordered: Vec<u16> = ports.iter().copied().collect();
        ordered.sort_by_key(|port| (*port < FIRST_FREE_PORT, *port));
        for port in ordered {
            if !self.doors.contains_key(&Purpose::Listening(port)) {
                self.open_listening(loopback, port);
            }
        }
    }

    fn open_listening(&mut self, loopback: Ipv4Addr, port: u16) {
        let listening = |purpose: &Purpose| matches!(purpose, Purpose::Listening(_));
        let at = SocketAddr::from((loopback, port));
        let shifted = self.doors.iter().find_map(|(purpose, door)| {
            let door = door.as_ref().ok().filter(|door| listening(purpose) && door.at == at)?;
            Some((*purpose, door.at))
        });
        if let Some((other, _)) = shifted
            && let Some(door) = self.doors.remove(&other)
        {
            self.doors.insert(Purpose::Listening(port), door);
            self.open_listening(loopback, other.guest_port());
            return;
        }
        let forwarded =
            self.doors.iter().filter(|(purpose, door)| listening(purpose) && door.is_ok());
        let door = if forwarded.count() >= MAX_FORWARDED {
            Err(format!("not more than {MAX_FORWARDED} ports of a VM are forwarded"))
        } else {
            self.open_near(at).map_err(|error| explain(at, &error))
        };
        self.doors.insert(Purpose::Listening(port), door);
    }

    /// A socket there, or, where only root may have it, at the next port that everybody may.
    fn open_near(&self, at: SocketAddr) -> io::Result<Door> {
        let refused = match self.open(at) {
            Err(error) if at.port() < FIRST_FREE_PORT && is_of_the_port(&error) => error,
            done => return done,
        };
        let first = at.port() + SHIFT;
        for port in first..first + ATTEMPTS {
            match self.open(SocketAddr::new(at.ip(), port)) {
                Err(error) if is_of_the_port(&error) => {}
                done => return done,
            }
        }
        Err(refused)
    }

    fn open(&self, at: SocketAddr) -> io::Result<Door> {
        open_with(self.bind, at, &self.budget)
    }

    /// The next connection, and the port of the guest that it is for; each socket has its turn.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the host cannot take one.
    pub(super) async fn accept(&mut self) -> io::Result<(u16, TcpStream)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(u16, TcpStream)>> {
        let is_next = |purpose: &Purpose| self.last.is_none_or(|last| *purpose > last);
        let after = self.doors.iter().filter(|(purpose, _)| is_next(purpose));
        let before = self.doors.iter().filter(|(purpose, _)| !is_next(purpose));
        for (purpose, door) in after.chain(before) {
            let Ok(door) = door else { continue };
            if let Poll::Ready(accepted) = door.listener.poll_accept(context) {
                self.last = Some(*purpose);
                return Poll::Ready(accepted.map(|(client, _)| (purpose.guest_port(), client)));
            }
        }
        Poll::Pending
    }

    /// Where each of them is, or why it is not.
    pub(super) fn places(&self) -> BTreeMap<Purpose, Result<SocketAddr, String>> {
        let place = |door: &Result<Door, String>| match door {
            Ok(door) => Ok(door.at),
            Err(why) => Err(why.clone()),
        };
        self.doors.iter().map(|(purpose, door)| (*purpose, place(door))).collect()
    }
}

/// Whether another port may be had where this one is not.
fn is_of_the_port(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse)
}

fn explain(at: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("`{at}` is taken on the host"),
        _ => format!("`{at}` cannot be had: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    /// Nobody else's tests are here.
    const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 78, 1, 1);

    fn as_an_ordinary_user(at: SocketAddr) -> io::Result<TcpListener> {
        if at.port() < FIRST_FREE_PORT {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        bind(at)
    }

    fn doors(last: u8) -> Doors {
        let [a, b, c, _] = LOOPBACK.octets();
        let loopback = Ipv4Addr::new(a, b, c, last);
        let doors = Doors::new(Some(loopback), Budget::new(1024), BTreeSet::new(), BTreeMap::new());
        Doors { bind: as_an_ordinary_user, ..doors }
    }

    fn settled(doors: &mut Doors, ports: &[u16]) -> Vec<(u16, Result<u16, String>)> {
        doors.settle(&ports.iter().copied().collect());
        let port = |at: Result<SocketAddr, String>| at.map(|at| at.port());
        doors.places().into_iter().map(|(purpose, at)| (purpose.guest_port(), port(at))).collect()
    }

    #[tokio::test]
    async fn ports_of_root_are_found_higher_and_make_way() {
        let mut doors = doors(1);
        assert_eq!(
            settled(&mut doors, &[80, 443, 22]),
            [(22, Ok(8022)), (80, Ok(8080)), (443, Ok(8443))]
        );
        // The guest's own 8080 has its number, whoever had it meanwhile.
        let all = [(80, Ok(8081)), (8080, Ok(8080))];
        assert_eq!(settled(&mut doors, &[80, 8080]), all);
        // What is there stays where it is.
        assert_eq!(settled(&mut doors, &[80]), [(80, Ok(8081))]);
        assert_eq!(settled(&mut doors, &[]), []);
        // From the beginning those come first that can have one number only.
        assert_eq!(settled(&mut doors, &[80, 8080]), all);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_and_tried_again() {
        let mut doors = doors(2);
        let at = SocketAddr::from((doors.loopback.unwrap(), 9000));
        let taken = bind(at).unwrap();
        let told = settled(&mut doors, &[9000, 9001]);
        assert_eq!(told[0], (9000, Err(format!("`{at}` is taken on the host"))));
        assert_eq!(told[1], (9001, Ok(9001)));
        drop(taken);
        assert_eq!(settled(&mut doors, &[9000])[0], (9000, Ok(9000)));
        // Closed and opened again at once, it is there again.
        assert_eq!(settled(&mut doors, &[]), []);
        assert_eq!(settled(&mut doors, &[9000])[0], (9000, Ok(9000)));
    }

    #[tokio::test]
    async fn not_more_sockets_than_there_may_be() {
        let mut doors = doors(3);
        let ports: Vec<u16> = (20_000..20_200).collect();
        let told = settled(&mut doors, &ports);
        assert_eq!(told.len(), 200);
        assert_eq!(told.iter().filter(|(_, at)| at.is_ok()).count(), MAX_FORWARDED);
        let mut few = Doors { budget: Budget::new(6), ..self::doors(4) };
        let told = settled(&mut few, &ports[..10]);
        assert_eq!(told.iter().filter(|(_, at)| at.is_ok()).count(), 3);
        // A socket that is closed gives its place back.
        assert_eq!(settled(&mut few, &[])[..], []);
        assert!(settled(&mut few, &[20_100])[0].1.is_ok());
    }

    #[tokio::test]
    async fn each_has_its_turn() {
        let mut doors = doors(5);
        let loopback = doors.loopback.unwrap();
        settled(&mut doors, &[9100, 9200, 80]);
        let mut clients = Vec::new();
        for port in [9100, 9100, 9100, 9200, 8080] {
            clients.push(TcpStream::connect((loopback, port)).await.unwrap());
        }
        let mut order = Vec::new();
        for _ in &clients {
            order.push(doors.accept().await.unwrap().0);
        }
        assert_eq!(order, [80, 9100, 9200, 9100, 9100]);
    }
}
