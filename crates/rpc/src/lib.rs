//! Remote calls between the parts of Chordata: from bytes to typed calls, in six layers.
//!
//! ```text
//! service      the tarpc traits, Chordata for clients and Ring for nodes, and their types; standby: one for processes;
//!              manager: one for a manager of named peers
//! pool         calls: finds or opens a connection, minds the deadline, says what a failure means      (client side)
//! server       calls: one task per connection, handlers inline, limits                                (server side)
//!   tarpc      pairs requests with answers on one connection, cancels, counts deadlines
//! codec        messages: postcard in frames of at most 1.25 MiB; hostile bytes are errors
//! preamble     admission: version, cluster, service, proof of the secret; then the stream is the codec's
//! net          byte streams: the seam below which TCP, SSH forwards, TLS and simulations are the same
//! ```
//!
//! # A call, from top to bottom
//!
//! `pool.ring(&address)` is a tarpc stub: `ask`, `read` and the others are methods of it. A call takes the next
//! connection of that peer. If there is none, [`net::Net::connect`] makes a byte stream, [`preamble::introduce`]
//! says who we are and hears who they are, and from there on the stream carries frames. The request waits in the
//! queue of the connection's dispatch task, is encoded ([`codec`]), and leaves together with what else waits. At the
//! server the connection's one task decodes it, cuts its deadline, runs the handler among all the others of that
//! connection, and writes the answer. The dispatch task gives it to the caller.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use chordata_protocol::{Address, Request, Response};
//! # use chordata_rpc::{CallFailure, Credentials, Pool, PoolSettings, TcpNet, within};
//! # async fn example() -> Result<(), CallFailure> {
//! let pool = Pool::new(Arc::new(TcpNet), Credentials::default(), PoolSettings::default());
//! let peer = Address::new("127.0.0.1:18861");
//! let pong = pool.ring(&peer).ask(within(Duration::from_millis(500)), Request::Ping).await?;
//! # let _: Response = pong;
//! # Ok(())
//! # }
//! ```
//!
//! # What a caller can rely on
//!
//! A call ends by its deadline. A call whose connection is lost ends at once. A call that failed says in its
//! [`CallFailure`] whether it was certainly not carried out: that is what retries and the three outcomes of a write
//! (done, not done, unknown) are built on. Tarpc does not tell it, so every request carries a flag that is set when
//! it is encoded for the network: what is not flagged when the connection has broken was not sent, and may be sent
//! again.
//!
//! # What a server can rely on
//!
//! Whoever makes a call has proved the cluster's secret, if there is one. No peer has more calls, connections or
//! time than the [`server::Limits`]; what is beyond is refused at once instead of queued. No bytes of a peer make it
//! panic: not a frame that claims to be too long, not a deadline in a billion years.
//!
//! # What is left out on purpose
//!
//! - Encryption: TLS will be a [`net::Net`]. Until then the secret keeps strangers out, but does not hide anything
//!   and does not stop who can change packets on the way.
//! - Streams of answers: a long answer is many calls, each with a limit, so that every queue stays bounded.
//! - Retries and routing: they need to know what a request means. The client library does.
//! - Several versions at a time: the preamble tells them apart, so that a later one can speak two.

pub mod codec;
mod connection;
pub mod credentials;
pub mod failure;
pub mod gate;
pub mod kind;
pub mod letter;
pub mod manager;
pub mod net;
pub mod pool;
pub mod preamble;
pub mod server;
pub mod service;
pub mod standby;

pub use credentials::{Credentials, Secret};
pub use failure::CallFailure;
pub use net::{Net, TcpNet};
pub use pool::{ChordataStub, InProcess, ManagerStub, Pool, PoolSettings, RingStub, StandbyStub, within};
pub use preamble::{PROTOCOL_VERSION, PreambleError};
pub use server::{Connections, DEADLINE_MAX, Handlers, Limits, Session, accept, serve};
