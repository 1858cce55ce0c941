//! A TCP proxy that adds latency: it forwards every byte a fixed time after it reads the byte.
//!
//! usage: delay_proxy LISTEN UPSTREAM ONE_WAY_MS
//!
//! It delays both directions and does not limit throughput. The first bytes of a client wait one more
//! round trip, because a TCP handshake takes one round trip over such a link.

use std::{error::Error, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

const READ_BUFFER_BYTES: usize = 256 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, one_way_ms] = arguments.as_slice() else {
        return Err("usage: delay_proxy LISTEN UPSTREAM ONE_WAY_MS".into());
    };
    let delay = Duration::from_millis(one_way_ms.parse()?);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(forward(client, upstream.clone(), delay));
    }
}

/// Connects to the upstream server and copies both directions until each side has closed.
async fn forward(client: TcpStream, upstream: String, delay: Duration) {
    let accepted = Instant::now();
    let Ok(server) = TcpStream::connect(&upstream).await else {
        return; // Drops `client`, so its connection closes as if the server were down.
    };
    // Nagle's algorithm would add more latency.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_reader, client_writer) = client.into_split();
    let (server_reader, server_writer) = server.into_split();
    let handshake_done = accepted + 3 * delay; // one round trip, then the way to the server
    tokio::join!(
        copy_delayed(client_reader, server_writer, delay, handshake_done),
        copy_delayed(server_reader, client_writer, delay, accepted),
    );
}

/// Copies `reader` to `writer`. Writes each chunk `delay` after reading it, but not before `earliest`.
async fn copy_delayed<R, W>(mut reader: R, mut writer: W, delay: Duration, earliest: Instant)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    // Unbounded, so that delayed chunks do not block the next read.
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            let due = (Instant::now() + delay).max(earliest);
            if sender.send((due, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    while let Some((due, chunk)) = receiver.recv().await {
        sleep_until(due).await;
        if writer.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let _ = writer.shutdown().await;
}
