//! Hosts: reaching them, by SSH or on this machine, and having things done there.
//!
//! ```text
//! station    a host that was reached: where the program and the node are, and what the agent there can do
//!   upload     the right program, in place only if it runs
//!   shell      programs with arguments, their input and output; no shell ever reads a string that was put together
//!     connect    an SSH session, or why there is none
//! forward    tunnels to the servers of hosts that show only their SSH port
//! parallel   the same work on many hosts, what each says while it works, and the recap
//! ```
//!
//! What is done on a host is done by the agent there ([`chordata_server::agent`]): the driver only brings the program
//! and asks. Every step is bounded in time, also against hosts that lose packets without a word.

pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod forward;
pub(crate) mod parallel;
pub(crate) mod shell;
pub(crate) mod station;
pub(crate) mod upload;
