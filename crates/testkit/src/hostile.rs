//! An agent that lies about one service and is honest about the others.

use std::sync::Arc;

use banger_agent::{Context, serve_stream};
use banger_link::framed::{FrameReader, FrameWriter};
use banger_proto::guest::Service;
use banger_proto::guest::frame::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};

/// A service and what its callers get to hear.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// The service that is lied about, by its name on the wire.
    pub service: &'static str,
    /// The bytes of the answer, whatever they are.
    pub answer: Vec<u8>,
    /// What comes after it.
    pub then: Then,
}

/// What a hostile agent does after its answer.
#[derive(Debug, Clone)]
pub enum Then {
    /// It ends the stream.
    Ends,
    /// It says nothing and takes nothing, and keeps the stream open.
    Sleeps,
    /// It takes nothing and says this over and over.
    Floods(Vec<u8>),
    /// It takes everything and says nothing.
    Swallows,
}

impl Hostile {
    /// A service whose answer is this JSON in an `Accepted` frame.
    #[must_use]
    pub fn answering(service: &'static str, answer: &serde_json::Value, then: Then) -> Self {
        Self { service, answer: frame(Kind::Accepted, answer.to_string().as_bytes()), then }
    }

    /// Serves one stream; ends with it.
    pub(crate) async fn serve(&self, context: Arc<Context>, mut host: DuplexStream) {
        let Ok(Some(open)) = FrameReader::new(&mut host).next().await else { return };
        if open.parse::<Service>().is_ok_and(|service| service.name() == self.service) {
            // A host that has gone away has nothing to fear any more.
            let _ = self.lie(host).await;
            return;
        }
        let (mut near, agent) = duplex(64 << 10);
        let honest = async {
            FrameWriter::new(&mut near).send(&open).await.is_ok()
                && copy_bidirectional(&mut host, &mut near).await.is_ok()
        };
        tokio::join!(serve_stream(context, agent), honest);
    }

    async fn lie(&self, mut host: DuplexStream) -> std::io::Result<()> {
        host.write_all(&self.answer).await?;
        match &self.then {
            Then::Ends => Ok(()),
            Then::Sleeps => std::future::pending().await,
            Then::Floods(bytes) => loop {
                host.write_all(bytes).await?;
            },
            Then::Swallows => {
                let mut bytes = [0; 4096];
                while host.read(&mut bytes).await? > 0 {}
                Ok(())
            }
        }
    }
}

/// A frame with this payload, which need not be what its kind demands.
#[must_use]
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind as u8][..], &len.to_be_bytes(), payload].concat()
}
