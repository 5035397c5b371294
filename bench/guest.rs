//! What the floors of the benchmarks have in common: over a guest link, say hello, configure the guest, run
//! commands in it.

use std::error::Error;

use banger_link::framed::framed;
use banger_link::{Magic, Session, connect_host};
use banger_proto::GUEST_GENERATION;
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::guest::{
    ExecExit, ExecRequest, GuestConfig, GuestNetwork, Hello, InitChoice, Service,
};
use tokio::net::UnixStream;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The guest behind `link`, configured as little as it can be.
pub(crate) async fn configure(
    link: UnixStream,
    magic: Magic,
    network: Option<GuestNetwork>,
) -> Result<Session> {
    let session = connect_host(link, magic).await?;

    call(&session, &Service::Hello(Hello { generation: GUEST_GENERATION }), Kind::Accepted).await?;
    let config = GuestConfig {
        hostname: "floor".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        clock_unix_nanos: i64::try_from(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos(),
        )?,
        random_seed: "5a".repeat(64),
        env: [].into(),
        working_dir: None,
        service: None,
        extra_hosts: Vec::new(),
        ssh: None,
        network,
        init: InitChoice::Auto,
        base_serial: "base".into(),
        writable_serial: "writable".into(),
        modules_serial: None,
        rebuild: 0,
        previous_serial: None,
    };
    call(&session, &Service::Configure(Box::new(config)), Kind::Accepted).await?;
    Ok(session)
}

/// Runs a command to its end, which must be a good one.
pub(crate) async fn run(session: &Session, argv: &[&str]) -> Result<()> {
    let argv: Vec<String> = argv.iter().map(|&word| word.into()).collect();
    let command = ExecRequest { argv: argv.clone(), ..ExecRequest::default() };
    let exit = call(session, &Service::Exec(Box::new(command)), Kind::Exit).await?;
    match exit.parse::<ExecExit>()?.code {
        Some(0) => Ok(()),
        other => Err(format!("{argv:?} ended with {other:?}").into()),
    }
}

/// Opens a stream for `service` and reads to its first frame of kind `until`.
async fn call(session: &Session, service: &Service, until: Kind) -> Result<Frame> {
    let (mut reader, mut writer) = framed(session.open().await?);
    writer.send_json(Kind::Open, service).await?;
    while let Some(frame) = reader.next().await? {
        match frame.kind {
            kind if kind == until => return Ok(frame),
            Kind::Refused => return Err(String::from_utf8_lossy(&frame.payload).into()),
            _ => {}
        }
    }
    Err(format!("the stream for {} ended early", service.name()).into())
}
