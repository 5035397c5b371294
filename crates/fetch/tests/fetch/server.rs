//! A web server whose every byte a test decides on, so that it can misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a client asks.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The first byte of the range that is asked for.
    pub(crate) fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the client gets.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// After the cut nothing comes instead, until the client goes away.
    pub(crate) hang: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, hang: false }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// All of `content`, or the range that is asked for.
    pub(crate) fn content(request: &Request, content: &[u8]) -> Self {
        match request.offset() {
            Some(offset) if offset >= content.len() => Self::new(416, ""),
            Some(offset) => {
                let (last, total) = (content.len() - 1, content.len());
                let range = format!("bytes {offset}-{last}/{total}");
                Self::new(206, &content[offset..]).header("Content-Range", range)
            }
            None => Self::new(200, content),
        }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port of this host; gone when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    sent: Arc<watch::Sender<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// With TLS, where `tls` is given.
    pub(crate) async fn start_with(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, sent) = (Arc::default(), Arc::new(watch::Sender::new(0)));
        let handler: Arc<Handler> = Arc::new(handler);
        let task = tokio::spawn({
            let (seen, sent) = (Arc::clone(&seen), Arc::clone(&sent));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (seen, sent) = (Arc::clone(&seen), Arc::clone(&sent));
                    let (handler, tls) = (Arc::clone(&handler), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, &*handler, &seen, &sent).await,
                            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => serve(stream, &*handler, &seen, &sent).await,
                                Err(_) => None,
                            },
                        }
                    });
                }
            }
        });
        Self { address, seen, sent, task }
    }

    /// The requests so far whose path contains `part`.
    pub(crate) fn seen(&self, part: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| request.path.contains(part)).cloned().collect()
    }

    /// How many bytes of bodies were sent.
    pub(crate) fn sent(&self) -> usize {
        *self.sent.borrow()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// One request; a client that goes away is none of the test's business.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
    sent: &watch::Sender<usize>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    seen.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    let named = |name: &str| reply.headers.iter().any(|(header, _)| header == name);
    if !named("Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len());
        for piece in reply.body[..end].chunks(64 << 10) {
            stream.write_all(piece).await.ok()?;
            sent.send_modify(|sent| *sent += piece.len());
        }
    }
    stream.flush().await.ok()?;
    if reply.hang {
        let _ = stream.read_u8().await;
    }
    stream.shutdown().await.ok()
}

/// None for what is not HTTP: a client that tries TLS.
async fn read_request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    if !stream.fill_buf().await.ok()?.first()?.is_ascii_uppercase() {
        return None;
    }
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut request = Request { method, path, headers, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

/// A proxy that connects whoever asks for `host:port` to `target`, and keeps what it was asked.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let requests = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let request = read_request(&mut stream).await?;
                    requests.lock().unwrap().push(request);
                    let mut onward = TcpStream::connect(target).await.ok()?;
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                    tokio::io::copy_bidirectional(&mut stream, &mut onward).await.ok()
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}
