//! Proxies: when they are used, which settings are refused, and messages about failing proxies.

use std::{
    io::{BufRead, BufReader, Read, Write, copy},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use overmind_export::demo::Options;

use super::session_with;
use crate::support::{KEY, Ran, World};

fn world() -> World {
    World::generated(Options::default(), 3)
}

/// An answer with an empty list of datasets.
const NO_DATASETS: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 52\r\nConnection: close\r\n\r\n\
    {\"count\":0,\"next\":null,\"previous\":null,\"results\":[]}";

/// Starts a proxy that answers one request with `answer`. The thread returns the head of the request.
fn proxy_once(answer: &'static str) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let head = lines.take_while(|line| !line.is_empty()).collect();
        stream.write_all(answer.as_bytes()).unwrap();
        head
    });
    (url, serving)
}

#[test]
fn proxy_is_used_for_another_machine() {
    let (proxy, serving) = proxy_once(NO_DATASETS);
    let world = world();
    let mut command = world.command();
    command.args(["datasets", "--allow-http", "--base-url", "http://api.example.test/v1"]);
    let ran = Ran::of(command.env("HTTP_PROXY", proxy)).ok();
    assert_eq!(ran.stdout, "no datasets\n");
    let head = serving.join().unwrap();
    assert_eq!(head[0], "GET http://api.example.test/v1/api/datasets/ HTTP/1.1");
    assert!(head.contains(&format!("x-api-key: {KEY}")), "{} lines", head.len());
}

#[test]
fn https_proxy_opens_tunnel_and_never_sees_the_key() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (proxy, serving) = proxy_once(refusal);
    let told = session_with(&world(), &["export ID -o rows.jsonl"], |it| {
        it.env("OVERMIND_LAB_BASE_URL", "https://api.example.test").env("HTTPS_PROXY", &proxy);
    });
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: it asks for a user name and a password (407), or refuses the given ones
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    let head = serving.join().unwrap();
    assert_eq!(head[0], "CONNECT api.example.test:443 HTTP/1.1");
    assert!(!head.concat().contains(KEY));
}

#[test]
fn proxy_is_not_used_for_this_machine() {
    let world = world();
    let mut command = world.command();
    let proxy = format!("http://{}", super::nobody());
    Ran::of(command.arg("datasets").env("HTTP_PROXY", &proxy).env("ALL_PROXY", &proxy)).ok();
    assert_eq!(world.server.stats().requests, 1);
}

#[test]
fn unusable_proxy_variable_is_named() {
    let world = world();
    let told = |value: &str| {
        let line = "datasets --base-url https://api.example.test";
        let told = session_with(&world, &[line], |it| {
            it.env("HTTPS_PROXY", value);
        });
        assert!(!told.contains("hunter"), "{told}");
        told
    };
    insta::assert_snapshot!(told("http://me:hunter2@proxy.test:3128\r"), @r"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: it ends with a line break (\r or \n), like a line of a Windows file
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    insta::assert_snapshot!(told("\"http://me:hunter2@proxy.test:3128\""), @"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: it is in quotation marks
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    insta::assert_snapshot!(told("http://me:hunter#2@proxy.test:3128"), @"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: its user name or password contains '#': write %23 instead
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    insta::assert_snapshot!(told("ftp://proxy.test:3128"), @"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: its scheme is none of http, https, socks4, socks4a, socks5 and socks5h
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn proxy_of_a_store_is_checked_too() {
    let world = world();
    let line = "export ID -o s3://bucket/rows.parquet --storage-option region=x";
    let with = |line: &str| {
        session_with(&world, &[line], |it| {
            it.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
            it.env("HTTPS_PROXY", "socks9://proxy.test");
        })
    };
    let told = with(line);
    assert!(told.contains("exit 78\nerror: the proxy of HTTPS_PROXY cannot be used"), "{told}");
    let told = with(&format!("{line} --storage-option proxy_url=\"x\""));
    assert!(told.contains("exit 78\nerror: the proxy of the storage option proxy_url"), "{told}");
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn proxy_receives_decoded_credentials() {
    let (proxy, serving) = proxy_once(NO_DATASETS);
    let world = world();
    let mut command = world.command();
    command.args(["datasets", "--allow-http", "--base-url", "http://api.example.test"]);
    let proxy = proxy.replace("http://", "http://me:p%23ss@");
    Ran::of(command.env("http_proxy", proxy)).ok();
    let head = serving.join().unwrap();
    // The output of `printf 'me:p#ss' | base64`.
    assert!(head.contains(&"proxy-authorization: Basic bWU6cCNzcw==".to_owned()), "{head:?}");
}

#[test]
fn proxy_requiring_credentials_ends_the_run() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (proxy, serving) = proxy_once(refusal);
    let line = "datasets --allow-http --base-url http://api.example.test";
    let told = session_with(&world(), &[line], |it| {
        it.env("ALL_PROXY", &proxy);
    });
    insta::assert_snapshot!(told, @"
    $ overmind-export datasets --allow-http --base-url http://api.example.test
    exit 78
    error: the proxy of ALL_PROXY cannot be used: it asks for a user name and a password (407), or refuses the given ones
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    serving.join().unwrap();
}

#[test]
fn proxy_refusing_the_tunnel_is_named() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (proxy, serving) = proxy_once(refusal);
    let line = "datasets --base-url https://api.example.test -q --max-retries 0";
    let told = session_with(&world(), &[line], |it| {
        it.env("HTTPS_PROXY", &proxy);
    });
    insta::assert_snapshot!(super::steadily(&told), @"
    $ overmind-export datasets --base-url https://api.example.test -q --max-retries 0
    exit 69
    error: the API at https://api.example.test stayed unavailable: 1 attempt in T s
      cause: cannot connect: through the proxy of HTTPS_PROXY: it does not open a tunnel to the API
      hint: check the base URL and the network; a larger --timeout, --retry-for or --max-retries gives the API more time
    ");
    serving.join().unwrap();
}

#[test]
fn https_proxy_without_tls_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("https://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The ClientHello of TLS is binary, so it is read but not parsed.
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let told = session_with(&world(), &["datasets --base-url https://api.example.test"], |it| {
        it.env("HTTPS_PROXY", &proxy);
    });
    insta::assert_snapshot!(told, @"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the proxy of HTTPS_PROXY cannot be used: it does not speak TLS: write http:// instead of https://
      hint: give it as http://proxy.example.org:3128, with user:password@ before the host if the proxy asks for them; list in NO_PROXY the hosts to reach without the proxy
    ");
    serving.join().unwrap();
}

/// A SOCKS 5 proxy without authentication that forwards one connection to this server. The thread
/// returns the requested host.
fn socks_once(server: SocketAddr) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            bytes
        };
        let greeting = bytes(2);
        bytes(greeting[1].into());
        client.write_all(&[5, 0]).unwrap();
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            bytes
        };
        // Version 5, command "connect", a reserved byte, address type "host name", length of the name.
        let request = bytes(5);
        assert_eq!(request[..4], [5, 1, 0, 3]);
        let host = String::from_utf8(bytes(request[4].into())).unwrap();
        bytes(2);
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).unwrap();
        let mut upstream = TcpStream::connect(server).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        thread::spawn(move || copy(&mut from, &mut to));
        // Ends when the client and then the server close the connection.
        let _ = copy(&mut upstream, &mut client);
        host
    });
    (address, serving)
}

#[test]
fn socks_proxy_is_used() {
    let world = world();
    let (proxy, serving) = socks_once(world.server.addr());
    let mut command = world.command();
    command.args(["datasets", "--allow-http", "--base-url", "http://api.example.test", "--json"]);
    let ran = Ran::of(command.env("ALL_PROXY", format!("socks5h://{proxy}"))).ok();
    assert!(ran.stdout.contains("182bd5e5"), "{ran:?}");
    assert_eq!(world.server.stats().requests, 1);
    drop(world);
    assert_eq!(serving.join().unwrap(), "api.example.test");
}
