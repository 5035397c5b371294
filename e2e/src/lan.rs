//! A host with an internet of its own: two network namespaces that a test makes for itself, as any user
//! may.
//!
//! ```text
//!  host            198.51.100.2 ──── 198.51.100.1   internet, 203.0.113.9
//!  (banger, its users)                              (a web server)
//! ```

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Where the internet has a web server, at port 80.
pub const SERVER: &str = "203.0.113.9";
/// The host's own address.
pub const HOST: &str = "198.51.100.2";

/// The two namespaces; they end with what lives in them when this is dropped.
#[derive(Debug)]
pub struct Lan {
    host: Child,
    internet: Child,
    servers: Vec<Child>,
}

impl Lan {
    /// Makes them.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let host = start(Command::new("unshare").args(["--user", "--map-root-user", "--net"]));
        let mut enter = Command::new("nsenter");
        enter.args(["--preserve-credentials", "-U", "-t", &host.id().to_string()]);
        let internet = start(enter.args(["unshare", "--net"]));
        let lan = Self { host, internet, servers: Vec::new() };
        let peer = lan.internet.id().to_string();
        let set_up = |child: &Child, steps: &[&str]| {
            for step in steps {
                let done = inside(child, "ip").args(step.split(' ')).status().expect("ip");
                assert!(done.success(), "ip {step}");
            }
        };
        set_up(
            &lan.host,
            &[
                "link set lo up",
                &format!("link add out type veth peer name in netns {peer}"),
                "addr add 198.51.100.2/24 dev out",
                "link set out up",
                "route add default via 198.51.100.1",
            ],
        );
        set_up(
            &lan.internet,
            &[
                "link set lo up",
                "addr add 203.0.113.9/32 dev lo",
                "addr add 198.51.100.1/24 dev in",
                "link set in up",
            ],
        );
        lan
    }

    /// `command`, to be run on the host.
    #[must_use]
    pub fn on_host(&self, command: &Command) -> Command {
        let mut entered = inside(&self.host, command.get_program());
        entered.args(command.get_args());
        entered.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        entered.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
        entered
    }

    /// Serves `text` over HTTP on the internet, at port 80 of [`SERVER`].
    ///
    /// # Panics
    /// When that cannot be.
    pub fn serve_internet(&mut self, text: &str) {
        let server = serve(inside(&self.internet, "python3"), SERVER, 80, text);
        self.servers.push(server);
    }

    /// Serves `text` over HTTP on the host, at `port` of `address`.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn serve_host(&mut self, address: &str, port: u16, text: &str) {
        let server = serve(inside(&self.host, "python3"), address, port, text);
        self.servers.push(server);
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain([&mut self.internet, &mut self.host]) {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a process that does nothing in the namespaces that `unshare` makes.
fn start(unshare: &mut Command) -> Child {
    let mut child = unshare
        .args(["sh", "-c", "echo; exec sleep infinity"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    await_line(child.stdout.as_mut().expect("piped"));
    child
}

/// A program to be run where `child` is.
fn inside(child: &Child, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--preserve-credentials", "-U", "-n", "-t", &child.id().to_string(), "--"]);
    command.arg(program);
    command
}

fn serve(mut python: Command, address: &str, port: u16, text: &str) -> Child {
    let script = "
import sys, http.server as h
class Page(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(sys.argv[3].encode())
    def log_message(self, *_): pass
server = h.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Page)
print(flush=True)
server.serve_forever()";
    python.args(["-c", script, address, &port.to_string(), text]);
    let mut child = python.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
    await_line(child.stdout.as_mut().expect("piped"));
    child
}

fn await_line(stdout: &mut ChildStdout) {
    let mut line = String::new();
    BufReader::new(stdout.take(1)).read_line(&mut line).expect("a line");
    assert_eq!(line, "\n", "it did not start");
}
