//! What a process has, whether or not it is in a ring: its port, its directory, its network.

use std::sync::Arc;

use chordata_protocol::{Address, Peer, Space};
use chordata_rpc::{Net, net};

use super::StartError;
use crate::identity::{DataDirectory, DataError, Identity};
use crate::reception::Reception;
use crate::settings::Resolved;

/// What a process has, whether or not it is in a ring: its port, its directory, its network.
pub(crate) struct Ground {
    pub(super) net: Arc<dyn Net>,
    pub(super) data: Option<DataDirectory>,
    pub(crate) reception: Reception,
    /// Where others reach it.
    pub(crate) me: Address,
}

impl Ground {
    /// Takes the directory and the port.
    ///
    /// # Errors
    /// When it cannot listen, or its data directory cannot be used.
    pub(crate) async fn open(settings: &Resolved, net: Arc<dyn Net>) -> Result<Arc<Ground>, StartError> {
        let data = settings.data.as_deref().map(DataDirectory::open).transpose()?;
        let listener = net.listen(settings.listen).await;
        let listener =
            listener.map_err(|error| StartError::Listen(net::listen_failure(settings.listen, &error)))?;
        let reception = Reception::new(listener, settings.limits);
        let reception = reception.map_err(|error| StartError::Listen(error.to_string()))?;
        let me = settings.advertised(reception.listening())?;
        Ok(Arc::new(Ground { net, data, reception, me }))
    }

    /// Has it been in a ring, as far as its directory knows?
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DataError> {
        self.data.as_ref().map_or(Ok(None), DataDirectory::identity)
    }

    /// Whom the node of this directory knew.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn known(&self, identity: &Identity) -> Result<Vec<Peer>, DataError> {
        let space = Space::new(identity.cluster.bits).unwrap_or_default();
        self.data.as_ref().map_or(Ok(Vec::new()), |data| data.known(space))
    }

    /// Erases all that a node left.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn forget(&self) -> Result<(), DataError> {
        self.data.as_ref().map_or(Ok(()), DataDirectory::forget)
    }

    /// Removes the state of a group that nobody belongs to: a start that was broken off before it had an identity has left it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn forget_unused_group(&self) -> Result<(), DataError> {
        let Some(data) = self.data.as_ref().filter(|data| matches!(data.identity(), Ok(None))) else {
            return Ok(());
        };
        data.forget_group()
    }

    pub(crate) fn keeps_data(&self) -> bool {
        self.data.is_some()
    }
}
