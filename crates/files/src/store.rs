//! What files need of a store: the seam behind which the cluster is, or a test.
//!
//! *Read* and *swap* are about what holds now; *places* are where copies of a key should be, and what one of them has may
//! be old or nothing.

use chordata_client::Failure as ClientFailure;
use chordata_protocol::{Address, Key, Value, Version};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::failure::Failure;
use crate::manifest::Hash;

/// An answer that will come.
pub type Doing<T> = BoxFuture<'static, Result<T, Failure>>;
/// Answers that will come.
pub type Listing<T> = BoxStream<'static, Result<T, Failure>>;

/// What a compare-and-swap did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swap {
    /// It is done.
    Done,
    /// The key has another version: nothing was changed.
    Conflict,
    /// Nobody knows: look.
    Unknown(ClientFailure),
}

/// What a node has under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copied {
    /// Nothing.
    Nothing,
    /// So many bytes, with a BLAKE3 that begins so.
    Value {
        /// Bytes.
        bytes: u64,
        /// The hash's beginning.
        hash: [u8; 16],
    },
    /// Something that it cannot read.
    Damaged,
}

impl Copied {
    /// Is it so many bytes with that hash?
    pub fn is(&self, wanted: &Hash, length: usize) -> bool {
        matches!(self, Copied::Value { bytes, hash } if *bytes == length as u64 && hash[..] == wanted.0[..16])
    }
}

/// How sure a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surety {
    /// What was written last; in eventual mode the newest that any replica that answers has.
    Newest,
    /// The same; in eventual mode all replicas must answer.
    Certain,
}

/// Keys and values, with what a cluster can do with them.
pub trait Store: Send + Sync {
    /// Does it compare and swap? If not, the last writer wins.
    fn swaps(&self) -> bool;

    /// What holds under a key.
    fn read(&self, key: Key, surety: Surety) -> Doing<Option<(Value, Version)>>;

    /// Stores a value, whatever was there; tried for a while.
    fn write(&self, key: Key, value: Value) -> Doing<()>;

    /// Stores a value (none: removes it) only if the key has that version (none: is absent).
    fn swap(&self, key: Key, expected: Option<Version>, value: Option<Value>) -> Doing<Swap>;

    /// Removes a key, if it is there.
    fn remove(&self, key: Key) -> Doing<()>;

    /// Who should have a copy of a key, as far as is known. `fresh`: what was known did not hold.
    fn places(&self, key: Key, fresh: bool) -> Doing<Vec<Address>>;

    /// What one node has under a key.
    fn read_at(&self, place: Address, key: Key) -> Doing<Option<Value>>;

    /// The same without the value.
    fn look_at(&self, place: Address, key: Key) -> Doing<Copied>;

    /// Keys that begin so, of the whole cluster, in no order; those that are there all the time once each.
    fn scan(&self, prefix: Vec<u8>, values: bool) -> Listing<(Key, Option<Value>)>;

    /// All that one node has, copies for others too.
    fn held_at(&self, place: Address) -> Listing<(Key, Copied)>;
}
