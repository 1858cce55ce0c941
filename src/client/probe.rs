//! Asks a server that closed a plain connection without an answer whether it speaks TLS.
//!
//! Servers on OpenSSL do not answer plain http on a port for https: they close the connection. Retrying would
//! take until the time is up, for an address that is one letter short.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

use crate::net::tls;

/// A server that speaks TLS answers a greeting at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether TLS is spoken at the host and port of this URL. Sends a greeting and nothing else.
pub(super) async fn speaks_tls(url: &Url) -> bool {
    matches!(timeout(PATIENCE, greet(url)).await, Ok(Ok(true)))
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
    // A record with an alert or a handshake message, of SSL 3 or any version of TLS.
    Ok(matches!(begins, [0x15 | 0x16, 3]))
}

/// The first message of a TLS connection.
fn greeting(url: &Url) -> Option<Vec<u8>> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).ok()?;
    let mut connection = ClientConnection::new(Arc::new(tls::unused().ok()?), name).ok()?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).ok()?;
    Some(bytes)
}
