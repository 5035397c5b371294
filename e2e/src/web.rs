//! A web server for one directory, which is all that a host of bundles is.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};

/// A server on a loopback port. It lives as long as the program of the test.
#[derive(Debug)]
pub struct WebServer {
    address: String,
}

impl WebServer {
    /// Serves the files in `dir`, as they are when they are asked for.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let dir = dir.to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let dir = dir.clone();
                // A client that goes away is its own affair.
                std::thread::spawn(move || drop(answer(&connection, &dir)));
            }
        });
        Self { address }
    }

    /// The address of the file `name`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

/// Answers one request, and ends the connection: ranges and everything else are ignored, as some
/// servers do.
fn answer(connection: &TcpStream, dir: &Path) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(connection);
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let mut words = request.split_whitespace();
    let method = words.next().unwrap_or_default();
    let file = words.next().and_then(|path| find(dir, path)).and_then(|path| fs::read(path).ok());
    let (status, body) = match file {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let mut to = connection;
    write!(to, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if method == "HEAD" { Ok(()) } else { to.write_all(&body) }
}

/// The file that a request's path names: beneath the directory.
fn find(dir: &Path, path: &str) -> Option<PathBuf> {
    let name = Path::new(path.strip_prefix('/')?);
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| dir.join(name))
}
