//! The file server: version 3 of SFTP (draft-ietf-secsh-filexfer-02) with the extensions that
//! OpenSSH's clients use (its PROTOCOL §4), on one input and one output.
//!
//! ```text
//!   input ─▶ packet ─▶ request ─▶ answer ─▶ output       one after the other
//! ```
//!
//! It is meant for a process of its own that is the user, in the guest's root: paths are the
//! process's, and so are its rights. Names are bytes. It never holds more than one request.

mod attributes;
mod files;
mod handles;
mod listing;
mod protocol;
mod requests;

use std::io::{self, Read, Write};

use handles::Handles;

use crate::wire::Reader;

/// Longest request: a write of what clients write at once, with room to spare. OpenSSH's limit.
const REQUEST_LIMIT: u32 = 256 << 10;

/// Serves one client until it closes `input`.
///
/// # Errors
/// When either stream fails, or the client sends what is no request.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut handles = Handles::default();
    while let Some(request) = read_packet(&mut input)? {
        let answer = requests::answer(&mut handles, &mut Reader::new(&request))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let length = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        output.write_all(&[&length.to_be_bytes(), &answer[..]].concat())?;
        output.flush()?;
    }
    Ok(())
}

/// The next packet; none at the end of the input between two.
fn read_packet(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if !(1..=REQUEST_LIMIT).contains(&length) {
        let message = format!("a request of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut packet = Vec::new();
    input.take(length.into()).read_to_end(&mut packet)?;
    if packet.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(packet))
}
