//! `snapshot --metrics-file`: the metrics of runs that a timer starts.

use std::fs;

use overmind_export::demo::{Dataset, Fault, FaultAttempt, FaultPage, Faults};

use super::{Nightly, version_id};
use crate::support::ID;

const FILE: &str = "metrics/overmind.prom";

/// The file without help and types. Times and durations that differ from run to run are replaced.
fn metrics(nightly: &Nightly) -> String {
    let text = String::from_utf8(nightly.world.read(FILE)).unwrap();
    let values = text.lines().filter(|line| !line.starts_with('#'));
    let steady = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let number: f64 = value.parse().unwrap();
        match (name.contains("timestamp"), name.contains("duration"), number > 0.0) {
            (true, _, true) => format!("{name} TIME\n"),
            (_, true, true) => format!("{name} SECONDS\n"),
            _ if name.contains("bytes") && number > 0.0 => format!("{name} BYTES\n"),
            _ => format!("{line}\n"),
        }
    };
    values.map(steady).collect()
}

#[test]
fn metrics_file_has_every_job_and_its_last_success() {
    let jobs = format!(
        "[[job]]\nname = \"good\"\ndataset = \"{ID}\"\n\
         [[job]]\nname = \"gone\"\ndataset = \"{}\"\n\
         [[job]]\nname = \"later\"\ndataset = \"{ID}\"\n",
        version_id(99),
    );
    let nightly = Nightly::new(vec![Dataset::generated(120, 7).with_id(ID)], &jobs);
    let ran = nightly.snapshot(&["good", "gone", "--metrics-file", FILE]);
    assert_eq!(ran.code, Some(66), "{ran:?}");
    insta::assert_snapshot!(metrics(&nightly), @r#"
    overmind_export_last_run_timestamp_seconds{job="good"} TIME
    overmind_export_last_run_timestamp_seconds{job="gone"} TIME
    overmind_export_last_success_timestamp_seconds{job="good"} TIME
    overmind_export_last_success_timestamp_seconds{job="gone"} 0
    overmind_export_last_success_timestamp_seconds{job="later"} 0
    overmind_export_run_duration_seconds{job="good"} SECONDS
    overmind_export_run_duration_seconds{job="gone"} SECONDS
    overmind_export_last_run_exit_code{job="good"} 0
    overmind_export_last_run_exit_code{job="gone"} 66
    overmind_export_last_run_rows{job="good"} 120
    overmind_export_last_run_rows{job="gone"} 0
    overmind_export_last_run_bytes{job="good"} BYTES
    overmind_export_last_run_bytes{job="gone"} 0
    overmind_export_rescued_rows{job="good"} 0
    "#);

    // A failure keeps the time of the last success. The jobs that did not run now are still there.
    let success = |text: &str| {
        let line =
            text.lines().find(|line| line.contains("success_timestamp_seconds{job=\"good\"}"));
        line.unwrap().to_owned()
    };
    let before = success(&fs::read_to_string(nightly.world.path(FILE)).unwrap());
    let faults = Faults::none().on(FaultPage::List, FaultAttempt::Always, Fault::status(503));
    nightly.world.server.set_faults(faults);
    let ran = nightly.snapshot(&["good", "--max-retries", "0", "--metrics-file", FILE]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    let text = fs::read_to_string(nightly.world.path(FILE)).unwrap();
    assert_eq!(success(&text), before);
    assert!(text.contains("overmind_export_last_run_exit_code{job=\"good\"} 69\n"), "{text}");
    assert!(text.contains("overmind_export_last_run_exit_code{job=\"gone\"} 66\n"), "{text}");
    // The collector reads files in the Prometheus text format: each type line names the samples below it.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('{').next().unwrap();
        assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{name}");
    }
    // The file is replaced in one step: no temporary file stays.
    assert_eq!(crate::support::entries(&nightly.world.path("metrics")), ["overmind.prom"]);
}

#[test]
fn unwritable_metrics_file_fails_the_run() {
    let nightly = Nightly::one(10, "");
    fs::create_dir(nightly.world.path("folder")).unwrap();
    let ran = nightly.snapshot(&["-q", "--metrics-file", "folder"]);
    insta::assert_snapshot!(ran.told(&nightly.world), @"
    exit 74
    error: cannot write folder
      cause: Is a directory (os error 21)
    ");
    // The snapshot is there all the same.
    assert_eq!(nightly.history("nightly").len(), 1);
}
