//! What banger adds to a boot of Firecracker's: `banger vm run` to the first byte of its command, against the
//! bare API with the same kernel, initramfs and disks to the end of one command. The bare one has no network.
//! And ten copies of a VM that runs: `banger vm fork` to the end of a command in each.
//!
//! ```text
//!  firecracker measure IMAGE ROUNDS     here; JSON on standard output
//!  firecracker inside PROGRAM ROUNDS    in a host of its own with virtualisation, with this Firecracker
//! ```

#[path = "../guest.rs"]
mod guest;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use banger_e2e::SMALL;
use banger_e2e::host::Host;
use banger_link::Magic;
use guest::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Where this program is in a host of its own.
const INSIDE: &str = "/usr/local/bin/bench-firecracker";
/// Where the agent rings and is called (`crates/daemon/src/hypervisor/firecracker/config.rs`).
const PORT: u32 = 1023;
/// Copies that are made at once.
const COPIES: usize = 10;
/// Name of the VM that they are copies of.
const PARENT: &str = "parent";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", image, rounds] => measure(image, rounds.parse()?),
        ["inside", program, rounds] => {
            let host = Host::boot();
            host.copy(program.as_ref(), "/usr/local/bin/firecracker");
            host.copy(&std::env::current_exe()?, INSIDE);
            let measured = host.user(&format!("{INSIDE} measure {SMALL} {rounds}"));
            print!("{}", measured.expect_code(0).stdout);
            Ok(())
        }
        _ => Err("usage: firecracker measure IMAGE ROUNDS | inside PROGRAM ROUNDS".into()),
    }
}

/// Takes both in turn, then the copies, and prints the seconds of each.
fn measure(image: &str, rounds: usize) -> Result<()> {
    let model = Model::look(image)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut pairs = Vec::new();
    // The first of each finds nothing in the page cache.
    for round in 0..=rounds {
        let mut taken = [0.0; 2];
        for kind in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            taken[kind] = match kind {
                0 => first_byte(image)?,
                _ => runtime.block_on(model.boot())?,
            };
        }
        if round > 0 {
            pairs.push(json!({ "banger": taken[0], "bare": taken[1] }));
        }
    }
    let parent = ["--wait", "system", "--name", PARENT, "--image", image];
    banger(&[&["vm", "create", "--cold"], &parent[..]].concat())?;
    let copies = (0..rounds).map(|_| copy()).collect::<Result<Vec<_>>>()?;
    banger(&["vm", "delete", "--force", PARENT])?;
    println!("{}", json!({ "pairs": pairs, "copies": copies }));
    Ok(())
}

/// Seconds from the start of `vm fork` to the end of a command in each of the copies.
fn copy() -> Result<f64> {
    let names: Vec<String> = (1..=COPIES).map(|copy| format!("{PARENT}-{copy}")).collect();
    let begin = Instant::now();
    banger(&["vm", "fork", "-n", &COPIES.to_string(), PARENT])?;
    let answers: Vec<bool> = thread::scope(|scope| {
        let ask = |name| move || banger(&["vm", "exec", name, "--", "echo", "here"]).is_ok();
        let asked: Vec<_> = names.iter().map(|name| scope.spawn(ask(name))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap_or_default()).collect()
    });
    let taken = begin.elapsed();
    if answers.contains(&false) {
        return Err("a copy did not do its work".into());
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    banger(&[&["vm", "delete", "--force"], &all[..]].concat())?;
    Ok(taken.as_secs_f64())
}

fn banger(arguments: &[&str]) -> Result<String> {
    let done = Command::new("banger").args(arguments).stderr(Stdio::inherit()).output()?;
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout)?),
        false => Err(format!("banger {arguments:?}: {}", done.status).into()),
    }
}

/// Seconds from the start of `vm run` to what its command says.
fn first_byte(image: &str) -> Result<f64> {
    let begin = Instant::now();
    let words =
        ["vm", "run", "--cold", "--name", "measured", "--image", image, "--", "echo", "here"];
    let mut run = Command::new("banger").args(words).stdout(Stdio::piped()).spawn()?;
    let mut said = [0];
    run.stdout.take().ok_or("piped")?.read_exact(&mut said)?;
    let taken = begin.elapsed();
    run.wait()?;
    banger(&["vm", "delete", "--force", "measured"])?;
    Ok(taken.as_secs_f64())
}

/// What a VM of banger's is made of.
struct Model {
    config: Value,
    magic: Magic,
    base: PathBuf,
    /// A disk as a new VM has it.
    fresh: PathBuf,
}

impl Model {
    /// Makes VMs to look at; the one whose disk is used stays.
    fn look(image: &str) -> Result<Self> {
        let place = |name: &str| -> Result<String> {
            let shown: Value = serde_json::from_str(&banger(&["vm", "show", "--json", name])?)?;
            if shown["backend"]["vmm"] != "firecracker" {
                return Err(format!("VM `{name}` is not Firecracker's").into());
            }
            Ok(shown["id"].as_str().ok_or("an id")?.to_owned())
        };
        let read =
            |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
        banger(&["vm", "create", "--cold", "--name", "model", "--image", image])?;
        let runtime = PathBuf::from(std::env::var("XDG_RUNTIME_DIR")?).join("banger/vms");
        let runtime = runtime.join(place("model")?);
        let config = read(runtime.join("firecracker.json"))?;
        let magic = read(runtime.join("launch.json"))?;
        let magic = magic["link_magic"].as_str().ok_or("a magic")?.parse()?;
        let base = fs::read_link(runtime.join("disk0"))?;
        banger(&["vm", "delete", "--force", "model"])?;

        banger(&["vm", "create", "--no-start", "--name", "fresh", "--image", image])?;
        let state = match std::env::var("XDG_STATE_HOME") {
            Ok(state) => PathBuf::from(state),
            Err(_) => PathBuf::from(std::env::var("HOME")?).join(".local/state"),
        };
        let shown: Value = serde_json::from_str(&banger(&["vm", "show", "--json", "fresh"])?)?;
        let id = shown["id"].as_str().ok_or("an id")?;
        let fresh = state.join("banger/vms").join(id).join("writable.ext4");
        Ok(Self { config, magic, base, fresh })
    }

    /// Seconds from the start of Firecracker to the end of a command in its guest.
    async fn boot(&self) -> Result<f64> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        symlink(&self.base, at("disk0"))?;
        let mut copy = Command::new("cp");
        if !copy.arg("--sparse=always").arg(&self.fresh).arg(at("disk1")).status()?.success() {
            return Err("cannot copy a disk".into());
        }
        let bell = UnixListener::bind(at(&format!("v.sock_{PORT}")))?;
        let begin = Instant::now();
        let firecracker = Command::new("firecracker")
            .args(["--api-sock", "api.sock", "--level", "Error"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let _firecracker = Killed(firecracker);
        let api = Api { socket: at("api.sock") };
        let part = |name: &str| self.config[name].clone();
        api.put("/machine-config", &part("machine-config")).await?;
        api.put("/boot-source", &part("boot-source")).await?;
        for drive in self.config["drives"].as_array().ok_or("drives")? {
            let id = drive["drive_id"].as_str().ok_or("a name")?;
            api.put(&format!("/drives/{id}"), drive).await?;
        }
        api.put("/entropy", &json!({})).await?;
        api.put("/vsock", &json!({ "guest_cid": 3, "uds_path": "v.sock" })).await?;
        api.put("/actions", &json!({ "action_type": "InstanceStart" })).await?;
        // The agent rings once it listens.
        drop(bell.accept().await?);
        let mut link = UnixStream::connect(at("v.sock")).await?;
        link.write_all(format!("CONNECT {PORT}\n").as_bytes()).await?;
        while link.read_u8().await? != b'\n' {}
        let session = guest::configure(link, self.magic, None).await?;
        guest::run(&session, &["echo", "here"]).await?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// A process that ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The least of Firecracker's API.
struct Api {
    socket: PathBuf,
}

impl Api {
    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let mut stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                // It is about to listen.
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
