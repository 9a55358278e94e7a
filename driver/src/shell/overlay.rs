//! The ring as it is closed: node after node, from the lowest id back to it.

use chordata_client::look::View;
use chordata_protocol::{Address, Id, Space};
use serde::Serialize;

use crate::report::{Report, short_id};

/// The nodes of a ring in its order.
#[derive(Debug, Serialize)]
pub(crate) struct Overlay {
    overlay: Vec<Stop>,
    #[serde(skip)]
    space: Space,
}

#[derive(Debug, Serialize)]
struct Stop {
    number: usize,
    id: Id,
    address: Address,
}

impl Overlay {
    /// From what was seen.
    pub(crate) fn new(view: &View, space: Space) -> Overlay {
        let members = view.members();
        let stops = members.iter().enumerate().map(|(number, status)| Stop {
            number,
            id: status.me.id,
            address: status.me.address.clone(),
        });
        Overlay { overlay: stops.collect(), space }
    }
}

impl Report for Overlay {
    fn text(&self) -> String {
        let stop =
            |stop: &Stop| format!("{} ({}, {})", stop.number, short_id(stop.id, self.space), stop.address);
        let lines = self.overlay.iter().map(|node| format!("{} →\n", stop(node))).collect::<String>();
        match self.overlay.first() {
            Some(first) => format!("{lines}{}\n", stop(first)),
            None => "no node answers\n".to_owned(),
        }
    }
}
