//! `chordata shell`: commands one after another, against one cluster.
//!
//! ```text
//! classic   what a line means: the short words that users of a ring know, and every data and look command of the driver
//! session   which cluster and which node are meant, and carrying a line out
//! overlay   the ring in one line per node, in the order of the ring
//! editor    the terminal: prompt, history, completion
//! ```
//!
//! A line is split into words as in input files: blanks separate, `"..."` and `'...'` hold together, `#` begins a comment.
//! What a word stands for is then the command line's business: the shell has no way of its own to read or write.

pub(crate) mod classic;
pub(crate) mod editor;
mod overlay;
pub(crate) mod session;
