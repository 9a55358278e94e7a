//! Hosts: reaching them, by SSH or on this machine.

pub(crate) mod forward;
