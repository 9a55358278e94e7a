//! Tunnels to hosts that show only their SSH port.

use std::sync::Arc;

use chordata_rpc::Net;

use crate::failure::Outcome;
use crate::inventory::Inventory;

/// Tunnels, one a host.
pub(crate) struct Forwards {
    net: Arc<dyn Net>,
}

impl Forwards {
    /// Opens them; none if no host needs one.
    pub(crate) async fn open(_inventory: &Inventory) -> Outcome<Option<Forwards>> {
        Ok(None)
    }

    /// A network that goes through them.
    pub(crate) fn net(&self) -> Arc<dyn Net> {
        self.net.clone()
    }
}
