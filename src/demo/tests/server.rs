//! Tests of load, compression, statistics, and start and stop of a server.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use serde_json::json;

use super::*;

#[test]
fn above_rate_limit_answers_429_with_retry_after() {
    let server = serve_rows(1, Options { rate_limit: Some(1), ..Options::default() });
    let mut client = Client::connect(&server);
    let replies: Vec<Reply> = (0..20).map(|_| client.get(&datapoints(""))).collect();
    assert_eq!(replies[0].status, 200);
    let throttled = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!(throttled.header("retry-after"), Some("1"));
    let detail = "Request was throttled. Expected available in 1 second.";
    assert_eq!(throttled.json(), json!({ "detail": detail }));
}

#[test]
fn requests_above_capacity_wait_and_are_served() {
    let latency = Duration::from_millis(5);
    let options = Options { capacity: Some(2), latency, ..Options::default() };
    let server = serve_rows(100, options);
    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(&server)).collect();
    let started = std::time::Instant::now();
    clients.iter_mut().for_each(|client| client.send(&datapoints("")));
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    // Ten requests, two at a time, take at least five times the latency. A slow machine only takes longer.
    assert!(started.elapsed() >= 5 * latency);
}

#[test]
fn gzip_needs_the_option_and_an_accepting_client() {
    let gzip = serve_rows(100, Options { gzip: true, ..Options::default() });
    let plain = serve_rows(100, Options::default());
    let ask = |server: &Background, accepted: &str| {
        let mut client = Client::connect(server);
        let headers = [("X-Api-Key", "k"), ("Accept-Encoding", accepted)];
        client.send_with("GET", &datapoints("?search=chat"), &headers);
        client.reply().unwrap()
    };
    let expected = ask(&plain, "br, gzip");
    assert_eq!(expected.header("content-encoding"), None);
    assert_eq!(ask(&gzip, "br, gzip;q=0").header("content-encoding"), None);

    let reply = ask(&gzip, "br, gzip;q=1.0");
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
    assert!(reply.body.len() * 2 < expected.body.len());
    let mut text = String::new();
    GzDecoder::new(&reply.body[..]).read_to_string(&mut text).unwrap();
    let port = |server: &Background| server.addr().port().to_string();
    assert_eq!(text.replace(&port(&gzip), &port(&plain)), expected.text());
}

#[test]
fn stats_count_requests_and_answers() {
    let server = serve_rows(60, Options::default());
    let mut client = Client::connect(&server);
    let page = client.get(&datapoints("?page=2"));
    client.get(&datapoints("?page=2"));
    client.get(&datapoints("?page=9"));
    client.get("/api/datasets/");
    client.send_with("GET", "/elsewhere?a=1", &[("X-Api-Key", "ovr_leak")]);
    client.reply().unwrap();

    let stats = server.stats();
    assert_eq!((stats.requests, stats.connections), (5, 1));
    assert_eq!((stats.answered(200), stats.answered(404), stats.answered(500)), (3, 2, 0));
    assert_eq!((stats.attempts(ID, 2), stats.attempts(ID, 9)), (2, 0));
    assert_eq!(stats.attempts[&(None, 1)], 1);
    assert_eq!((stats.in_flight, stats.max_in_flight), (0, 1));
    assert!(stats.bytes_sent > 2 * page.body.len() as u64);
    let last = stats.received.back().unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str()), ("GET", "/elsewhere?a=1"));
    assert_eq!(last.header("x-api-key"), Some("ovr_leak"));
    assert!(!format!("{stats:?}").contains("ovr_leak"), "printing stats shows no key");
}

#[test]
fn stats_keep_maximum_of_requests_in_flight() {
    let faults = Faults::none().on(1, FaultAttempt::Always, Fault::Stall { after: 0 });
    let server = serve_rows(60, Options { faults, ..Options::default() });
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(|client| client.send(&datapoints("")));
    assert!(server.wait_until(TIME_LIMIT, |stats| stats.in_flight == 3));
    drop(clients);
    assert!(server.wait_until(TIME_LIMIT, |stats| stats.in_flight == 0));
    assert_eq!(server.stats().max_in_flight, 3);
}

#[test]
fn wait_until_ends_after_its_timeout() {
    let server = serve_rows(1, Options::default());
    assert!(!server.wait_until(Duration::from_millis(1), |stats| stats.requests > 0));
}

#[test]
fn datasets_can_be_replaced_between_requests() {
    let server = serve_rows(60, Options::default());
    let mut client = Client::connect(&server);
    assert_eq!(client.get(&datapoints("")).json()["count"], 60);
    server.replace(vec![Dataset::generated(61, 7).with_id(ID)]);
    assert_eq!(client.get(&datapoints("")).json()["count"], 61);
    server.replace(Vec::new());
    assert_eq!(client.get(&datapoints("")).status, 404);
}

#[test]
fn dropped_server_closes_connections_and_frees_port() {
    let server = serve_rows(60, Options::default());
    let addr = server.addr();
    let mut client = Client::connect(&server);
    client.get(&datapoints(""));
    drop(server);
    assert_eq!(client.read_to_close().unwrap(), b"");
    std::net::TcpListener::bind(addr).unwrap();
}

#[test]
fn port_in_use_is_an_error() {
    let server = serve_rows(1, Options::default());
    let options = Options { port: server.addr().port(), ..Options::default() };
    let error = serve_in_background(options, Vec::new()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn server_runs_and_stops_on_callers_runtime() {
    let dataset = Dataset::generated(60, 7).with_id(ID);
    let server = Server::start(Options::default(), vec![dataset]).await.unwrap();
    let addr = server.addr();
    assert_eq!(server.url(), format!("http://{addr}"));
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {} HTTP/1.0\r\nX-Api-Key: k\r\n\r\n", datapoints(""));
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut reply).await.unwrap();
    assert!(reply.contains(&format!(r#""next":"http://{addr}/api"#)), "{reply:.300}");
    assert_eq!(server.stats().answered(200), 1);
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[test]
fn file_of_rows_is_served_token_for_token() {
    let first = format!(r#"{{"id": "{ID}", "input": 1e400}}"#);
    let second = r#"{"order":2,"id":"00000000-0000-0000-0000-000000000002","tags":"\ud800"}"#;
    let mut file = tempfile::Builder::new().prefix("rows-").suffix(".jsonl").tempfile().unwrap();
    write!(file, "{first}\r\n\n  {second}").unwrap();
    let dataset = Dataset::from_jsonl(file.path()).unwrap();

    let again = Dataset::from_jsonl(file.path()).unwrap();
    assert_eq!(dataset.id, again.id);
    assert_eq!(dataset.name, file.path().file_stem().unwrap().to_str().unwrap());
    assert_eq!(dataset.len(), 2);
    assert_eq!(dataset.row(0), first.as_bytes());
    assert_eq!(dataset.row(1), second.as_bytes());
    assert_eq!(dataset.row(2), b"");
}

#[test]
fn invalid_line_is_an_error_with_its_number() {
    let row = r#"{"id":"00000000-0000-0000-0000-000000000001"}"#;
    for bad in ["{\"id\":\"7\"}", "{}", "[1]", "{\"id\"", "null"] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{row}\n\n{bad}\n{row}\n").unwrap();
        let error = Dataset::from_jsonl(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("line 3: "), "{bad}: {error}");
    }
    let missing = Dataset::from_jsonl(std::path::Path::new("/nonexistent.jsonl"));
    assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
