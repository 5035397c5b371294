//! What the tests are made of: namespaces that the helper holds, a helper that serves in them, and
//! actors, which are processes that do what they are told in a network of their own.
//!
//! All of it ends with the value that stands for it, also when a test fails: the namespaces vanish with
//! their last process.

use std::io::{BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use banger_proto::helper::{GuestRules, KEEP, Reply, Request, Rules, tap_name};
use banger_proto::{MacAddress, Subnet, VmId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::IoSliceMut;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, send, socketpair, sockopt,
};
use serde_json::{Value, json};

pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_banger-helper");
/// What is waited for comes at once, or never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A child that ends with its value.
pub(crate) struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Namespaces, by the process that keeps them.
pub(crate) struct Namespaces {
    _holder: Process,
    pub(crate) pid: u32,
    pub(crate) said: Value,
}

impl Namespaces {
    pub(crate) fn new() -> Self {
        Self::hold(&[])
    }

    pub(crate) fn hold(arguments: &[String]) -> Self {
        let mut holder = Process(
            Command::new(HELPER)
                .arg("hold")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("helper"),
        );
        let mut noted = holder.0.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(holder.0.stdout.take().expect("a pipe"));
        let said = read_line(&mut lines);
        assert!(
            said["failed"].is_null(),
            "these tests need user namespaces, which this machine does not let its users make: {said}"
        );
        noted.write_all(KEEP).expect("the holder reads");
        let pid = said["pid"].to_string().parse().expect("a process id");
        Self { _holder: holder, pid, said }
    }

    /// What leads into them, through any process that is inside.
    pub(crate) fn entrance(&self, pid: u32) -> Vec<String> {
        let inode = |name: &str| self.said[name].to_string();
        vec![
            "--userns".to_owned(),
            format!("/proc/{pid}/ns/user"),
            "--userns-inode".to_owned(),
            inode("userns_inode"),
            "--netns".to_owned(),
            format!("/proc/{pid}/ns/net"),
            "--netns-inode".to_owned(),
            inode("netns_inode"),
        ]
    }

    /// A program inside, with all capabilities.
    pub(crate) fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--preserve-credentials", "-U", "-n", "-t", &self.pid.to_string(), "--"])
            .args(program);
        command
    }

    pub(crate) fn do_inside(&self, program: &str) -> Output {
        let words: Vec<&str> = program.split_whitespace().collect();
        let output = self.command(&words).output().expect("nsenter");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A witness: what a program inside prints as JSON.
    pub(crate) fn see(&self, program: &str) -> Value {
        let output = self.do_inside(program);
        if output.stdout.is_empty() {
            return json!([]);
        }
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The names of all interfaces.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = self.see("ip -j link");
        let mut names: Vec<String> = links
            .as_array()
            .expect("a list")
            .iter()
            .map(|link| link["ifname"].as_str().expect("a text").to_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn serve(&self) -> Helper {
        self.serve_through(self.pid)
    }

    pub(crate) fn serve_through(&self, pid: u32) -> Helper {
        let (ours, theirs) = sockets();
        let mut command = Command::new(HELPER);
        command.arg("serve").args(self.entrance(pid)).stdin(theirs).env_clear();
        Helper { process: Process(command.spawn().expect("helper")), socket: ours }
    }

    /// An actor in a network of its own, beside this one in the same user namespace.
    pub(crate) fn actor(&self) -> Actor {
        Actor::start(self.command(&[
            "unshare",
            "-n",
            "--",
            "python3",
            "-c",
            include_str!("actor.py"),
        ]))
    }

    /// An actor in this network, by the role that VMMs are started with.
    pub(crate) fn vmm(&self) -> Actor {
        let mut command = Command::new(HELPER);
        command.arg("run").args(self.entrance(self.pid));
        command.args(["--", "python3", "-c", include_str!("actor.py")]);
        Actor::start(command)
    }
}

impl Namespaces {
    /// An actor in this network who is user `number` of the machine, without any capability. Only root can
    /// make one.
    pub(crate) fn stranger(&self, number: u32) -> Actor {
        let (network, number) = (format!("--net=/proc/{}/ns/net", self.pid), number.to_string());
        let mut command = Command::new("nsenter");
        command.args([&network, "--", "setpriv", "--reuid", &number, "--clear-groups"]);
        command.args(["--inh-caps=-all", "/usr/bin/python3", "-c", include_str!("actor.py")]);
        Actor::start(command)
    }
}

/// The test's end of a connection, and the helper's.
pub(crate) fn sockets() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("sockets");
    for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&ours, timeout, Some(DEADLINE)).expect("a deadline");
    }
    (ours, theirs)
}

/// A helper that serves.
pub(crate) struct Helper {
    pub(crate) process: Process,
    pub(crate) socket: OwnedFd,
}

impl Helper {
    pub(crate) fn send(&self, packet: &[u8]) -> (Reply, Vec<OwnedFd>) {
        send(&self.socket, packet, SendFlags::NOSIGNAL).expect("send");
        self.receive()
    }

    pub(crate) fn receive(&self) -> (Reply, Vec<OwnedFd>) {
        let mut buffer = vec![0; banger_proto::helper::MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .expect("a reply");
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        (serde_json::from_slice(&buffer[..received.bytes]).expect("a reply"), descriptors)
    }

    pub(crate) fn ask(&self, request: &Request) -> (Reply, Vec<OwnedFd>) {
        self.send(&serde_json::to_vec(request).expect("JSON"))
    }

    /// What must succeed.
    pub(crate) fn done(&self, request: &Request) -> Vec<OwnedFd> {
        let (reply, descriptors) = self.ask(request);
        assert_eq!(reply, Reply::Done {}, "{request:?}");
        descriptors
    }

    /// What must fail: the reason and its causes, as one text.
    pub(crate) fn fails(&self, request: &Request) -> String {
        match self.ask(request) {
            (Reply::Failed { reason, causes }, descriptors) => {
                assert!(descriptors.is_empty());
                std::iter::once(reason).chain(causes).collect::<Vec<_>>().join(": ")
            }
            (reply, _) => panic!("{request:?}: {reply:?}"),
        }
    }

    pub(crate) fn observe(&self) -> banger_proto::helper::Observed {
        match self.ask(&Request::Observe {}).0 {
            Reply::Observed(observed) => observed,
            reply => panic!("{reply:?}"),
        }
    }
}

/// A process that does what it is told.
pub(crate) struct Actor {
    pub(crate) process: Process,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Actor {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an actor");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut actor = Self { process: Process(child), to, from };
        assert_eq!(read_line(&mut actor.from), json!({"ok": actor.pid()}));
        actor
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// A verb of `actor.py` with its arguments.
    pub(crate) fn ask(&mut self, words: Value) -> Value {
        writeln!(self.to, "{words}").expect("the actor lives");
        read_line(&mut self.from)
    }

    /// The result of what must succeed.
    pub(crate) fn does(&mut self, words: Value) -> Value {
        let mut answer = self.ask(words.clone());
        assert!(answer["error"].is_null(), "{words}: {answer}");
        answer["ok"].take()
    }

    /// The error of what must fail.
    pub(crate) fn fails(&mut self, words: Value) -> String {
        let answer = self.ask(words.clone());
        answer["error"].as_str().unwrap_or_else(|| panic!("{words}: {answer}")).to_owned()
    }

    pub(crate) fn sh(&mut self, line: &str) {
        let mut words = json!(["run"]);
        words.as_array_mut().expect("a list").extend(line.split_whitespace().map(Value::from));
        let done = self.does(words);
        assert_eq!(done[0], 0, "{line}: {done}");
    }
}

fn read_line(lines: &mut BufReader<ChildStdout>) -> Value {
    if lines.buffer().is_empty() {
        let timeout = Timespec::try_from(DEADLINE).expect("a deadline");
        let ready = {
            let out = lines.get_ref().as_fd();
            poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::IN)], Some(&timeout)).expect("poll")
        };
        assert_eq!(ready, 1, "the process says nothing");
    }
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

pub(crate) fn subnet() -> Subnet {
    "172.30.0.0/24".parse().expect("a network")
}

pub(crate) fn vm(number: u8) -> VmId {
    VmId::from_random([0x0a, 0, 0, 0, 0, number])
}

/// The rules of a guest that may reach nothing but other guests.
pub(crate) fn closed(number: u8) -> GuestRules {
    let address = subnet().guest(u32::from(number)).expect("an address");
    GuestRules { vm: vm(number), address, nat: false, host_ports: Vec::new() }
}

pub(crate) fn rules(guests: &[GuestRules]) -> Request {
    let host = banger_proto::helper::Network { address: [198, 51, 100, 2].into(), prefix: 32 };
    Request::ApplyRules(Rules {
        subnet: subnet(),
        host_addresses: vec![host],
        guests: guests.to_vec(),
    })
}

/// A network with guests, and an internet behind its uplink.
///
/// ```text
/// guest 1 eth0 ─── bt-… ┐
///                       ├ br-fc  (namespaces)  up0 ─── eth0 internet
/// guest 2 eth0 ─── bt-… ┘                                    203.0.113.7, 198.51.100.2 (the host's),
///                                                            169.254.169.254
/// ```
///
/// The guests' ends are pairs of virtual cards that are called as their taps would be.
pub(crate) struct World {
    // Ended in this order.
    pub(crate) guests: Vec<Actor>,
    pub(crate) internet: Actor,
    pub(crate) helper: Helper,
    pub(crate) namespaces: Namespaces,
}

impl World {
    pub(crate) fn new(guests: u8) -> Self {
        let namespaces = Namespaces::new();
        let helper = namespaces.serve();
        Self::around(namespaces, helper, guests)
    }

    /// The world of a helper that serves in these namespaces.
    pub(crate) fn around(namespaces: Namespaces, helper: Helper, guests: u8) -> Self {
        helper.done(&Request::EnsureBridge { subnet: subnet() });
        let mut internet = namespaces.actor();
        namespaces.do_inside(&format!(
            "ip link add up0 type veth peer name eth0 netns {}",
            internet.pid()
        ));
        namespaces.do_inside("ip address add 10.255.77.2/30 dev up0");
        namespaces.do_inside("ip link set up0 up");
        namespaces.do_inside("ip route add default via 10.255.77.1");
        for line in [
            "ip link set lo up",
            "ip address add 10.255.77.1/30 dev eth0",
            "ip address add 203.0.113.7/32 dev lo",
            "ip address add 198.51.100.2/32 dev lo",
            "ip address add 169.254.169.254/32 dev lo",
            "ip link set eth0 up",
        ] {
            internet.sh(line);
        }
        internet.does(json!(["serve_tcp", 80]));
        // Bound, so that answers come from where the question went.
        internet.does(json!(["serve_udp", 81, "203.0.113.7"]));
        let guests = (0..guests).map(|number| guest(&namespaces, number)).collect();
        Self { guests, internet, helper, namespaces }
    }
}

fn guest(namespaces: &Namespaces, number: u8) -> Actor {
    let mut actor = namespaces.actor();
    let (tap, rules) = (tap_name(&vm(number)), closed(number));
    let (mac, address, gateway) = (rules.mac(), rules.address, subnet().gateway());
    for line in [
        format!("ip link add {tap} type veth peer name eth0 address {mac} netns {}", actor.pid()),
        format!("ip link set {tap} master br-fc"),
        format!("ip link set {tap} type bridge_slave isolated on"),
        format!("ip link set {tap} up"),
    ] {
        namespaces.do_inside(&line);
    }
    for line in [
        "ip link set lo up".to_owned(),
        format!("ip address add {address}/24 dev eth0"),
        "ip link set eth0 up".to_owned(),
        format!("ip route add default via {gateway}"),
    ] {
        actor.sh(&line);
    }
    actor.does(json!(["serve_tcp", 9000]));
    actor.does(json!(["serve_udp", 9001]));
    actor
}

pub(crate) fn gateway_mac() -> MacAddress {
    MacAddress::of_gateway(subnet().gateway())
}
