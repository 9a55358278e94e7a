//! Looking for keys where they should not be.

use std::collections::BTreeSet;

use chordata_protocol::chain::{StoreId, View as ChainView};
use chordata_protocol::{Address, Key, Range};
use chordata_rpc::service::CopiesOptions;

use super::{Audit, LOOKS, ProblemKind};
use crate::Client;
use crate::look::View;

/// Keys that are named of those that a node should not have.
const FOREIGN_NAMED: u32 = 3;

impl Client {
    /// Looks for keys at nodes in whose ranges they are not.
    pub(super) async fn foreign(&self, audit: &mut Audit, view: &View) {
        let nodes: Vec<(StoreId, Address)> = view
            .nodes
            .iter()
            .filter_map(|status| Some((status.chain.as_ref()?.store, status.me.address.clone())))
            .collect();
        let mut chains = view.chains().cloned();
        let mut left: BTreeSet<usize> = (0..nodes.len()).collect();
        let mut found: Vec<(Address, Range, Vec<Key>)> = Vec::new();
        for look in 0..LOOKS.0 {
            if look > 0 {
                tokio::time::sleep(LOOKS.1).await;
                chains = self.view().await.chains().cloned();
            }
            let Some(chains) = &chains else { return };
            found.clear();
            for place in left.clone() {
                let (store, address) = &nodes[place];
                let keys = self.foreign_at(chains, *store, address).await;
                if keys.is_empty() {
                    left.remove(&place);
                }
                found.extend(keys.into_iter().map(|(range, keys)| (address.clone(), range, keys)));
            }
            if left.is_empty() {
                return;
            }
        }
        for (address, range, keys) in found {
            let names: Vec<String> = keys.iter().map(Key::to_string).collect();
            let text =
                format!("{address} has keys of it and is not in its chain, for example {}", names.join(", "));
            audit.problem(ProblemKind::Foreign, Some(range), keys.into_iter().next(), text);
        }
    }

    async fn foreign_at(
        &self,
        chains: &ChainView,
        store: StoreId,
        address: &Address,
    ) -> Vec<(Range, Vec<Key>)> {
        let mut found = Vec::new();
        for range in others(chains, store) {
            let options =
                CopiesOptions { mark: None, range, after: None, limit: FOREIGN_NAMED, ended_by: None };
            // A node that is silent is a problem of the cluster, which was told.
            if let Ok(page) = self.copies(address, options).await
                && !page.copies.is_empty()
            {
                found.push((range, page.copies.into_iter().map(|(key, _)| key).collect()));
            }
        }
        found
    }
}

/// The ranges that a node has no part in and is not about to get, neighbours as one.
fn others(view: &ChainView, store: StoreId) -> Vec<Range> {
    let copies = view.replication.copies();
    let mut found: Vec<Range> = Vec::new();
    for (epoch, active) in &view.ranges {
        let is_named = active.chain.iter().any(|link| link.store == store);
        let is_changing = view.change_of(*epoch).is_some() || active.wedged;
        if !is_named && !is_changing && !view.expected(active.range, copies).contains(&store) {
            found.push(active.range);
        }
    }
    found.sort_by_key(|range| range.high);
    found.dedup_by(|next, one| {
        let follows = one.high == next.low;
        if follows {
            one.high = next.high;
        }
        follows
    });
    found
}

#[cfg(test)]
mod tests {
    use chordata_protocol::chain::Epoch;

    use super::super::tests::{four, id, store};
    use super::*;

    #[test]
    fn what_a_node_has_no_part_in_is_looked_through_as_few_ranges() {
        let view = four();
        // Node 1 has the ranges of 1 and 4; the others lie side by side.
        assert_eq!(others(&view, store(1)), [Range { low: id(100), high: id(300) }]);
        assert_eq!(others(&view, store(2)), [Range { low: id(200), high: id(400) }]);
        // Somebody who has nothing: the whole ring.
        let nobody = others(&view, store(9));
        assert_eq!(nobody, [Range { low: id(400), high: id(400) }]);
        assert!(nobody[0].contains(id(5)) && nobody[0].contains(id(400)));
    }

    #[test]
    fn what_is_about_to_change_hands_is_not_looked_through() {
        let mut view = four();
        view.ranges.get_mut(&Epoch(3)).unwrap().wedged = true;
        assert_eq!(others(&view, store(1)), [Range { low: id(100), high: id(200) }]);
    }
}
