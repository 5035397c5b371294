//! The guest's end of the link driven by hand.

use banger_link::Magic;
use banger_link::marker::{Marker, MarkerKind, Scanner};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) const MAGIC: Magic = Magic::from_bytes(MAGIC_BYTES);

pub(crate) const MAGIC_BYTES: [u8; 16] = *b"\x00\x00\x01not random\x00\xff\x00";

/// A guest's end driven by hand.
pub(crate) struct RawGuest<T> {
    pub(crate) io: T,
    scanner: Scanner,
}

impl<T: AsyncRead + AsyncWrite + Unpin> RawGuest<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, scanner: Scanner::new(MAGIC) }
    }

    pub(crate) async fn say(&mut self, kind: MarkerKind, nonce: [u8; 16]) {
        let bytes = Marker { kind, nonce, generation: 1 }.encode(MAGIC);
        self.io.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn expect(&mut self, kind: MarkerKind) -> [u8; 16] {
        loop {
            let byte = self.io.read_u8().await.unwrap();
            if let (_, Some(marker)) = self.scanner.next_marker(&[byte])
                && marker.kind == kind
            {
                return marker.nonce;
            }
        }
    }

    pub(crate) async fn shake_hands(&mut self) {
        let nonce = self.expect(MarkerKind::Hello).await;
        self.say(MarkerKind::Ack, nonce).await;
        let nonce = self.expect(MarkerKind::Start).await;
        self.say(MarkerKind::Started, nonce).await;
    }
}
