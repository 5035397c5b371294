//! Standard input as the body of a request.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::{Body, CHUNK};
use crate::stdin::Input;

/// The body that `input` gives, to its end. A read that fails breaks the request off.
pub(super) fn body(input: Input) -> Body {
    let chunks =
        stream::unfold((input, vec![0; CHUNK]), async |(mut input, mut buffer)| {
            match input.read(&mut buffer).await {
                Ok(0) => None,
                Ok(count) => {
                    let chunk = Bytes::copy_from_slice(&buffer[..count]);
                    Some((Ok(Frame::data(chunk)), (input, buffer)))
                }
                Err(error) => Some((Err(error), (input, buffer))),
            }
        });
    StreamBody::new(chunks).boxed_unsync()
}
