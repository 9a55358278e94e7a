//! From a stream of bytes to a stream of messages: postcard in length-delimited frames.
//!
//! A frame is four bytes of length (big-endian) and that many bytes of postcard, at most [`FRAME_BYTES_MAX`]. What
//! this file guarantees:
//!
//! - **Bytes from outside never panic.** A length above the limit, a message that ends early, bytes behind a message:
//!   all are errors, and end the connection (postcard does not describe itself: after an error nobody knows what the
//!   next frame means). Tarpc adds the deadline of a request to the clock unchecked and would panic on a hostile one,
//!   so [`ServerCodec`] reads it itself and caps it first.
//! - **A message that is too long harms only its own call.** On the client tarpc hands the error to the caller as
//!   `RpcError::Send` and goes on with the connection; nothing was written. On the server an error would end the
//!   connection with all its calls, so [`ServerCodec`] answers in place of the long answer that it is too long.

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarpc::{ClientMessage, Request, Response, ServerError, context, trace};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_serde::{Deserializer, Serializer};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::server::DEADLINE_CEILING;

/// The longest message, in bytes: 1.25 MiB, so that the longest value (1 MiB) and key fit with room to spare.
pub const FRAME_BYTES_MAX: usize = 1_310_720;

/// What a connection reads and writes at once, in bytes: some hundred small messages.
const BUFFER_BYTES: usize = 32 * 1024;

/// A tarpc transport over a byte stream.
pub type Transport<S, Item, SinkItem, Codec> = tarpc::serde_transport::Transport<S, Item, SinkItem, Codec>;

/// The client's end of a connection, as a tarpc transport.
pub fn framed<S, Item, SinkItem>(stream: S) -> Transport<S, Item, SinkItem, Codec>
where
    S: AsyncRead + AsyncWrite,
    Item: DeserializeOwned,
    SinkItem: Serialize,
{
    tarpc::serde_transport::new(frames(stream), Codec::default())
}

/// The server's end of a connection, as a tarpc transport that lets no request have more than `deadline_max` left.
pub fn framed_server<S, Req, Resp>(
    stream: S,
    deadline_max: Duration,
) -> Transport<S, ClientMessage<Req>, Response<Resp>, ServerCodec>
where
    S: AsyncRead + AsyncWrite,
    Req: DeserializeOwned,
    Resp: Serialize,
{
    tarpc::serde_transport::new(frames(stream), ServerCodec::new(deadline_max))
}

fn frames<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
    Framed::with_capacity(stream, codec, BUFFER_BYTES)
}

/// The bytes of a message, without the length before them.
///
/// # Errors
/// When they would be more than [`FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Bytes> {
    Codec::default().encode(message)
}

/// The message of a frame.
///
/// # Errors
/// When the bytes are not exactly one message of this type.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    let (message, rest) = postcard::take_from_bytes(frame).map_err(invalid)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(invalid(format!("{} bytes behind the message", rest.len())))
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Postcard for `tokio_serde`, any types: the client's codec.
#[derive(Debug, Default)]
pub struct Codec {
    /// Messages are written here and split off: as long as they are short nothing is allocated per message.
    buffer: BytesMut,
}

impl Codec {
    fn encode<T: Serialize>(&mut self, message: &T) -> io::Result<Bytes> {
        let frame = Frame { buffer: &mut self.buffer };
        match postcard::serialize_with_flavor(message, frame) {
            Ok(()) => {
                let bytes = self.buffer.split().freeze();
                if bytes.len() > BUFFER_BYTES {
                    // Else the memory of the longest message would stay with the connection for ever.
                    self.buffer = BytesMut::new();
                }
                Ok(bytes)
            }
            Err(error) => {
                self.buffer = BytesMut::new();
                Err(match error {
                    postcard::Error::SerializeBufferFull => too_long(),
                    other => invalid(other),
                })
            }
        }
    }
}

impl Codec {
    /// An error in place of an answer. Tarpc writes the error's kind as a signed number and reads an unsigned one, which
    /// postcard encodes differently: a client would take every kind for another. So it is written by hand, as it is
    /// read; of the kinds only the two that this crate knows.
    fn encode_refusal(&mut self, request_id: u64, error: &ServerError) -> io::Result<Bytes> {
        let kind: u32 = match error.kind {
            io::ErrorKind::WouldBlock => 10,
            io::ErrorKind::InvalidData => 12,
            _ => 16,
        };
        self.encode(&(request_id, Err::<(), _>((kind, &error.detail))))
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the message is longer than a frame may be ({FRAME_BYTES_MAX} bytes)"),
    )
}

impl<T: Serialize> Serializer<T> for Codec {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &T) -> io::Result<Bytes> {
        self.get_mut().encode(message)
    }
}

impl<T: DeserializeOwned> Deserializer<T> for Codec {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, frame: &BytesMut) -> io::Result<T> {
        decode(frame)
    }
}

/// Where postcard writes: stops as soon as the message is longer than a frame.
struct Frame<'a> {
    buffer: &'a mut BytesMut,
}

impl postcard::ser_flavors::Flavor for Frame<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.buffer.len() + bytes.len() > FRAME_BYTES_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.buffer.len() >= FRAME_BYTES_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.buffer.put_u8(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The server's codec: postcard that caps deadlines on the way in and replaces answers too long on the way out.
#[derive(Debug)]
pub struct ServerCodec {
    codec: Codec,
    deadline_max: Duration,
    /// Tarpc's context cannot be built from its parts outside tarpc: every request gets a copy of this one, filled.
    blank: context::Context,
}

impl ServerCodec {
    fn new(deadline_max: Duration) -> ServerCodec {
        let deadline_max = deadline_max.min(DEADLINE_CEILING);
        ServerCodec { codec: Codec::default(), deadline_max, blank: context::current() }
    }
}

impl<Resp: Serialize> Serializer<Response<Resp>> for ServerCodec {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, response: &Response<Resp>) -> io::Result<Bytes> {
        let codec = &mut self.get_mut().codec;
        let request_id = response.request_id;
        match &response.message {
            Ok(_) => codec.encode(response).or_else(|error| {
                let detail = format!("{error}: ask for less at once");
                codec.encode_refusal(request_id, &ServerError::new(io::ErrorKind::InvalidData, detail))
            }),
            Err(error) => codec.encode_refusal(request_id, error),
        }
    }
}

impl<Req: DeserializeOwned> Deserializer<ClientMessage<Req>> for ServerCodec {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, frame: &BytesMut) -> io::Result<ClientMessage<Req>> {
        Ok(match decode(frame)? {
            WireMessage::Request(WireRequest { context, id, message }) => {
                let mut filled = self.blank;
                filled.deadline = Instant::now() + context.deadline.min(self.deadline_max);
                filled.trace_context = context.trace_context;
                ClientMessage::Request(Request { context: filled, id, message })
            }
            WireMessage::Cancel { trace_context, request_id } => {
                ClientMessage::Cancel { trace_context, request_id }
            }
        })
    }
}

/// [`ClientMessage`] as it is on the wire: field by field the same (a test holds it), but the deadline is still the
/// length of time that the peer sent.
#[derive(Deserialize)]
enum WireMessage<T> {
    Request(WireRequest<T>),
    Cancel { trace_context: trace::Context, request_id: u64 },
}

#[derive(Deserialize)]
struct WireRequest<T> {
    context: WireContext,
    id: u64,
    message: T,
}

#[derive(Deserialize)]
struct WireContext {
    deadline: Duration,
    trace_context: trace::Context,
}

#[cfg(test)]
mod tests;
