//! Errors for servers that do not speak HTTP, or speak it incorrectly. The command reports them at once.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use overmind_export::demo::{Fault, FaultAttempt::Always, Faults, Options};

use super::{session, told_on};
use crate::support::{ID, Ran, World};

/// A server that answers a connection's first bytes as this says, and closes it.
struct RawServer {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    greetings: Arc<AtomicUsize>,
}

impl RawServer {
    /// The answer depends on the number of the connection, from 0, and on whether it began with a greeting of TLS.
    fn start(answer: impl Fn(usize, bool) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, greetings) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (connections.clone(), greetings.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut bytes) = (stream.unwrap(), [0; 4096]);
                let length = stream.read(&mut bytes).unwrap_or(0);
                let is_tls = length > 0 && bytes[0] == 0x16;
                counts.1.fetch_add(usize::from(is_tls), SeqCst);
                let answer = answer(counts.0.fetch_add(1, SeqCst), is_tls);
                drop(stream.write_all(&answer));
            }
        });
        Self { addr, connections, greetings }
    }

    fn told(&self, line: &str) -> String {
        let world = World::generated(Options::default(), 1);
        let mut command = world.command();
        command.env("OVERMIND_LAB_BASE_URL", format!("http://{}", self.addr));
        command.args(line.replace("ID", &ID.to_string()).split(' '));
        super::tell(&world, &Ran::of(&mut command)).replace(&self.addr.to_string(), "API")
    }

    fn counts(&self) -> (usize, usize) {
        (self.connections.load(SeqCst), self.greetings.load(SeqCst))
    }
}

/// What OpenSSL answers to a greeting that it does not like; a plain request it does not answer.
fn openssl(is_tls: bool) -> Vec<u8> {
    if is_tls { vec![0x15, 3, 1, 0, 2, 2, 40] } else { Vec::new() }
}

const EXPORT: &str = "export ID -o rows.jsonl";

#[test]
fn https_port_that_closes_plain_http_is_named() {
    let server = RawServer::start(|_, is_tls| openssl(is_tls));
    insta::assert_snapshot!(server.told(EXPORT), @r#"
    exit 78
    error: the base URL "http://API/" cannot be used: the server does not speak plain http: use https://, or another port
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai
    "#);
    assert_eq!(server.counts(), (2, 1));
}

#[test]
fn closed_connections_alone_do_not_mean_https() {
    let server = RawServer::start(|_, _| Vec::new());
    let told = server.told("export ID -o rows.jsonl --retry-for 1s");
    assert!(told.starts_with("exit 69\n") && !told.contains("https"), "{told}");
    assert_eq!(server.counts().1, 1);
    // After an answer nothing else is asked for.
    let server = RawServer::start(|number, is_tls| match number {
        0 => b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => openssl(is_tls),
    });
    let told = server.told("export ID -o rows.jsonl --retry-for 3s");
    assert!(told.starts_with("exit 69\n") && !told.contains("https"), "{told}");
    assert_eq!(server.counts().1, 0);
}

#[test]
fn invalid_header_is_named() {
    let head = b"HTTP/1.1 200 OK\r\nX-Name: a\x01b\r\nContent-Length: 0\r\n\r\n";
    let server = RawServer::start(|_, _| head.to_vec());
    let told = server.told("export ID -o rows.jsonl -q");
    insta::assert_snapshot!(told, @"
    exit 69
    error: the API at http://API stayed unavailable: 4 attempts in T s
      cause: the answer is not valid HTTP: a header has a character that is not allowed there
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    assert_eq!(server.counts(), (4, 0));
}

#[test]
fn status_counts_whatever_its_body_is() {
    let gzip =
        |status, body: &str| Fault::status(status).header("Content-Encoding", "gzip").body(body);
    for body in [r#"{"detail":"no"}"#, ""] {
        let faults = Faults::none().on(1, Always, gzip(401, body));
        let world = World::generated(Options { faults, ..Options::default() }, 10);
        let told = session(&world, &[EXPORT]);
        assert!(told.contains("exit 77\nerror: the API refuses the key\n"), "{told}");
        assert_eq!(world.server.stats().requests, 1);
        let faults = Faults::none().on(1, Always, gzip(429, body).header("Retry-After", "7200"));
        let world = World::generated(Options { faults, ..Options::default() }, 10);
        let told = session(&world, &[EXPORT]);
        assert!(
            told.contains("exit 69\n") && told.contains("asks for a pause of 2 h 0 min"),
            "{told}"
        );
        assert_eq!(world.server.stats().requests, 1);
    }
    // Cut short.
    let answer =
        b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"det";
    let server = RawServer::start(|_, _| answer.to_vec());
    let told = server.told(EXPORT);
    assert!(told.starts_with("exit 77\nerror: the API refuses the key\n"), "{told}");
    assert_eq!(server.counts(), (1, 0));
}

#[test]
fn retry_after_sent_twice_counts_the_longest() {
    let now = "Wed, 21 Oct 2015 07:28:00 GMT";
    let fault = Fault::status(503)
        .header("Date", now)
        .header("Retry-After", "Wed, 21 Oct 2015 07:28:07 GMT")
        .header("Retry-After", "Wed, 21 Oct 2015 10:28:00 GMT");
    let told = told_on(1, fault, &[EXPORT]);
    assert!(told.contains("asks for a pause of 3 h 0 min"), "{told}");
}
