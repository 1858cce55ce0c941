//! A report that a signal stops leaves no file behind.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use super::*;
use crate::support::wait_until;

/// Sends a signal to a report that has staged its page, and returns how it ended.
fn stopped(world: &World, report: &mut Command, signal: &str) -> Ran {
    report.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child: Child = report.spawn().unwrap();
    wait_until(|| {
        assert!(child.try_wait().unwrap().is_none());
        world.entries().contains(&".page.html.partial".to_owned())
    });
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn signal_stops_the_reading_and_removes_the_page() {
    let world = world(Vec::new());
    // A small file with 4 GB of rows: the reading cannot end before the signal.
    let text = "x".repeat(100_000);
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for number in 0..20 {
        let row = json!({"id": rows::id(number), "input": text, "tags": ["a", "b"]});
        std::io::Write::write_all(&mut member, format!("{row}\n").as_bytes()).unwrap();
    }
    let members = member.finish().unwrap().repeat(2000);
    fs::write(world.path("endless.jsonl.gz"), members).unwrap();
    for (signal, name, code) in [("-INT", "SIGINT", 130), ("-HUP", "SIGHUP", 129)] {
        let mut report = command(world.folder.path());
        report.args(["report", "endless.jsonl.gz", "-o", "page.html"]);
        let ran = stopped(&world, &mut report, signal);
        let said = format!("error: interrupted by {name}\n");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), said.as_str()));
        assert_eq!(world.entries(), ["endless.jsonl.gz"]);
    }
}

#[test]
fn page_is_removed_even_if_the_reading_hangs() {
    let world = world(Vec::new());
    // A store that accepts connections and never answers.
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", store.local_addr().unwrap());
    thread::spawn(move || store.incoming().collect::<Vec<_>>());
    let mut report = command(world.folder.path());
    report.args(["report", "s3://bucket/rows/", "-o", "page.html"]);
    report.env("AWS_ENDPOINT_URL", endpoint).env("AWS_ALLOW_HTTP", "true");
    report.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    let ran = stopped(&world, &mut report, "-TERM");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(143), "error: interrupted by SIGTERM\n"));
    assert_eq!(world.entries(), [] as [&str; 0]);
}
