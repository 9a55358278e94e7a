//! The load generator of experiments: a [`Job`] in, a [`Measured`] out, both as JSON if need be.
//!
//! ```text
//! job       what to do: through which nodes, which keys or requests, how many at once, how long
//! source    which request comes next
//! run       one thread, a worker per request in flight; every worker has one request under way at a time
//!   http      the classic routes over connections that stay open, with as little work as can be
//!   rpc       the client library, with the entry node as its only way in
//! stale     which answers are older than what had been acknowledged
//! latency   how long requests took, as a histogram
//! measured  what came of it
//! facts     on what machine
//! ```
//!
//! # What is measured
//! A closed loop: a worker sends its next request when the one before is answered. The time of a request runs from the
//! moment before it is written until its whole answer is there. Connections are open before the clock starts.
//! Where two cores are shared with ten servers, whatever the generator uses is missing there: hence one thread, no
//! parsing beyond what tells answers apart, and its own CPU time in the result.
//!
//! Failures never end a run: they are counted, the first of them as sentences.

pub mod facts;
mod http;
pub mod job;
pub mod latency;
pub mod measured;
mod rpc;
mod run;
mod source;
pub mod stale;

pub use facts::Facts;
pub use job::{Job, JobError};
pub use latency::Latency;
pub use measured::Measured;
pub use run::run;
