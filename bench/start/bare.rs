//! VMs by Firecracker's bare API: what banger has a VM made of, without banger.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use banger_link::Magic;
use banger_proto::guest::GuestNetwork;
use banger_proto::helper::OWN_MTU;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::banger;
use crate::guest::{self, Result};

/// Where the agent rings and is called (`crates/daemon/src/hypervisor/firecracker/config.rs`).
const PORT: u32 = 1023;
/// Far longer than Firecracker takes to listen for requests.
const LISTENS: Duration = Duration::from_secs(60);
/// A process that says when it is there and becomes Firecracker when it gets a line.
const START: &str =
    "echo && read -r line && exec firecracker --api-sock api.sock --level Error >/dev/null";
/// A tap for its guest, in a network of its own.
const TAP: &str = "ip tuntap add tap0 mode tap && ip link set tap0 up";
const OWN_NETWORK: [&str; 4] = ["unshare", "--user", "--map-root-user", "--net"];

/// What a VM has besides kernel, initramfs, disks and the link to its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    /// What banger gives it: a network card, which it uses, a balloon, a source of randomness.
    Same,
    /// A source of randomness.
    Fewest,
}

/// What a VM of banger's is made of.
pub(crate) struct Model {
    config: Value,
    network: GuestNetwork,
    magic: Magic,
    base: PathBuf,
    /// A disk as a new VM has it.
    fresh: PathBuf,
}

impl Model {
    /// Makes VMs to look at; the one whose disk is used stays.
    pub(crate) fn look(image: &str) -> Result<Self> {
        let read =
            |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
        banger(&["vm", "create", "--cold", "--name", "model", "--image", image])?;
        let shown = show("model")?;
        if shown["backend"]["vmm"] != "firecracker" {
            return Err("VMs are not Firecracker's here".into());
        }
        let runtime = PathBuf::from(std::env::var("XDG_RUNTIME_DIR")?).join("banger/vms");
        let runtime = runtime.join(shown["id"].as_str().ok_or("an id")?);
        let config = read(runtime.join("firecracker.json"))?;
        let magic = read(runtime.join("launch.json"))?;
        let magic = magic["link_magic"].as_str().ok_or("a magic")?.parse()?;
        let network = GuestNetwork {
            mac: serde_json::from_value(config["network-interfaces"][0]["guest_mac"].clone())?,
            address: [172, 30, 0, 2].into(),
            prefix: 24,
            gateway: [172, 30, 0, 1].into(),
            resolver: [172, 30, 0, 1].into(),
            search: "vm".into(),
            mtu: OWN_MTU,
        };
        let base = fs::read_link(runtime.join("disk0"))?;
        banger(&["vm", "delete", "--force", "model"])?;

        banger(&["vm", "create", "--no-start", "--name", "fresh", "--image", image])?;
        let state = match std::env::var("XDG_STATE_HOME") {
            Ok(state) => PathBuf::from(state),
            Err(_) => PathBuf::from(std::env::var("HOME")?).join(".local/state"),
        };
        let shown = show("fresh")?;
        let id = shown["id"].as_str().ok_or("an id")?;
        let fresh = state.join("banger/vms").join(id).join("writable.ext4");
        Ok(Self { config, network, magic, base, fresh })
    }

    /// Seconds from the start of Firecracker to the end of a command in its guest.
    pub(crate) async fn boot(&self, devices: Devices) -> Result<f64> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        symlink(&self.base, at("disk0"))?;
        let mut copy = Command::new("cp");
        if !copy.arg("--sparse=always").arg(&self.fresh).arg(at("disk1")).status()?.success() {
            return Err("cannot copy a disk".into());
        }
        let bell = UnixListener::bind(at(&format!("v.sock_{PORT}")))?;
        let mut prepared = Prepared::new(dir.path(), devices)?;
        let begin = Instant::now();
        prepared.start()?;
        let api = Api { socket: at("api.sock") };
        let part = |name: &str| self.config[name].clone();
        api.put("/machine-config", &part("machine-config")).await?;
        api.put("/boot-source", &part("boot-source")).await?;
        for drive in self.config["drives"].as_array().ok_or("drives")? {
            let id = drive["drive_id"].as_str().ok_or("a name")?;
            api.put(&format!("/drives/{id}"), drive).await?;
        }
        if devices == Devices::Same {
            let card = json!({
                "iface_id": "net", "host_dev_name": "tap0", "guest_mac": self.network.mac,
            });
            api.put("/network-interfaces/net", &card).await?;
            api.put("/balloon", &part("balloon")).await?;
        }
        api.put("/entropy", &json!({})).await?;
        api.put("/vsock", &json!({ "guest_cid": 3, "uds_path": "v.sock" })).await?;
        api.put("/actions", &json!({ "action_type": "InstanceStart" })).await?;
        let network = (devices == Devices::Same).then(|| self.network.clone());
        // The agent rings once it listens.
        drop(bell.accept().await?);
        let mut link = UnixStream::connect(at("v.sock")).await?;
        link.write_all(format!("CONNECT {PORT}\n").as_bytes()).await?;
        while link.read_u8().await? != b'\n' {}
        let session = guest::configure(link, self.magic, network).await?;
        guest::run(&session, &["echo", "here"]).await?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

fn show(name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&banger(&["vm", "show", "--json", name])?)?)
}

/// Firecracker as it is about to start. It ends with its owner.
struct Prepared {
    process: Child,
    input: ChildStdin,
}

impl Prepared {
    /// In the directory with its disks.
    fn new(directory: &Path, devices: Devices) -> Result<Self> {
        let script = match devices {
            Devices::Same => format!("{TAP} && {START}"),
            Devices::Fewest => START.to_owned(),
        };
        let own: &[&str] = if devices == Devices::Same { &OWN_NETWORK } else { &[] };
        let words = [own, &["sh", "-c", &script]].concat();
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = process.stdin.take().ok_or("piped")?;
        let mut output = BufReader::new(process.stdout.take().ok_or("piped")?);
        let prepared = Self { process, input };
        match output.read_line(&mut String::new())? {
            0 => Err("there is no network to start Firecracker in".into()),
            _ => Ok(prepared),
        }
    }

    fn start(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"\n")?)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The least of Firecracker's API.
struct Api {
    socket: PathBuf,
}

impl Api {
    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let since = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(error) if since.elapsed() > LISTENS => return Err(error.into()),
                // It is about to listen, and nothing tells when.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let head = format!(
            "PUT {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        match answer.starts_with("HTTP/1.1 204") {
            true => Ok(()),
            false => Err(format!("PUT {path}: {answer}").into()),
        }
    }
}
