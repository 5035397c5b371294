//! What banger adds to a boot of Firecracker's: `banger vm run` to the first byte of its command, against the
//! bare API with the same kernel, initramfs, disks and other devices to the end of one command (`bare.rs`).
//! And ten copies of a VM that runs: `banger vm fork` to the end of a command in each.
//!
//! A guest boots a good fifth faster here when its memory lies at an address that lets KVM have large pages for it,
//! which a host's kernel may leave to chance. In a Firecracker that is linked with glibc it depends on which of its
//! threads allocates first, since each has an arena, and the two sides differ by that. Such a one is to be built
//! with a single arena (`M_ARENA_MAX` of mallopt(3)); musl, of the releases, has none per thread.
//!
//! ```text
//!  firecracker measure IMAGE ROUNDS     here; JSON on standard output
//!  firecracker inside PROGRAM ROUNDS    in a host of its own with virtualisation, with this Firecracker
//! ```

#[path = "../guest.rs"]
mod guest;

mod bare;

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use banger_e2e::SMALL;
use banger_e2e::host::Host;
use bare::{Devices, Model};
use guest::Result;
use serde_json::json;

/// Where this program is in a host of its own.
const INSIDE: &str = "/usr/local/bin/bench-firecracker";
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

/// Takes all in turn, then the copies, and prints the seconds of each.
fn measure(image: &str, rounds: usize) -> Result<()> {
    let model = Model::look(image)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut boots = Vec::new();
    // The first of each finds nothing in the page cache.
    for round in 0..=rounds {
        let mut taken = [0.0; 3];
        for turn in 0..taken.len() {
            let kind = (round + turn) % taken.len();
            taken[kind] = match kind {
                0 => first_byte(image)?,
                1 => runtime.block_on(model.boot(Devices::Same))?,
                _ => runtime.block_on(model.boot(Devices::Fewest))?,
            };
        }
        if round > 0 {
            let [banger, bare, fewest] = taken;
            boots.push(json!({ "banger": banger, "bare": bare, "bare_fewest": fewest }));
        }
    }
    let parent = ["--wait", "system", "--name", PARENT, "--image", image];
    banger(&[&["vm", "create", "--cold"], &parent[..]].concat())?;
    let copies = (0..rounds).map(|_| copy()).collect::<Result<Vec<_>>>()?;
    banger(&["vm", "delete", "--force", PARENT])?;
    println!("{}", json!({ "boots": boots, "copies": copies }));
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

pub(crate) fn banger(arguments: &[&str]) -> Result<String> {
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
