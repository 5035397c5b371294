//! The least a host can do: over a guest link on standard input, say hello, configure the guest,
//! run `true` in it and end. The script beside this file starts the VMM and times the whole.

#[path = "../guest.rs"]
mod guest;
#[path = "../inherited.rs"]
mod inherited;

use guest::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let magic = std::env::args().nth(1).ok_or("usage: floor MAGIC < link")?.parse()?;
    let session = guest::configure(inherited::link()?, magic, None).await?;
    guest::run(&session, &["true"]).await
}
