//! An HTTP client that shows the received bytes to a test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Background, TIME_LIMIT};

/// A client with one connection.
pub(super) struct Client {
    reader: BufReader<TcpStream>,
    addr: SocketAddr,
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn connect(server: &Background) -> Client {
        let stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        Client { reader: BufReader::new(stream), addr: server.addr() }
    }

    /// Sends a GET request with an API key.
    pub(super) fn send(&mut self, target: &str) {
        self.send_with("GET", target, &[("X-Api-Key", "ovr_test")]);
    }

    /// Sends a request with only these headers. Adds `Host` if it is not one of them.
    pub(super) fn send_with(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request.push_str(&format!("Host: {}\r\n", self.addr));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
    }

    pub(super) fn get(&mut self, target: &str) -> Reply {
        self.send(target);
        self.reply().unwrap()
    }

    /// Reads an answer that has a `Content-Length`.
    pub(super) fn reply(&mut self) -> io::Result<Reply> {
        let mut reply = self.head()?;
        reply.body = vec![0; reply.header("content-length").unwrap_or("0").parse().unwrap()];
        self.reader.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    /// Reads the status and headers of an answer.
    pub(super) fn head(&mut self) -> io::Result<Reply> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(Reply { status: status.parse().unwrap(), headers, body: Vec::new() })
    }

    /// Reads exactly `length` bytes of a body.
    pub(super) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        body
    }

    /// Reads a body until the connection closes.
    pub(super) fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.reader.read_to_end(&mut body)?;
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends one request with an API key on a new connection.
pub(super) fn get(server: &Background, target: &str) -> Reply {
    Client::connect(server).get(target)
}
