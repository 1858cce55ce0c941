use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Returns the sample lines without the comment lines.
fn values(metrics: &Metrics) -> Vec<String> {
    let text = metrics.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn new_job_has_its_series_at_zero() {
    let metrics = Metrics::new();
    let (since, success) = (at("2026-11-21T00:00:00Z"), at("2026-11-23T02:00:09Z"));
    metrics.known("new", since, None);
    metrics.known("old", since, Some(success));
    metrics.expects("new", Duration::from_secs(86_400));
    let values = values(&metrics);
    for line in [
        "overmind_export_runs_total{job=\"new\",result=\"failed\"} 0",
        "overmind_export_rows_total{job=\"new\"} 0",
        "overmind_export_running{job=\"new\"} 0",
        "overmind_export_last_success_timestamp_seconds{job=\"old\"} 1795399209",
        "overmind_export_last_success_timestamp_seconds{job=\"new\"} 0",
        "overmind_export_known_since_timestamp_seconds{job=\"new\"} 1795219200",
        "overmind_export_expected_interval_seconds{job=\"new\"} 86400",
    ] {
        assert!(values.contains(&line.to_owned()), "{line}\n{values:#?}");
    }
}

#[test]
fn runs_are_counted_by_result() {
    // Failed and interrupted runs do not change the time of the last success.
    let metrics = Metrics::new();
    metrics.started("a");
    assert!(values(&metrics).contains(&"overmind_export_running{job=\"a\"} 1".to_owned()));
    metrics.ended("a", RunEnd::Stored, 10, 2000, 1.5, at("2026-11-21T00:00:00Z"));
    metrics.ended("a", RunEnd::Unchanged, 10, 2000, 0.5, at("2026-11-22T00:00:00Z"));
    metrics.rescued("a", 3);
    metrics.rescued("gone", 3);
    metrics.ended("a", RunEnd::Failed, 0, 0, 9.0, at("2026-11-23T00:00:00Z"));
    metrics.ended("a", RunEnd::Interrupted, 0, 0, 3.0, at("2026-11-24T00:00:00Z"));
    let values = values(&metrics);
    for line in [
        "overmind_export_runs_total{job=\"a\",result=\"stored\"} 1",
        "overmind_export_runs_total{job=\"a\",result=\"unchanged\"} 1",
        "overmind_export_runs_total{job=\"a\",result=\"failed\"} 1",
        "overmind_export_runs_total{job=\"a\",result=\"interrupted\"} 1",
        "overmind_export_rows_total{job=\"a\"} 10",
        "overmind_export_bytes_total{job=\"a\"} 2000",
        "overmind_export_rescued_rows{job=\"a\"} 3",
        "overmind_export_run_duration_seconds{job=\"a\"} 3.0",
        "overmind_export_running{job=\"a\"} 0",
        "overmind_export_last_success_timestamp_seconds{job=\"a\"} 1795305600",
        "overmind_export_last_run_timestamp_seconds{job=\"a\"} 1795478400",
    ] {
        assert!(values.contains(&line.to_owned()), "{line}\n{values:#?}");
    }
}

#[test]
fn removed_job_has_no_series() {
    let metrics = Metrics::new();
    for job in ["stays", "goes"] {
        metrics.known(job, at("2026-11-20T00:00:00Z"), None);
        metrics.expects(job, Duration::from_secs(60));
        metrics.ended(job, RunEnd::Stored, 1, 1, 1.0, at("2026-11-21T00:00:00Z"));
    }
    metrics.retain(&BTreeSet::from(["stays"]));
    let text = metrics.text();
    assert!(text.contains("job=\"stays\"") && !text.contains("job=\"goes\""), "{text}");
}

#[test]
fn job_removed_during_its_run_stays_removed() {
    let metrics = Metrics::new();
    metrics.started("a");
    metrics.retain(&BTreeSet::new());
    metrics.ended("a", RunEnd::Failed, 0, 0, 9.0, at("2026-11-23T00:00:00Z"));
    let text = metrics.text();
    assert!(!text.contains("job=\"a\""), "{text}");
}

#[test]
fn every_metric_has_help_and_type() {
    let metrics = Metrics::new();
    metrics.known("a", at("2026-11-20T00:00:00Z"), Some(at("2026-11-21T00:00:00Z")));
    metrics.expects("a", Duration::from_secs(60));
    metrics.ended("a", RunEnd::Stored, 10, 2000, 1.5, at("2026-11-21T00:00:00Z"));
    metrics.next([("a", at("2026-11-22T02:00:00Z"))].into_iter());
    let text = metrics.text();
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    insta::assert_snapshot!(types.join("\n"), @"
    overmind_export_build info
    overmind_export_runs counter
    overmind_export_rows counter
    overmind_export_bytes counter
    overmind_export_run_duration_seconds gauge
    overmind_export_last_run_timestamp_seconds gauge
    overmind_export_last_success_timestamp_seconds gauge
    overmind_export_known_since_timestamp_seconds gauge
    overmind_export_expected_interval_seconds gauge
    overmind_export_running gauge
    overmind_export_reload_successful gauge
    overmind_export_retries counter
    overmind_export_received_bytes counter
    overmind_export_requests_in_flight gauge
    overmind_export_requests counter
    overmind_export_next_run_timestamp_seconds gauge
    ");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = types.iter().map(|it| it.split(' ').next().unwrap());
        let mut family = family.filter(|it| name.strip_prefix(it).is_some_and(suffix));
        let family = family.next().unwrap_or_else(|| panic!("{line} has no type"));
        assert!(text.contains(&format!("# HELP {family} ")), "{family}");
    }
}

fn suffix(rest: &str) -> bool {
    ["", "_total", "_info"].contains(&rest)
}

#[tokio::test(start_paused = true)]
async fn silent_loop_is_not_healthy() {
    let metrics = Metrics::new();
    assert!(metrics.healthy());
    tokio::time::sleep(SILENCE + Duration::from_secs(1)).await;
    assert!(!metrics.healthy());
    metrics.alive();
    assert!(metrics.healthy());
}
