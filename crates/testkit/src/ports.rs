//! What the agents of a world say of who listens. They would tell of all listeners of the test's host,
//! those of the daemon that is tested included; so they say what the test says.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use banger_agent::{Context, serve_stream};
use banger_link::framed::{FrameReader, FrameWriter, FramedError};
use banger_proto::guest::frame::Kind;
use banger_proto::guest::{ListenerProcess, PortChange, PortListener, PortProtocol, Service};
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, join, split};
use tokio::sync::watch;

/// The TCP ports that a guest listens at. Connections to them are the real agent's.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuestPorts(Arc<watch::Sender<BTreeSet<u16>>>);

impl GuestPorts {
    /// Says what the guest listens at from now on.
    pub(crate) fn set(&self, ports: BTreeSet<u16>) {
        self.0.send_replace(ports);
    }

    /// Serves one stream; ends with it. All but the question of who listens is the agent's.
    pub(crate) async fn serve(&self, context: Arc<Context>, host: DuplexStream) {
        let (mut from_host, to_host) = split(host);
        let Ok(Some(open)) = FrameReader::new(&mut from_host).next().await else { return };
        match open.parse::<Service>() {
            // A host that has gone away hears nothing any more.
            Ok(Service::Ports) => drop(self.tell(from_host, to_host).await),
            _ => {
                let mut bytes = Vec::new();
                if FrameWriter::new(&mut bytes).send(&open).await.is_ok() {
                    let agent = join(Cursor::new(bytes).chain(from_host), to_host);
                    serve_stream(context, agent).await;
                }
            }
        }
    }

    async fn tell(
        &self,
        mut from_host: ReadHalf<DuplexStream>,
        to_host: WriteHalf<DuplexStream>,
    ) -> Result<(), FramedError> {
        let (mut ports, mut told) = (self.0.subscribe(), BTreeSet::new());
        let mut to_host = FrameWriter::new(to_host);
        to_host.send_json(Kind::Accepted, &serde_json::json!({})).await?;
        let mut settled = false;
        loop {
            let open = ports.borrow_and_update().clone();
            for port in open.difference(&told) {
                to_host.send_json(Kind::Event, &PortChange::Opened(listener(*port))).await?;
            }
            for port in told.difference(&open) {
                to_host.send_json(Kind::Event, &PortChange::Closed(listener(*port))).await?;
            }
            told = open;
            if !std::mem::replace(&mut settled, true) {
                to_host.send_json(Kind::Event, &PortChange::Settled).await?;
            }
            let mut byte = [0];
            tokio::select! {
                // The sender is in `self`: it cannot be gone.
                _ = ports.changed() => {}
                _ = from_host.read(&mut byte) => return Ok(()),
            }
        }
    }
}

fn listener(port: u16) -> PortListener {
    let process = Some(ListenerProcess { pid: 7, name: "server".to_owned() });
    PortListener { protocol: PortProtocol::Tcp, address: [0, 0, 0, 0].into(), port, process }
}
