//! What opens every connection: who are you, what do you want, and do you know the secret?
//!
//! ```text
//! connecting side                                  accepting side
//!   greeting: version, service, cluster?, nonce  ->
//!                                                <-  greeting: version, verdict, cluster?, nonce
//!   ---- welcome, no secret: calls follow ----       ---- not welcome: close ----
//!   proof (both have a secret)                   ->
//!                                                <-  ruling: verdict, proof
//!   ---- calls follow ----
//! ```
//!
//! What it guarantees:
//!
//! - Both sides learn the same specific [`PreambleError`] when they do not fit together, also across versions.
//! - It ends within its time limit, and never reads more than its fixed sizes: what a stranger can cost is a task
//!   and a few hundred bytes for two seconds. A stranger who does not even begin with the magic gets a line of text.
//! - Where there is a secret, both sides prove that they know it: each hashes, keyed with the secret, all that both
//!   have said (versions, service, cluster, both nonces) and who of the two it is. The connecting side proves first,
//!   so that a server shows nothing keyed to a stranger. A side with a secret refuses one without.
//! - A connecting side that does not know its cluster yet fits any; after the proof it knows the other's. A server that
//!   is of no cluster takes only those who name none: who names one looks for a node of that cluster, and it is none.
//!
//! What it does not: the bytes that follow are neither encrypted nor signed. Who can change packets on the way can
//! take over a connection after its proof; against that there will be TLS, below this, at the [`Net`](crate::net)
//! seam.

mod error;
mod wire;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

pub use error::PreambleError;
pub use wire::MAGIC;
use wire::{GREETING_BYTES, Greeting, RULING_BYTES, Verdict};

use crate::credentials::{Credentials, PROOF_BYTES, Prover, Secret};
use crate::service::ClusterId;

/// The version of everything that is said on a connection: preamble, services and their types. Any change of those
/// is a new version, as postcard does not describe itself.
pub const PROTOCOL_VERSION: u16 = 4;

/// How long a preamble may take by default.
pub const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a stranger may still send after a refusal, in bytes, before the connection is cut.
const LINGER_BYTES_MAX: usize = 4096;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Calls of [`Chordata`](crate::service::Chordata).
    Client = 0,
    /// Calls of [`Ring`](crate::service::Ring).
    Ring = 1,
    /// No calls: only to see who is there. Needs neither cluster nor secret.
    Probe = 2,
    /// Calls of [`Standby`](crate::standby::Standby).
    Standby = 3,
    /// Calls of [`Manager`](crate::manager::Manager).
    Manager = 4,
}

impl Service {
    fn from_byte(byte: u8) -> Option<Service> {
        let all = [Service::Client, Service::Ring, Service::Probe, Service::Standby, Service::Manager];
        all.into_iter().find(|service| *service as u8 == byte)
    }
}

/// What a server said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerIdentity {
    /// Its cluster; none while it is in none.
    pub cluster: Option<ClusterId>,
    /// Does it demand proof of a secret?
    pub has_secret: bool,
}

/// Opens a connection from the connecting side, within `limit`.
///
/// # Errors
/// Any [`PreambleError`]; the stream is of no use then.
pub async fn introduce<S>(
    stream: &mut S,
    service: Service,
    credentials: &Credentials,
    limit: Duration,
) -> Result<ServerIdentity, PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let conversation = introduce_at_leisure(stream, service, credentials);
    timeout_at(Instant::now() + limit, conversation).await.unwrap_or(Err(PreambleError::TimedOut(limit)))
}

async fn introduce_at_leisure<S>(
    stream: &mut S,
    service: Service,
    credentials: &Credentials,
) -> Result<ServerIdentity, PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let secret = credentials.secret().filter(|_| service != Service::Probe);
    let cluster = credentials.cluster().filter(|_| service != Service::Probe);
    let hello = Greeting {
        version: PROTOCOL_VERSION,
        subject: service as u8,
        cluster,
        has_secret: secret.is_some(),
        nonce: nonce()?,
    };
    let hello_bytes = hello.to_bytes();
    stream.write_all(&hello_bytes).await?;
    stream.flush().await?;

    let (reply, reply_bytes) = Greeting::read(stream, PROTOCOL_VERSION).await?;
    obey(reply.subject, &hello, &reply)?;
    let identity = ServerIdentity { cluster: reply.cluster, has_secret: reply.has_secret };
    if service == Service::Probe {
        return Ok(identity);
    }
    // The verdict was only the server's word: who is impersonated would say welcome.
    if let (Some(ours), Some(theirs)) = (cluster, reply.cluster)
        && ours != theirs
    {
        return Err(PreambleError::WrongCluster { ours, theirs });
    }
    match (secret, reply.has_secret) {
        (None, false) => Ok(identity),
        (None, true) => Err(PreambleError::SecretRequired),
        (Some(_), false) => Err(PreambleError::SecretNotExpected),
        (Some(secret), true) => {
            let conversation = [&hello_bytes[..], &reply_bytes[..]];
            stream.write_all(secret.prove(Prover::Connecting, conversation).as_bytes()).await?;
            stream.flush().await?;
            let mut ruling = [0; RULING_BYTES];
            stream.read_exact(&mut ruling).await?;
            obey(ruling[0], &hello, &reply)?;
            verify(secret, Prover::Accepting, conversation, &ruling[1..])?;
            Ok(identity)
        }
    }
}

/// Turns a server's verdict into the error that the connecting side has of it.
fn obey(verdict: u8, hello: &Greeting, reply: &Greeting) -> Result<(), PreambleError> {
    let Some(verdict) = Verdict::from_byte(verdict) else {
        return Err(PreambleError::Io(
            io::ErrorKind::InvalidData,
            format!("it answered with the unknown verdict {verdict}"),
        ));
    };
    Err(match verdict {
        Verdict::Welcome => return Ok(()),
        Verdict::WrongVersion => PreambleError::WrongVersion { ours: hello.version, theirs: reply.version },
        Verdict::WrongCluster => match (hello.cluster, reply.cluster) {
            (Some(ours), Some(theirs)) => PreambleError::WrongCluster { ours, theirs },
            _ => PreambleError::Io(
                io::ErrorKind::InvalidData,
                String::from("it refused a cluster that was not named"),
            ),
        },
        Verdict::NoCluster => match hello.cluster {
            Some(ours) => PreambleError::NoCluster(ours),
            None => PreambleError::Io(
                io::ErrorKind::InvalidData,
                String::from("it refused a cluster that was not named"),
            ),
        },
        Verdict::NotOffered => PreambleError::NotOffered,
        Verdict::SecretRequired => PreambleError::SecretRequired,
        Verdict::SecretNotExpected => PreambleError::SecretNotExpected,
        Verdict::WrongSecret => PreambleError::WrongSecret,
        Verdict::ServiceUnknown => PreambleError::ServiceUnknown(hello.subject),
        Verdict::TooManyConnections => PreambleError::TooManyConnections,
    })
}

/// Asks who is there, within `limit`. Needs no credentials.
///
/// # Errors
/// When nobody says so: the stream fails, or it is not Chordata, or of another version.
pub async fn probe<S>(stream: &mut S, limit: Duration) -> Result<ServerIdentity, PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    introduce(stream, Service::Probe, &Credentials::default(), limit).await
}

/// Opens a connection from the accepting side, within `limit`: what it is for, one of `offered`. `full`: there is no
/// room for more calls, so only probes are welcome.
///
/// # Errors
/// Any [`PreambleError`]; the peer was told, and the stream is to be dropped.
pub async fn receive<S>(
    stream: &mut S,
    credentials: &Credentials,
    offered: &[Service],
    full: bool,
    limit: Duration,
) -> Result<Service, PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = Instant::now() + limit;
    let conversation = receive_at_leisure(stream, credentials, offered, full);
    let received = timeout_at(deadline, conversation).await.unwrap_or(Err(PreambleError::TimedOut(limit)));
    if received.is_err() {
        // To close with something unread makes the operating system throw away what the peer has not read yet: it
        // would never see the reason. The peer closes as soon as it has it; the limit is for one that does not.
        let _ = timeout_at(deadline, linger(stream)).await;
    }
    received
}

async fn receive_at_leisure<S>(
    stream: &mut S,
    credentials: &Credentials,
    offered: &[Service],
    full: bool,
) -> Result<Service, PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let read = Greeting::read(stream, PROTOCOL_VERSION).await;
    if let Err(PreambleError::NotChordata(_)) = read {
        stream.write_all(line_for_strangers().as_bytes()).await?;
    }
    let (verdict, read) = match read {
        Ok((hello, bytes)) => match judge(&hello, credentials, offered, full) {
            Ok(service) => (Verdict::Welcome, Ok((hello, bytes, service))),
            Err((verdict, error)) => (verdict, Err(error)),
        },
        Err(error @ PreambleError::WrongVersion { .. }) => (Verdict::WrongVersion, Err(error)),
        Err(error) => return Err(error),
    };
    let reply_bytes = Greeting {
        version: PROTOCOL_VERSION,
        subject: verdict as u8,
        cluster: credentials.cluster(),
        has_secret: credentials.secret().is_some(),
        nonce: nonce()?,
    }
    .to_bytes();
    stream.write_all(&reply_bytes).await?;
    stream.flush().await?;
    let (_, hello_bytes, service) = read?;
    if let Some(secret) = credentials.secret().filter(|_| service != Service::Probe) {
        demand_proof(stream, secret, &hello_bytes, &reply_bytes).await?;
    }
    Ok(service)
}

async fn demand_proof<S>(
    stream: &mut S,
    secret: &Secret,
    hello_bytes: &[u8; GREETING_BYTES],
    reply_bytes: &[u8; GREETING_BYTES],
) -> Result<(), PreambleError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let conversation = [&hello_bytes[..], &reply_bytes[..]];
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    let verified = verify(secret, Prover::Connecting, conversation, &proof);
    let mut ruling = [0; RULING_BYTES];
    match &verified {
        Ok(()) => ruling[1..].copy_from_slice(secret.prove(Prover::Accepting, conversation).as_bytes()),
        Err(_) => ruling[0] = Verdict::WrongSecret as u8,
    }
    stream.write_all(&ruling).await?;
    stream.flush().await?;
    verified
}

fn verify(secret: &Secret, by: Prover, conversation: [&[u8]; 2], proof: &[u8]) -> Result<(), PreambleError> {
    // Comparing a blake3 hash takes the same time whatever it is compared with.
    if secret.prove(by, conversation) == *proof { Ok(()) } else { Err(PreambleError::WrongSecret) }
}

/// Is this connection welcome, and for what?
fn judge(
    hello: &Greeting,
    credentials: &Credentials,
    offered: &[Service],
    full: bool,
) -> Result<Service, (Verdict, PreambleError)> {
    let Some(service) = Service::from_byte(hello.subject) else {
        return Err((Verdict::ServiceUnknown, PreambleError::ServiceUnknown(hello.subject)));
    };
    if service == Service::Probe {
        return Ok(service);
    }
    if !offered.contains(&service) {
        return Err((Verdict::NotOffered, PreambleError::NotOffered));
    }
    if full {
        return Err((Verdict::TooManyConnections, PreambleError::TooManyConnections));
    }
    match (credentials.cluster(), hello.cluster) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            return Err((Verdict::WrongCluster, PreambleError::WrongCluster { ours, theirs }));
        }
        (None, Some(theirs)) => return Err((Verdict::NoCluster, PreambleError::NoCluster(theirs))),
        (Some(_) | None, _) => {}
    }
    match (credentials.secret().is_some(), hello.has_secret) {
        (true, false) => Err((Verdict::SecretRequired, PreambleError::SecretRequired)),
        (false, true) => Err((Verdict::SecretNotExpected, PreambleError::SecretNotExpected)),
        (true, true) | (false, false) => Ok(service),
    }
}

/// What somebody reads who comes with a browser, or with a client of another database.
fn line_for_strangers() -> String {
    format!(
        "this is a Chordata server; it speaks its own protocol (version {PROTOCOL_VERSION}) on this port: use \
         `chordata` or the client library\r\n"
    )
}

async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = [0; 512];
    let mut total = 0;
    while total < LINGER_BYTES_MAX {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => total += count,
        }
    }
}

fn nonce() -> Result<[u8; 32], PreambleError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
