//! Finds out whether a server speaks TLS, after it closed a plain http connection without an answer.
//!
//! A server that uses OpenSSL closes a plain http connection to its https port without an answer. The cause is
//! a URL with `http` instead of `https`. Without this probe, the client would retry until the retry time limit.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

use crate::net::tls;

/// Time limit for the probe. A server that speaks TLS answers a ClientHello at once.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Returns whether a server speaks TLS at the host and port of this URL. Sends only a ClientHello.
pub(super) async fn speaks_tls(url: &Url) -> bool {
    matches!(timeout(TIME_LIMIT, greet(url)).await, Ok(Ok(true)))
}

async fn greet(url: &Url) -> io::Result<bool> {
    let unusable = || io::Error::from(io::ErrorKind::InvalidInput);
    let port = url.port_or_known_default().ok_or_else(unusable)?;
    let mut stream = match url.host().ok_or_else(unusable)? {
        Host::Domain(name) => TcpStream::connect((name, port)).await?,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await?,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await?,
    };
    stream.write_all(&greeting(url).ok_or_else(unusable)?).await?;
    let mut begins = [0; 2];
    stream.read_exact(&mut begins).await?;
    // The start of a TLS record: its type, alert (0x15) or handshake (0x16), then the major version, which is
    // 3 for SSL 3 and every version of TLS.
    Ok(matches!(begins, [0x15 | 0x16, 3]))
}

/// Returns the ClientHello, the first message of a TLS connection.
fn greeting(url: &Url) -> Option<Vec<u8>> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).ok()?;
    let mut connection = ClientConnection::new(Arc::new(tls::unused().ok()?), name).ok()?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).ok()?;
    Some(bytes)
}
