//! A guest whose VMM and network somebody else has made: over a guest link on standard input, configures
//! it with a card, says so, and runs one shell command for each line of the file that is its third argument,
//! which may be a pipe, until its end.

#[path = "../guest.rs"]
mod guest;
#[path = "../inherited.rs"]
mod inherited;

use std::io::{BufRead, BufReader, Write};

use banger_proto::guest::GuestNetwork;
use guest::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: peer MAGIC NETWORK COMMANDS < link");
    let magic = next()?.parse()?;
    let network: GuestNetwork = serde_json::from_str(&next()?)?;
    let commands = std::fs::File::open(next()?)?;
    let session = guest::configure(inherited::link()?, magic, Some(network)).await?;
    // Whoever waits for an answer asks nothing meanwhile.
    for command in BufReader::new(commands).lines() {
        guest::run(&session, &["sh", "-c", &command?]).await?;
        println!("done");
        std::io::stdout().flush()?;
    }
    Ok(())
}
