//! Measurements of Chordata: ratios to what stands beside it in the same run, and counts that theory predicts.
//!
//! ```text
//! cargo run --release -p chordata-bench -- rpc       requests a second, beside a bare tarpc service
//! cargo run --release -p chordata-bench -- fingers   hops of lookups on 64 nodes; refreshes that meet each other
//! cargo run --release -p chordata-bench -- files     a large file in and out, beside `cp`
//! cargo run --release -p chordata-bench -- storage   storage engines on our own pattern
//! cargo run --release -p chordata-bench -- chain     what chains cost writes, what they give reads
//! cargo run --release -p chordata-bench -- stall     how long requests stand still when a server is killed
//! cargo run --release -p chordata-bench -- memory    bytes a key, beside Redis
//! cargo run --release -p chordata-bench -- load      `chordata load` of a table, beside put_many from memory
//! ```
//!
//! [`throughput`] drives load ([`load`]) at servers in processes of their own ([`process`]): one node of Chordata,
//! exactly as `chordata-server` runs it, and the least that tarpc needs ([`bare`]). Absolute figures drift from run to
//! run on shared machines, so the two take turns and what counts is their ratio.
//!
//! [`fingers`] counts hops and calls on a ring whose nodes are all in this process ([`ring`]), talking over loopback.
//! Counts do not depend on the machine: they have bounds, and a figure outside its bound is a failure. A small version
//! of it is a test.
//!
//! [`storage`] compares storage engines: what the choice of ours rests on.
//!
//! [`chain`], [`stall`] and [`memory`] measure chains on servers in processes of their own ([`cluster`]). Where two are
//! compared they take turns ([`contest`]).

pub mod bare;
pub mod bulk;
pub mod chain;
pub mod cluster;
pub mod contest;
pub mod files;
pub mod fingers;
pub mod load;
pub mod memory;
pub mod process;
pub mod ring;
pub mod split;
pub mod stall;
pub mod statistics;
pub mod storage;
pub mod throughput;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Look at what the server wrote.
    #[error("a server did not start: {0}")]
    Server(String),
    /// Look at the cluster: a measurement in which calls fail measures nothing.
    #[error("a call failed: {0}")]
    Call(String),
    /// Something that must end did not.
    #[error("not within {seconds} s: {what}")]
    TimedOut {
        /// What should have happened.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

impl BenchError {
    fn server(error: impl std::fmt::Display) -> BenchError {
        BenchError::Server(error.to_string())
    }

    fn call(error: impl std::fmt::Display) -> BenchError {
        BenchError::Call(error.to_string())
    }
}
