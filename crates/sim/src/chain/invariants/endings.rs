//! A value ends when its moment has come, and no other one in its place.
//!
//! Values that clients write say how long they are to live ([`ttl_of`]), so the moment that a head gives one can be
//! checked, and that it has come when a head ends it: both as exactly as the clocks of heads are right. What is not checked here
//! is that a value which has ended is gone for good: to all other invariants its end is a delete like any other.

use chordata_protocol::chain::message::Write;
use chordata_protocol::{Moment, Time, Value, Version};

use super::Found;
use crate::chain::client::ttl_of;
use crate::chain::clock::{earliest_wall, latest_wall};
use crate::chain::table::Table;

/// A head decides that this value ends at that moment, or never.
///
/// # Errors
/// When it should live shorter or longer.
pub fn decided(value: &Value, expires: Option<Moment>, now: Time) -> Found {
    let ttl = ttl_of(value);
    let right = match (ttl, expires) {
        (None, None) => true,
        (Some(ttl), Some(expires)) => {
            earliest_wall(now) + ttl <= expires && expires <= latest_wall(now) + ttl
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    if right {
        return Ok(());
    }
    let moment = expires.map_or("never".to_owned(), |expires| format!("at {} ms", expires.as_millis()));
    Err(format!("{value} is to end {moment}, and was written at {} ms", earliest_wall(now).as_millis()))
}

/// It is committed that the value of this version has ended, as was decided then. The model does not know it yet.
///
/// # Errors
/// When the key holds another value, or its moment had not come by any clock.
pub fn ended(model: &Table, write: &Write, of: Version, decided: Time) -> Found {
    let key = &write.key;
    let Some(record) = model.get(write.id, key) else {
        return Err(format!("{key} of version {of} is ended, and holds nothing"));
    };
    if record.version != of {
        return Err(format!("{key} of version {of} is ended, and holds version {}", record.version));
    }
    let latest = latest_wall(decided);
    match record.expires {
        Some(expires) if expires <= latest => Ok(()),
        Some(expires) => Err(format!(
            "{key} of version {of} is ended {} ms before its moment",
            expires.since(latest).as_millis()
        )),
        None => Err(format!("{key} of version {of} is ended, and has no moment")),
    }
}
