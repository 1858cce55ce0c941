//! The server of `schedule`: metrics, health and the page of the runs. It only answers, and only to its own names.

use super::*;

#[test]
fn only_metrics_and_health_are_served_read_only() {
    let world = World::generated(Options::default(), 1);
    fs::write(world.path("snapshots.toml"), configuration("")).unwrap();
    let service = Service::start(&world, &[]);
    let status = |request: &str| service.get(request).lines().next().unwrap().to_owned();
    assert_eq!(status("GET /metrics"), "HTTP/1.1 200 OK");
    assert_eq!(status("GET /healthz"), "HTTP/1.1 200 OK");
    assert_eq!(status("HEAD /metrics"), "HTTP/1.1 200 OK");
    assert_eq!(status("POST /metrics"), "HTTP/1.1 405 Method Not Allowed");
    for other in ["GET /metrics/", "GET /healthz2", "GET /../etc/passwd"] {
        assert_eq!(status(other), "HTTP/1.1 404 Not Found", "{other}");
    }
    assert!(service.get("GET /healthz").ends_with("\r\n\r\nok\n"));
    let metrics = service.get("GET /metrics");
    assert!(metrics.to_lowercase().contains("content-type: application/openmetrics-text"));
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(!metrics.contains(KEY));
    service.stop();
}

/// A web site whose name leads to this machine gets nothing.
#[test]
fn other_hosts_are_refused() {
    let world = World::generated(Options::default(), 1);
    fs::write(world.path("snapshots.toml"), configuration("")).unwrap();
    let service = Service::start(&world, &[]);
    for path in ["GET /", "GET /metrics", "GET /healthz", "POST /"] {
        let answer = service.get_as(path, Some("rebound.example:9464"));
        assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request"), "{path}: {answer}");
        assert!(
            answer.contains("answers to no other name") && !answer.contains("nightly"),
            "{answer}"
        );
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]:9464"] {
        assert!(service.get_as("GET /", Some(host)).starts_with("HTTP/1.1 200 OK"), "{host}");
    }
    service.stop();
}

#[test]
fn page_shows_runs_and_changes_nothing() {
    let world = overdue(Options::default(), ROWS, "");
    let service = Service::start(&world, &[]);
    service.says("stored");
    let answer = service.get("GET /");
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let policy = page.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1).unwrap();
    let policy = policy.split('"').next().unwrap();
    for header in [
        "content-type: text/html; charset=utf-8",
        &format!("content-security-policy: {policy}; frame-ancestors 'none'"),
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    // The run of the history and the one that was missed, and the runs to come.
    for text in [
        "nightly",
        "2026-01-01 02:00:00 UTC",
        "<dt>Next runs</dt>",
        "1 snapshot kept",
        "500",
        "The rows of the snapshots were not read.",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains(KEY) && !page.contains("<form"));
    assert!(service.get("HEAD /").starts_with("HTTP/1.1 200 OK"));
    for request in ["POST /", "PUT /", "DELETE /"] {
        assert!(service.get(request).starts_with("HTTP/1.1 405 Method Not Allowed"), "{request}");
    }
    service.stop();
}

#[test]
fn page_names_the_active_run() {
    let delay = Fault::Delay(Duration::from_secs(100));
    let faults = Faults::none().on(1, FaultAttempt::Always, delay);
    let world = overdue(Options { faults, ..Options::default() }, ROWS, "");
    let service = Service::start(&world, &[]);
    // The log has the address of the page.
    let log = service.says("serving metrics");
    let page = log.split("page=http://").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(log.contains(&format!("metrics=http://{page}metrics")), "{log}");
    assert!(world.server.wait_until(SOON, |stats| stats.attempts(ID, 1) == 1));
    let page = service.get("GET /");
    let running =
        "<dt>Running</dt><dd><span class=\"status running\">since</span> <time datetime=\"2";
    assert!(page.contains(running), "{page}");
    assert!(page.contains("Reload the page to see later runs."), "{page}");
    service.stop();
}
