//! The kernel's tables of sockets, `/proc/net/{tcp,tcp6,udp,udp6}`, and how many of them are in use,
//! `/proc/net/{sockstat,sockstat6}` (proc(5)).
//!
//! They say the same as the newer sock_diag(7), and every kernel has them: that one is mostly a
//! module, which the kernel asks programs of the image to load. Listeners come first in the tables
//! of TCP (`tcp_get_idx` in the kernel's net/ipv4/tcp_ipv4.c), so that thousands of connections
//! are not read. Even so the kernel walks through its whole table of connections at every look, some
//! 15 ms under emulation, so who looks often asks for the numbers first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use banger_proto::guest::{MAX_LISTENERS, PortListener, PortProtocol};

/// Where the kernel shows the tables of the network namespace that the agent is in, the guest's.
const TABLES: &str = "/proc/net";
/// Rows of one table that are read: a program may have as many sockets as it likes.
const MAX_ROWS: usize = 64 << 10;
/// State of a TCP socket that listens (`TCP_LISTEN`).
const LISTENS: u8 = 0x0a;
/// State of a UDP socket that is connected to nobody (`TCP_CLOSE`).
const UNCONNECTED: u8 = 0x07;

/// Where somebody listens; ordered by port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) port: u16,
    pub(super) protocol: PortProtocol,
    pub(super) address: IpAddr,
}

impl Endpoint {
    /// As the host is told.
    pub(super) fn listener(
        self,
        process: Option<banger_proto::guest::ListenerProcess>,
    ) -> PortListener {
        let Self { port, protocol, address } = self;
        PortListener { protocol, address, port, process }
    }
}

/// Everybody who listens, with the inode of the socket, the lowest where several share a port; of
/// more than [`MAX_LISTENERS`] those at the lowest ports.
///
/// # Errors
/// When the kernel has no such tables.
pub(super) fn observe() -> io::Result<BTreeMap<Endpoint, u64>> {
    let mut found = BTreeMap::new();
    let tables = [
        ("tcp", PortProtocol::Tcp),
        ("tcp6", PortProtocol::Tcp),
        ("udp", PortProtocol::Udp),
        ("udp6", PortProtocol::Udp),
    ];
    for (name, protocol) in tables {
        let mut note = |row: Row| {
            let endpoint = Endpoint { port: row.port, protocol, address: row.address };
            let inode = found.entry(endpoint).or_insert(row.inode);
            *inode = row.inode.min(*inode);
            if found.len() > MAX_LISTENERS {
                found.pop_last();
            }
        };
        read_table(Path::new(TABLES), name, protocol, &mut note)?;
    }
    Ok(found)
}

/// The addresses at which somebody listens at a TCP port.
///
/// # Errors
/// As [`observe`].
pub(super) fn observe_addresses(port: u16) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for name in ["tcp", "tcp6"] {
        read_table(Path::new(TABLES), name, PortProtocol::Tcp, &mut |row| {
            if row.port == port {
                found.push(row.address);
            }
        })?;
    }
    Ok(found)
}

/// How many sockets are in use, by protocol: as long as that stays the same, there is hardly a new
/// listener.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn count() -> io::Result<BTreeMap<String, u64>> {
    let read = |name: &str| {
        let path = Path::new(TABLES).join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))
    };
    // The second is missing where the kernel has no IPv6.
    let text = read("sockstat")? + &read("sockstat6").unwrap_or_default();
    Ok(parse_counts(&text))
}

/// Reads lines such as `TCP: inuse 2 orphan 0 tw 0 alloc 3 mem 1`.
fn parse_counts(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (protocol, rest) = line.split_once(": inuse ")?;
            let number = rest.split_ascii_whitespace().next()?;
            Some((protocol.to_owned(), number.parse().ok()?))
        })
        .collect()
}

/// A row of a table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    address: IpAddr,
    port: u16,
    state: u8,
    inode: u64,
}

fn read_table(
    tables: &Path,
    name: &str,
    protocol: PortProtocol,
    found: &mut dyn FnMut(Row),
) -> io::Result<()> {
    let path = tables.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {
            return Ok(());
        }
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("`{}`: {error}", path.display())));
        }
    };
    // The first line is a heading.
    for line in BufReader::new(file).lines().skip(1).take(MAX_ROWS) {
        let Some(row) = parse_row(&line?) else { continue };
        match protocol {
            PortProtocol::Tcp if row.state == LISTENS => found(row),
            PortProtocol::Tcp => break,
            PortProtocol::Udp if row.state == UNCONNECTED => found(row),
            PortProtocol::Udp => {}
        }
    }
    Ok(())
}

/// Reads a row: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn parse_row(line: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    let state = words.nth(1)?;
    let inode = words.nth(5)?;
    Some(Row {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        state: u8::from_str_radix(state, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Reads an address: the words of 32 bits that it has in memory, each as a number of this machine.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(8 * at..8 * at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_as_the_kernel_writes_them() {
        let row = |line: &str| {
            parse_row(line).map(|row| (row.address.to_string(), row.port, row.state, row.inode))
        };
        assert_eq!(
            row(
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0"
            ),
            Some(("127.0.0.1".into(), 8080, 0x0a, 12345))
        );
        assert_eq!(
            row(
                "   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0"
            ),
            Some(("::1".into(), 22, 0x0a, 9))
        );
        assert_eq!(
            row(
                "   2: 0000000000000000FFFF00000100007F:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9"
            ),
            Some(("127.0.0.1".into(), 22, 0x0a, 9)),
            "an address of IPv4 in a socket of IPv6"
        );
        for odd in [
            "",
            "0: 0100007F 00000000:0000 0A",
            "0: é00007F:1F90 0:0 0A 0 0 0 0 0 1",
            "0: 0100007F:1F90 0:0 0A",
        ] {
            assert_eq!(row(odd), None, "{odd}");
        }
    }

    #[test]
    fn listeners_are_seen_and_connections_are_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let _connections: Vec<_> = (0..64)
            .map(|_| (TcpStream::connect(("127.0.0.1", port)).unwrap(), tcp.accept().unwrap()))
            .collect();
        let later = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(("127.0.0.1", port)).unwrap();
        let seen = observe().unwrap();
        let is_seen = |protocol, address: std::net::SocketAddr| {
            let (port, address) = (address.port(), address.ip());
            seen.contains_key(&Endpoint { port, protocol, address })
        };
        assert!(is_seen(PortProtocol::Tcp, tcp.local_addr().unwrap()));
        assert!(is_seen(PortProtocol::Tcp, later.local_addr().unwrap()));
        assert!(is_seen(PortProtocol::Udp, udp.local_addr().unwrap()));
        assert!(!is_seen(PortProtocol::Udp, connected.local_addr().unwrap()));
        assert_eq!(observe_addresses(port).unwrap(), [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn counts_are_those_in_use() {
        let text = "sockets: used 142\nTCP: inuse 5 orphan 0 tw 2 alloc 6 mem 1\n\
                    UDP: inuse 2 mem 768\nFRAG: inuse 0 memory 0\nTCP6: inuse 3\n";
        let counts = parse_counts(text);
        let of = |protocol: &str| counts.get(protocol).copied();
        assert_eq!(
            [of("TCP"), of("UDP"), of("TCP6"), of("sockets")],
            [Some(5), Some(2), Some(3), None]
        );
        let own = count().unwrap();
        assert!(own.contains_key("TCP") && own.contains_key("UDP"), "{own:?}");
    }

    #[test]
    fn a_table_of_everything_is_read_to_a_bound() {
        let tables = tempfile::tempdir().unwrap();
        let mut text = "heading\n".to_owned();
        for port in 0..70_000 {
            text.push_str(&format!(
                "0: 00000000:{:04X} 00000000:0000 07 0:0 0:0 0 0 0 1\n",
                port % 0x1_0000
            ));
        }
        std::fs::write(tables.path().join("udp"), text).unwrap();
        let mut rows = 0;
        read_table(tables.path(), "udp", PortProtocol::Udp, &mut |_| rows += 1).unwrap();
        assert_eq!(rows, MAX_ROWS);
        assert!(read_table(tables.path(), "udp6", PortProtocol::Udp, &mut |_| {}).is_ok());
        let error = read_table(tables.path(), "tcp", PortProtocol::Tcp, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("tcp`"), "{error}");
    }
}
