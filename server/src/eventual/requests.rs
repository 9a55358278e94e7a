//! Clients' requests to a node of a cluster in eventual mode: any node answers any of them.

use std::time::Duration;

use chordata_protocol::eventual::{ClientError, Event, Outcome as Became, Stamped};
use chordata_protocol::ring::Caller;
use chordata_protocol::{Id, Key, Operation, Outcome, Record, StoreId};
use chordata_rpc::service::{Error, Options, Placed};
use tokio::sync::oneshot;

use crate::node::Node;

/// How long a request may wait for copies, or for replicas.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// As the caller has to go on. `copies`: how many a key has in a ring that is large enough.
fn refused(error: ClientError, copies: usize) -> Error {
    match error {
        ClientError::BadInput(bad) => Error::BadInput(bad),
        // There may soon be as many members.
        error @ ClientError::TooManyAcks { wanted, .. } if wanted <= copies => {
            Error::Unavailable(error.to_string())
        }
        error @ (ClientError::NoCompareAndSwap
        | ClientError::FromTheFuture { .. }
        | ClientError::TooManyAcks { .. }) => Error::NotSupported(error.to_string()),
        ClientError::FewerCopies { version, stored, wanted } => {
            Error::FewerCopies { version, stored, wanted }
        }
        error @ ClientError::FewerReplicas { .. } => Error::Unavailable(error.to_string()),
        ClientError::Busy => Error::Overloaded,
        ClientError::Barred => Error::NotMember,
    }
}

impl Node {
    async fn eventual_request(&self, request: impl FnOnce(Caller) -> Event) -> Result<Became, Error> {
        let (reply, answered) = oneshot::channel();
        let taken = self.with_eventual(|part, engine| {
            if part.leaving || part.machine.table().is_none() {
                return None;
            }
            let caller = part.caller();
            part.replies.insert(caller, reply);
            self.carry_eventual(part, engine, request(caller));
            Some(part.replication.copies())
        });
        let copies = taken.flatten().ok_or(Error::NotMember)?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(result)) => result.map_err(|error| refused(error, copies)),
            Ok(Err(_)) => Err(Error::Unknown("the node stopped meanwhile".to_owned())),
            Err(_) => Err(Error::Unknown("the other replicas have not answered yet".to_owned())),
        }
    }

    /// Changes a key: done when as many copies as the options say are stored.
    pub(crate) async fn eventual_apply(
        &self,
        key: &Key,
        operation: &Operation,
        options: &Options,
    ) -> Result<Placed<Outcome>, Error> {
        let before = match operation {
            Operation::Delete => self.eventual_version(key, options).await?,
            Operation::Put { .. } | Operation::CompareAndSwap { .. } => None,
        };
        let (key, operation) = (key.clone(), operation.clone());
        let deletes = matches!(operation, Operation::Delete);
        let (acks, seen) = (usize::from(options.acks).max(1), options.seen);
        let request = |caller| Event::Write { caller, key, operation, acks, seen };
        match self.eventual_request(request).await? {
            Became::Written(version) => {
                let result = if deletes { Outcome::Deleted(before) } else { Outcome::Written(version) };
                Ok(Placed { result, at: Some(version) })
            }
            Became::Found(_) => Err(Error::Unknown("the node answered something else".to_owned())),
        }
    }

    /// What a delete says was there: a hint, as others may write meanwhile.
    async fn eventual_version(
        &self,
        key: &Key,
        options: &Options,
    ) -> Result<Option<chordata_protocol::Version>, Error> {
        let read = self.eventual_read(key, &Options { acks: 1, ..*options }).await;
        match read {
            Ok(placed) => Ok(placed.result.map(|record| record.version)),
            // Whether something was there is no reason not to delete it.
            Err(Error::Unavailable(_) | Error::Unknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a key, from this node's copy where it has one.
    pub(crate) async fn eventual_read(
        &self,
        key: &Key,
        options: &Options,
    ) -> Result<Placed<Option<Record>>, Error> {
        let (acks, seen, key) = (usize::from(options.acks).max(1), options.seen, key.clone());
        let request = |caller| Event::Read { caller, key, acks, seen };
        match self.eventual_request(request).await {
            Ok(Became::Found(held)) => {
                let at = held.as_ref().map(|held| held.version);
                let record = held.and_then(Stamped::into_record);
                Ok(Placed { result: record, at })
            }
            Ok(Became::Written(_)) => Err(Error::Unavailable("the node answered something else".to_owned())),
            // A read changes nothing: nobody has to wonder what became of it.
            Err(Error::Unknown(reason)) => Err(Error::Unavailable(reason)),
            Err(error) => Err(error),
        }
    }

    /// The stores that had their place there and are not in the ring never come back: nothing waits for them any more.
    pub(crate) async fn eventual_forget(&self, id: Id) -> Result<(), Error> {
        let stores = self.with_eventual(|part, _| {
            let present = part
                .machine
                .table()
                .is_some_and(|table| table.members().iter().any(|member| member.id == id));
            (part.directory.stores_at(id), present)
        });
        let (stores, present) = stores.ok_or(Error::NotMember)?;
        let mut gone = 0;
        for store in stores {
            gone += usize::from(self.forget_store_here(store)?);
        }
        if gone == 0 {
            let why =
                if present { "the node there is in the ring: use depart, or stop it first" } else { "" };
            let why =
                format!("no store that is away had its place at {id:?}, or it was forgotten already. {why}");
            return Err(Error::Unavailable(why.trim_end().to_owned()));
        }
        self.sync().await;
        Ok(())
    }

    /// The same for one store, by its name.
    pub(crate) async fn eventual_forget_store(&self, store: StoreId) -> Result<(), Error> {
        if !self.forget_store_here(store)? {
            let reason = format!("the store {store} is in the ring, is not known, or was forgotten already");
            return Err(Error::Unavailable(reason));
        }
        self.sync().await;
        Ok(())
    }

    /// Forgets a store that is not in the ring. False: there is no such one.
    fn forget_store_here(&self, store: StoreId) -> Result<bool, Error> {
        let forgotten = self.with_eventual(|part, engine| {
            let stores = part.machine.stores();
            let is_member = part.machine.table().is_none_or(|table| table.has(store));
            if is_member || !stores.known.contains(&store) || stores.forgotten.contains(&store) {
                return false;
            }
            self.carry_eventual(part, engine, Event::Forget(store));
            true
        });
        forgotten.ok_or(Error::NotMember)
    }
}
