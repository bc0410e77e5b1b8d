//! The bytes of a unary call: one message with its length before it.

use bytes::{BufMut, Bytes};
use prost::Message;
use shared::problem::Code;

use crate::error::{Error, Result};

/// The flag of compression, and the length.
const PREFIX: usize = 5;

/// The message in the body of a request.
pub fn message(body: &[u8]) -> Result<&[u8]> {
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX>() else {
        return Err(match body {
            [] => Error::new(Code::NotImplemented, "a call has one message, and this one has none"),
            _ => cut_off(),
        });
    };
    let [flag, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    match flag {
        0 => {}
        1 => {
            return Err(Error::new(
                Code::NotImplemented,
                "compressed messages are not supported; send them as they are",
            ));
        }
        _ => return Err(Error::new(Code::MalformedRequest, "the message has an unknown flag")),
    }
    match rest.len().cmp(&length) {
        std::cmp::Ordering::Equal => Ok(rest),
        std::cmp::Ordering::Less => Err(cut_off()),
        std::cmp::Ordering::Greater => {
            Err(Error::new(Code::NotImplemented, "a call has one message, and more than that was sent"))
        }
    }
}

fn cut_off() -> Error {
    Error::new(Code::MalformedRequest, "the message was cut off")
}

/// Decodes a message. prost bounds its depth; its size is that of the body.
pub fn decode<M: Message + Default>(message: &[u8]) -> Result<M> {
    M::decode(message)
        .map_err(|error| Error::new(Code::MalformedRequest, format!("the message cannot be read: {error}")))
}

/// The body of an answer.
pub fn encode(message: &impl Message) -> Result<Bytes> {
    let length = message.encoded_len();
    let mut body = Vec::with_capacity(PREFIX + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).map_err(Error::internal)?);
    message.encode(&mut body).map_err(Error::internal)?;
    Ok(body.into())
}
