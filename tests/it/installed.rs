//! The files that users install from `config/`, as far as a parser can check them: the command accepts their
//! arguments, and their names and paths match each other.

use std::{fs, path::Path, process::Command, time::Duration};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use overmind_export::{Config, Schedule, schedule::Timetable};
use saphyr::{LoadableYamlNode, Yaml};

use crate::support::{Ran, command};

const SERVICE: &str = include_str!("../../config/overmind-export.service");
const TIMER: &str = include_str!("../../config/overmind-export.timer");
const CRONTAB: &str = include_str!("../../config/crontab.example");
const CRON_JOB: &str = include_str!("../../config/kubernetes-cronjob.yaml");
const CLUSTER: &str = include_str!("../../config/kubernetes-cluster.yaml");
const CONTAINER: &str = include_str!("../../config/Containerfile");
const PROGRAM: &str = "/usr/local/bin/overmind-export";

/// Asserts that the command accepts these arguments. An unknown option is an error before `--help` takes effect.
#[track_caller]
fn takes(arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    Ran::of(command(folder.path()).args(arguments).arg("--help")).ok();
}

/// The settings of a systemd unit: section, key and value.
fn settings(unit: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            section = name.to_owned();
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert_eq!((key.trim(), value.trim()), (key, value), "{line}");
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    found
}

/// The value of a setting. Panics unless the unit has exactly one such setting.
#[track_caller]
fn setting(unit: &str, section: &str, key: &str) -> String {
    let found = settings(unit).into_iter().filter(|(s, k, _)| s == section && k == key);
    let values: Vec<String> = found.map(|(_, _, value)| value).collect();
    assert_eq!(values.len(), 1, "{section}.{key}: {values:?}");
    values[0].clone()
}

/// Writes both units to a folder. The service starts the tested binary.
fn units(folder: &Path) {
    let service = SERVICE.replace(PROGRAM, env!("CARGO_BIN_EXE_overmind-export"));
    fs::write(folder.join("overmind-export.service"), service).unwrap();
    fs::write(folder.join("overmind-export.timer"), TIMER).unwrap();
}

/// Runs `systemd-analyze` in a folder with both units. Returns `None` if the machine has no `systemd-analyze`.
fn systemd_analyze(arguments: &[&str]) -> Option<Ran> {
    let folder = tempfile::tempdir().unwrap();
    units(folder.path());
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(arguments).current_dir(folder.path()).output();
    if output.is_err() {
        println!("skipped: this machine has no systemd-analyze");
    }
    output.ok().map(Ran::from)
}

#[test]
fn service_starts_a_valid_command() {
    let start = setting(SERVICE, "Service", "ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[..2], [PROGRAM, "snapshot"]);
    takes(&words[1..]);
    // `--api-key-file` names the credential that systemd passes to the service.
    let credential = setting(SERVICE, "Service", "LoadCredential");
    let name = credential.split_once(':').unwrap().0;
    assert!(start.contains(&format!("--api-key-file %d/{name} ")), "{start}");
    assert_eq!(setting(SERVICE, "Service", "SuccessExitStatus"), "143");
    assert_eq!(setting(SERVICE, "Service", "Type"), "oneshot");
}

#[test]
fn timer_runs_nightly_and_repeats_missed_nights() {
    assert_eq!(setting(TIMER, "Timer", "Persistent"), "true");
    assert_eq!(setting(TIMER, "Timer", "OnCalendar"), "*-*-* 02:00:00");
    assert_eq!(setting(TIMER, "Install", "WantedBy"), "timers.target");
}

#[test]
fn systemd_accepts_the_units_without_warnings() {
    let units = ["verify", "./overmind-export.service", "./overmind-export.timer"];
    let Some(ran) = systemd_analyze(&units) else { return };
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn service_is_hardened() {
    // The exposure in tenths: 0 is a service without any rights, 100 a service without any restriction.
    let arguments = ["security", "--offline=true", "--threshold=20", "./overmind-export.service"];
    let Some(ran) = systemd_analyze(&arguments) else { return };
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn crontab_line_has_five_fields_and_a_valid_command() {
    let lines: Vec<&str> = CRONTAB.lines().filter(|line| !line.starts_with('#')).collect();
    let [path, line] = lines[..] else { panic!("{lines:?}") };
    assert!(path.starts_with("PATH=/"), "{path}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let cron: Schedule = words[..5].join(" ").parse().unwrap();
    let evening = "2026-11-23T20:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let nights = Timetable::new("nightly", &cron, Tz::UTC, Duration::ZERO);
    let next = nights.next_after(evening).unwrap();
    assert_eq!(next.scheduled.to_rfc3339(), "2026-11-24T02:00:00+00:00");
    assert_eq!(words[5..7], ["overmind-export", "snapshot"]);
    takes(&words[6..]);
    // cron treats % as a line break.
    assert!(!line.contains('%'), "{line}");
}

/// The only document of this kind.
fn document<'a, 'b>(documents: &'a [Yaml<'b>], kind: &str) -> &'a Yaml<'b> {
    let mut of_kind = documents.iter().filter(|it| it["kind"].as_str() == Some(kind));
    let found = of_kind.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(of_kind.next().is_none(), "more than one {kind}");
    found
}

fn strings(list: &Yaml) -> Vec<String> {
    list.as_sequence().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn cron_job_forbids_overlap_and_useless_retries() {
    let documents = Yaml::load_from_str(CRON_JOB).unwrap();
    let cron_job = document(&documents, "CronJob");
    assert_eq!(cron_job["apiVersion"].as_str(), Some("batch/v1"));
    let spec = &cron_job["spec"];
    assert_eq!(spec["concurrencyPolicy"].as_str(), Some("Forbid"));
    assert!(spec["schedule"].as_str().unwrap().parse::<Schedule>().is_ok());
    let zone = spec["timeZone"].as_str().unwrap();
    assert!(zone.parse::<Tz>().is_ok(), "{zone}");
    let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
    // Kubernetes accepts a podFailurePolicy only with restartPolicy: Never.
    assert_eq!(pod["restartPolicy"].as_str(), Some("Never"));
    let rule = &spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0];
    assert_eq!(rule["action"].as_str(), Some("FailJob"));
    let codes = rule["onExitCodes"]["values"].as_sequence().unwrap();
    let codes: Vec<String> =
        codes.iter().map(|code| code.as_integer().unwrap().to_string()).collect();
    assert_eq!(codes.join(" "), setting(SERVICE, "Service", "RestartPreventExitStatus"));
    assert!(pod["terminationGracePeriodSeconds"].as_integer() > Some(10));
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
}

/// Parses a time such as `15min`, as the command and systemd do.
fn time(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap()
}

#[test]
fn cron_job_has_time_for_an_outage_of_ten_minutes() {
    // The tests of the retries check that the command retries for this long.
    let documents = Yaml::load_from_str(CRON_JOB).unwrap();
    let spec = &document(&documents, "CronJob")["spec"]["jobTemplate"]["spec"];
    let arguments = strings(&spec["template"]["spec"]["containers"][0]["args"]);
    let option = |name: &str| {
        let value = arguments.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name}"))
    };
    let retry_for = time(option("--retry-for"));
    assert!(retry_for > time("10min"));
    let seconds = |name: &str| spec[name].as_integer().unwrap().try_into().unwrap();
    let pods: u32 = spec["backoffLimit"].as_integer().unwrap().try_into().unwrap();
    let deadline = Duration::from_secs(seconds("activeDeadlineSeconds"));
    // All pods may wait for the API, and an hour remains to download. The next night begins later.
    assert!(deadline >= retry_for * (pods + 1) + time("1h"), "{deadline:?}");
    assert!(deadline < time("24h"));
}

#[test]
fn cluster_jobs_are_the_three_steps() {
    let documents = Yaml::load_from_str(CLUSTER).unwrap();
    let secret = document(&documents, "Secret")["metadata"]["name"].as_str().unwrap().to_owned();
    let jobs: Vec<_> = documents.iter().filter(|it| it["kind"].as_str() == Some("Job")).collect();
    let mut outputs = Vec::new();
    for (job, step) in jobs.iter().zip(["begin", "part", "commit"]) {
        assert_eq!(job["metadata"]["labels"]["step"].as_str(), Some(step));
        let name = job["metadata"]["name"].as_str().unwrap();
        assert!(step == "commit" || CLUSTER.contains(&format!("job/{name}")), "{name}");
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"].as_str(), Some("Never"));
        let container = &pod["containers"][0];
        let rule = &job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"];
        assert_eq!(rule["containerName"].as_str(), container["name"].as_str());
        assert_eq!(
            container["env"][0]["valueFrom"]["secretKeyRef"]["name"].as_str(),
            Some(&*secret)
        );
        let arguments = strings(&container["args"]);
        assert_eq!(arguments[0], step);
        // Kubernetes replaces the variable.
        let arguments: Vec<String> =
            arguments.iter().map(|it| it.replace("$(JOB_COMPLETION_INDEX)", "15")).collect();
        takes(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        outputs.extend(arguments.into_iter().find(|it| it.starts_with("--output=")));
    }
    outputs.dedup();
    assert_eq!((jobs.len(), outputs.len()), (3, 1));
    let part = jobs[1];
    assert_eq!(part["spec"]["completionMode"].as_str(), Some("Indexed"));
    let number = |name: &str| part["spec"][name].as_integer().unwrap();
    assert!(CLUSTER.contains(&format!("--ranges={}", number("completions"))));
    assert!(CLUSTER.contains(&format!("--share={}", number("parallelism"))));
}

#[test]
fn service_start_limit_is_documented() {
    let guide = include_str!("../../src/guide/schedule.md");
    let limit = |key: &str| setting(SERVICE, "Unit", key);
    assert_eq!(
        (limit("StartLimitBurst"), limit("StartLimitIntervalSec")),
        ("4".into(), "6h".into())
    );
    assert!(guide.contains("at most four times in six hours"));
    assert!(guide.contains("systemctl reset-failed overmind-export"));
    let wait = time(&setting(SERVICE, "Service", "RestartSec"));
    assert_eq!(wait, time("15min"));
    assert!(guide.contains("tries again after 15 minutes") && 3 * wait > time("10min"));
}

#[test]
fn cron_job_references_match_the_other_documents() {
    let documents = Yaml::load_from_str(CRON_JOB).unwrap();
    let name = |kind| document(&documents, kind)["metadata"]["name"].as_str().unwrap().to_owned();
    let spec = &document(&documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    let arguments = strings(&container["args"]);
    takes(&arguments.iter().map(String::as_str).collect::<Vec<_>>());

    let key = &container["env"][0];
    assert_eq!(key["name"].as_str(), Some("OVERMIND_LAB_API_KEY"));
    let reference = &key["valueFrom"]["secretKeyRef"];
    assert_eq!(reference["name"].as_str().unwrap(), name("Secret"));
    let secret = &document(&documents, "Secret")["stringData"];
    assert!(secret.as_mapping_get(reference["key"].as_str().unwrap()).is_some());

    let volumes = spec["volumes"].as_sequence().unwrap();
    let volume = |name: &str| volumes.iter().find(|it| it["name"].as_str() == Some(name)).unwrap();
    let mounts = container["volumeMounts"].as_sequence().unwrap();
    assert_eq!(mounts.len(), volumes.len());
    let mounted = |path: &str| {
        let mount = mounts.iter().find(|it| it["mountPath"].as_str() == Some(path)).unwrap();
        volume(mount["name"].as_str().unwrap())
    };
    assert_eq!(
        mounted("/etc/overmind-export")["configMap"]["name"].as_str().unwrap(),
        name("ConfigMap")
    );
    let files = &document(&documents, "ConfigMap")["data"];
    let path = Path::new("/etc/overmind-export/snapshots.toml");
    assert!(arguments.contains(&format!("--config={}", path.display())));
    let config = Config::parse(files["snapshots.toml"].as_str().unwrap(), path).unwrap();
    // The snapshots are on the persistent volume.
    for job in &config.jobs {
        let claim = &mounted(job.root.to_str().unwrap())["persistentVolumeClaim"]["claimName"];
        assert_eq!(claim.as_str().unwrap(), name("PersistentVolumeClaim"));
    }
}

#[test]
fn container_file_copies_existing_paths() {
    // It also uses the Rust version that Cargo.toml requires.
    assert!(CONTAINER.contains(&format!("rust:{}-slim", env!("CARGO_PKG_RUST_VERSION"))));
    assert!(CONTAINER.contains(PROGRAM) && CONTAINER.contains("ca-certificates"));
    let copied = CONTAINER.lines().filter_map(|line| line.strip_prefix("COPY "));
    for line in copied.filter(|line| !line.starts_with("--from")) {
        let words: Vec<&str> = line.split(' ').collect();
        for path in &words[..words.len() - 1] {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
        }
    }
}
