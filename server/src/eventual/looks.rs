//! What people see of a node in eventual mode.

use chordata_protocol::{Peer, Range, StoreId};
use chordata_rpc::service::EventualStatus;

use super::Eventual;

impl Eventual {
    /// Has it all that there is of a range, as far as it can know?
    pub(crate) fn has_all(&self, range: Range) -> bool {
        !self.leaving && self.machine.has_all(range)
    }

    /// How it is.
    pub(crate) fn status(&self, me: &Peer) -> EventualStatus {
        let place_of =
            |store| if store == self.store() { Some(me.clone()) } else { self.directory.peer(store) };
        let members = self.machine.table().map(|table| table.members().to_vec()).unwrap_or_default();
        let awaited = self.machine.waiting_for().into_iter();
        let stores = self.machine.stores();
        let is_there = |store: &&StoreId| members.iter().any(|member| member.store == **store);
        let away = stores.known.difference(&stores.forgotten).filter(|store| !is_there(store));
        EventualStatus {
            store: self.store(),
            incarnation: self.incarnation,
            members: members.iter().filter_map(|member| place_of(member.store)).collect(),
            kept: self.machine.table().and_then(|table| table.kept(self.store())),
            tombstones: self.index.tombstones.len() as u64,
            hints: self.index.hints,
            awaited: awaited.map(|store| (store, self.directory.peer(store))).collect(),
            away: away.map(|store| (*store, self.directory.peer(*store))).collect(),
            forgotten: stores.forgotten.iter().copied().collect(),
            counters: self.machine.counters(),
        }
    }
}
