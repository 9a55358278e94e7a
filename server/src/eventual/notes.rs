//! What eventual mode keeps in the engine beside keys: the clock's bound, the stores of the cluster, hints.
//!
//! They are notes of the engine, changed in the same batches as the keys that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use chordata_protocol::eventual::{Remembered, Stores};
use chordata_protocol::{Key, Peer, StoreId};
use chordata_store::{Change, Engine, StoreError};

const BOUND: &[u8] = b"eventual/bound";
const KNOWN: &[u8] = b"eventual/known/";
const FORGOTTEN: &[u8] = b"eventual/forgotten/";
const HINT: &[u8] = b"eventual/hint/";
const STORE_BYTES: usize = 16;

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("these types have no maps of unknown length and no failing fields")
}

fn of_store(prefix: &[u8], store: StoreId) -> Vec<u8> {
    [prefix, &store.0.to_be_bytes()].concat()
}

fn store_of(prefix: &[u8], name: &[u8]) -> Option<StoreId> {
    let bytes = name.strip_prefix(prefix)?.get(..STORE_BYTES)?;
    Some(StoreId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// The name of a hint.
pub(super) fn hint_name(store: StoreId, key: &Key) -> Vec<u8> {
    let mut name = of_store(HINT, store);
    name.extend(encode(key));
    name
}

/// No stamp is above it.
pub(super) fn bound(bound: u64) -> Change {
    Change::Note(BOUND.to_vec(), Some(encode(&bound)))
}

/// A store of the cluster, with where it was when it became known.
pub(super) fn known(store: StoreId, peer: Option<&Peer>) -> Change {
    Change::Note(of_store(KNOWN, store), Some(encode(&peer)))
}

/// A store that never comes back.
pub(super) fn forgotten(store: StoreId) -> Change {
    Change::Note(of_store(FORGOTTEN, store), Some(Vec::new()))
}

/// The keys that are hinted for a store.
///
/// # Errors
/// When a note is damaged, or the store has failed.
pub(super) fn hints(
    engine: &dyn Engine,
    store: StoreId,
    visit: &mut dyn FnMut(&Key) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let prefix = of_store(HINT, store);
    engine.notes(&prefix, None, &mut |name, _| match postcard::from_bytes::<Key>(&name[prefix.len()..]) {
        Ok(key) => visit(&key),
        Err(_) => ControlFlow::Continue(()),
    })
}

/// How many hints there are, and the names of those that cannot be read: they are of no use.
///
/// # Errors
/// When the store has failed.
pub(super) fn count_hints(engine: &dyn Engine) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
    let mut count = 0;
    let mut damaged: Vec<Vec<u8>> = Vec::new();
    loop {
        let visited = engine.notes(HINT, damaged.last().map(Vec::as_slice), &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        match visited {
            Ok(()) => return Ok((count, damaged)),
            Err(StoreError::DamagedNote { name }) => damaged.push(name),
            Err(error) => return Err(error),
        }
    }
}

/// What the store has kept of its earlier lives, and where the stores were that it knew.
///
/// # Errors
/// When a note is damaged, or the store has failed.
pub(super) fn load(engine: &dyn Engine) -> Result<(Remembered, BTreeMap<StoreId, Peer>), StoreError> {
    let damaged = |name: &[u8]| StoreError::DamagedNote { name: name.to_vec() };
    let bound = match engine.note(BOUND)? {
        None => 0,
        Some(bytes) => postcard::from_bytes(&bytes).map_err(|_| damaged(BOUND))?,
    };
    let (mut known, mut forgotten, mut hinted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut places = BTreeMap::new();
    engine.notes(KNOWN, None, &mut |name, bytes| {
        known.extend(store_of(KNOWN, name));
        if let (Some(store), Ok(Some(peer))) = (store_of(KNOWN, name), postcard::from_bytes(bytes)) {
            places.insert(store, peer);
        }
        ControlFlow::Continue(())
    })?;
    engine.notes(FORGOTTEN, None, &mut |name, _| {
        forgotten.extend(store_of(FORGOTTEN, name));
        ControlFlow::Continue(())
    })?;
    engine.notes(HINT, None, &mut |name, _| {
        hinted.extend(store_of(HINT, name));
        ControlFlow::Continue(())
    })?;
    Ok((Remembered { bound, stores: Stores { known, forgotten }, hinted }, places))
}
