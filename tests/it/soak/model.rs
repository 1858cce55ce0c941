//! What must exist after a night: the lines of the histories and the snapshots, computed from the logs and from the
//! rules of retention, and compared with what does exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use overmind_export::{
    Job, JobResult, Stamp, Status,
    chrono::{DateTime, TimeDelta},
};

use super::{
    data::{Data, expected},
    jobs::Place,
    service::{INTERRUPTED, Run},
};
use crate::{read::Table, snapshots::nights::retained};

/// The snapshots of a job, by the part of the path before `snapshot=…`.
type Snapshots = BTreeMap<String, BTreeSet<Stamp>>;

/// The folders of a job. Those of a store are the folders in which the test's store keeps its objects.
pub(super) struct Folders {
    pub(super) data: PathBuf,
    pub(super) hidden: PathBuf,
}

/// What is known about a job from the nights before.
#[derive(Default)]
pub(super) struct JobModel {
    /// Number of known lines of the history, and of known runs.
    lines: usize,
    runs: usize,
    there: Snapshots,
    /// Snapshots whose rows were compared.
    compared: BTreeSet<String>,
    /// Whether the last run ended with success.
    pub(super) is_clean: bool,
    /// Whether no run has succeeded since one that may have published a snapshot without a line.
    is_loose: bool,
}

impl JobModel {
    /// Whether the job had a history before the night.
    pub(super) fn has_lines(&self) -> bool {
        self.lines > 0
    }
}

/// A job in the morning.
pub(super) struct Morning<'a> {
    /// For messages: the seed, the night and the job.
    pub(super) what: String,
    /// The job, by generation of the configuration.
    pub(super) generations: &'a [Vec<Job>],
    pub(super) name: &'a str,
    pub(super) place: Place,
    pub(super) folders: Folders,
    /// All runs of the process.
    pub(super) runs: &'a [Run],
    pub(super) data: &'a Data,
}

impl Morning<'_> {
    fn job(&self, generation: usize) -> &Job {
        let job = self.generations[generation].iter().find(|job| job.name == self.name);
        job.unwrap_or_else(|| panic!("{}: the file does not have it", self.what))
    }

    pub(super) fn history(&self) -> Vec<JobResult> {
        let text =
            fs::read_to_string(self.folders.hidden.join("history.jsonl")).unwrap_or_default();
        // A full disk can leave a torn last line. The next run removes it.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The runs of the night, also a `prune` by hand.
    pub(super) fn runs_of_night(&self, model: &JobModel) -> Vec<&Run> {
        self.runs.iter().filter(|run| run.job == self.name).skip(model.runs).collect()
    }

    /// Checks the runs and the snapshots of the night. Returns the existing snapshots, as paths below the job's
    /// folder.
    pub(super) fn check(&self, model: &mut JobModel) -> Vec<String> {
        let what = &self.what;
        let history = self.history();
        assert!(history.len() >= model.lines, "{what}: the history has lost lines");
        let (lines, runs) = (&history[model.lines..], self.runs_of_night(model));
        for run in runs.iter().filter(|run| run.start > 0) {
            let codes = run.weather.codes(self.place);
            let is_expected =
                |(_, code): &(String, u8)| codes.contains(code) || *code == INTERRUPTED;
            let is_expected = run.end.as_ref().is_none_or(is_expected);
            assert!(
                is_expected,
                "{what}: exit codes {codes:?} were expected: {run:#?}\n{lines:#?}"
            );
        }
        let lines_of = self.align(&runs, lines, 0).unwrap_or_else(|| {
            panic!("{what}: the history does not have the runs of the log:\n{runs:#?}\n{lines:#?}")
        });
        (model.lines, model.runs) = (history.len(), model.runs + runs.len());

        let (actual, unfinished, temporary) = self.snapshots();
        let mut there = std::mem::take(&mut model.there);
        // A run that was killed, or whose disk was full, may have published a snapshot without a line, or may have
        // left that to the next run.
        let known: BTreeSet<_> = all(&there).chain(lines.iter().flat_map(stored)).collect();
        let extra: Vec<_> = all(&actual).filter(|it| !known.contains(it)).collect();
        let add_extra = |there: &mut Snapshots| {
            for (prefix, stamp) in &extra {
                there.entry(prefix.clone()).or_default().insert(*stamp);
            }
        };
        if model.is_loose {
            add_extra(&mut there);
        }
        for (run, line) in runs.iter().zip(&lines_of) {
            let line = line.map(|index| &lines[index]);
            if let Some(line) = line {
                for (prefix, stamp) in stored(line) {
                    there.entry(prefix).or_default().insert(stamp);
                }
                self.compare_current(line, run);
            }
            let code = match &run.end {
                Some((_, code)) => Some(*code),
                None => line.map(|line| line.exit_code),
            };
            if code == Some(0) && !run.is_stopped {
                there = self.kept(&there, run.generation);
            }
            if run.start == 0 {
                continue;
            }
            // A run that was killed after its line may have left its lock.
            model.is_clean = matches!(run.end, Some((_, 0)));
            model.is_loose = match code {
                Some(0) => run.is_stopped,
                _ => model.is_loose || self.is_loose(run),
            };
            if model.is_loose {
                add_extra(&mut there);
            }
        }
        there.retain(|_, stamps| !stamps.is_empty());
        if model.is_loose {
            let most: BTreeSet<_> = all(&there).collect();
            let found: BTreeSet<_> = all(&actual).collect();
            assert!(found.is_subset(&most), "{what}: snapshots {found:?}, expected {most:?}");
            // The run may have been killed while it deleted snapshots.
            let generation = runs.last().map(|run| run.generation);
            let last = generation.map(|generation| self.kept(&there, generation));
            let least: BTreeSet<_> = all(last.as_ref().unwrap_or(&there)).collect();
            assert!(
                least.is_subset(&found),
                "{what}: snapshots {found:?}, retention keeps {least:?}"
            );
        } else {
            assert_eq!(actual, there, "{what}: the snapshots are not those that retention keeps");
            assert!(unfinished.is_empty(), "{what}: no record of {unfinished:?}");
        }
        let paths: Vec<String> = paths(&actual);
        self.compare_rows(model, &paths, &history);
        self.check_names(model, &actual, temporary);
        model.there = actual;
        paths
    }

    /// Whether a run that did not succeed may have published a snapshot without a line in the history: it was killed
    /// or stopped, or its disk was full, or its store refused the line.
    fn is_loose(&self, run: &Run) -> bool {
        run.is_stopped || run.end.is_none() || run.weather.may_lose_line(self.place)
    }

    /// The snapshots that stay after retention.
    fn kept(&self, there: &Snapshots, generation: usize) -> Snapshots {
        let job = self.job(generation);
        let Some(keep) = job.keep else { return there.clone() };
        let kept = |stamps| retained(stamps, keep, job.timezone);
        there.iter().map(|(prefix, stamps)| (prefix.clone(), kept(stamps))).collect()
    }

    /// Finds the line of each run, from the line `at` on. `None` if the lines are not those of the runs.
    fn align(&self, runs: &[&Run], lines: &[JobResult], at: usize) -> Option<Vec<Option<usize>>> {
        let Some((run, rest)) = runs.split_first() else {
            return (at == lines.len()).then(Vec::new);
        };
        let after = |line: Option<usize>, at: usize| {
            let mut found = self.align(rest, lines, at)?;
            found.insert(0, line);
            Some(found)
        };
        let is_its = |line: &JobResult| {
            let started = line.started_at.parse::<DateTime<_>>().unwrap();
            let seconds = (started - run.started).num_seconds().abs();
            let is_told = run.end.as_ref().is_none_or(|(message, code)| {
                let status = match message.as_str() {
                    "stored" => Status::Stored,
                    "unchanged" => Status::Unchanged,
                    _ => Status::Failed,
                };
                (line.status, line.exit_code) == (status, *code)
            });
            seconds <= 2 && is_told
        };
        if lines.get(at).is_some_and(is_its)
            && let Some(found) = after(Some(at), at + 1)
        {
            return Some(found);
        }
        if run.start == 0 || self.is_loose(run) { after(None, at) } else { None }
    }

    /// Checks the snapshots that a successful run calls the current data: the API held those rows during the run.
    fn compare_current(&self, line: &JobResult, run: &Run) {
        let time = |text: &str| text.parse().unwrap();
        let span = (time(&line.started_at), time(&line.finished_at));
        for snapshot in line.snapshots.iter().filter(|it| it.status != Status::Failed) {
            let rows = snapshot.rows as usize;
            let version = self.data.version(snapshot.dataset, rows, span);
            assert!(
                version.is_some_and(|(_, was_held)| was_held),
                "{}: {:?} has {rows} rows, which the API did not hold during the run {run:?}",
                self.what,
                snapshot.path
            );
        }
    }

    /// Reads the new snapshots with other libraries, and compares every value with the served one.
    fn compare_rows(&self, model: &mut JobModel, paths: &[String], history: &[JobResult]) {
        for path in paths {
            if !model.compared.insert(path.clone()) {
                continue;
            }
            let what = format!("{}: {path}", self.what);
            let folder = self.folders.data.join(path);
            let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            // The test's store leaves empty folders.
            let mut parts: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
            parts.sort();
            let tables = parts.iter().map(|part| {
                let name = part.file_name().unwrap().to_str().unwrap();
                Table::read(name, fs::read(part).unwrap())
            });
            let found = tables.reduce(|mut all, part| {
                all.rows.extend(part.rows);
                all
            });
            let found = found.unwrap_or_else(|| panic!("{what}: no parts"));
            let record = format!("{path}.manifest.json");
            let record = fs::read(self.folders.hidden.join(&record)).unwrap();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            let dataset = record["dataset"].as_str().unwrap().parse().unwrap();
            // Any time: `compare_current` compares the times of the snapshots in the history.
            let always = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::days(99_999));
            let wire = self.data.version(dataset, found.rows.len(), always);
            let Some((wire, _)) = wire else {
                panic!("{what}: the API never held {} rows\n{history:#?}", found.rows.len());
            };
            // No edit changes the columns or the ordering.
            let job = self.generations.iter().flatten().find(|job| job.name == self.name).unwrap();
            found.assert_equals(&expected(job, wire), &what);
        }
    }

    /// The complete snapshots, the paths of those without a record, and other files of ours.
    fn snapshots(&self) -> (Snapshots, BTreeSet<String>, BTreeSet<String>) {
        let (mut found, mut unfinished) = (Snapshots::new(), BTreeSet::new());
        let mut temporary = BTreeSet::new();
        for path in self.files(&self.folders.data) {
            if is_empty_dataset(&path) {
                continue;
            }
            // What an interrupted run has left: control objects in a store, or temporary files.
            if path.split('/').any(|name| name == "_overmind" || name.starts_with(".overmind-")) {
                temporary.insert(path);
                continue;
            }
            let Some((folder, name)) = path.rsplit_once('/') else {
                panic!("{}: {path} is in the folder of snapshots", self.what)
            };
            let (prefix, stamp) = match folder.rsplit_once('/') {
                Some((prefix, stamp)) => (format!("{prefix}/"), stamp),
                None => (String::new(), folder),
            };
            let stamp = Stamp::of_folder(stamp);
            let (Some(stamp), true) = (stamp, name.starts_with("part-")) else {
                panic!("{}: {path} is no part of a snapshot", self.what)
            };
            match self.folders.hidden.join(format!("{folder}.manifest.json")).exists() {
                true => drop(found.entry(prefix).or_default().insert(stamp)),
                false => drop(unfinished.insert(folder.to_owned())),
            }
        }
        (found, unfinished, temporary)
    }

    /// The paths of all files below a folder, and of all empty folders with a slash at the end. A store has no
    /// folders.
    fn files(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        collect(folder, "", &mut found);
        found.retain(|path| self.place != Place::Store || !path.ends_with('/'));
        found
    }

    /// Checks that nothing is left but what the guide names. `left` are files among the snapshots.
    fn check_names(&self, model: &JobModel, actual: &Snapshots, mut left: BTreeSet<String>) {
        left.extend(self.files(&self.folders.hidden));
        left.remove("history.jsonl");
        for (prefix, stamps) in actual {
            left.remove(&format!("{prefix}latest.json"));
            for stamp in stamps {
                left.remove(&format!("{prefix}{}.manifest.json", stamp.folder()));
            }
        }
        // What a run that failed or was killed may leave for the next one.
        let is_temporary = |name: &str| {
            let ends = [".partial", ".removed", ".removed.json", ".new"];
            name == ".lock"
                || name == "_overmind"
                || name.starts_with(".overmind-")
                || ends.iter().any(|end| name.ends_with(end))
        };
        if !model.is_clean {
            let is_expected =
                |path: &str| is_empty_dataset(path) || path.split('/').any(is_temporary);
            left.retain(|path| !is_expected(path));
        }
        assert!(left.is_empty(), "{}: left over: {left:?}", self.what);
    }
}

/// Whether a path is the folder of a dataset of `select = "all"` that has nothing yet.
fn is_empty_dataset(path: &str) -> bool {
    path.strip_suffix('/').is_some_and(|name| name.starts_with("dataset=") && !name.contains('/'))
}

/// The snapshots that a run stored, also one that failed for another dataset.
fn stored(line: &JobResult) -> impl Iterator<Item = (String, Stamp)> + '_ {
    line.snapshots.iter().filter(|it| it.status == Status::Stored).map(|it| {
        let path = it.path.as_deref().unwrap_or_default();
        let prefix =
            path.rsplit_once('/').map_or(String::new(), |(prefix, _)| format!("{prefix}/"));
        (prefix, it.snapshot.unwrap())
    })
}

fn all(snapshots: &Snapshots) -> impl Iterator<Item = (String, Stamp)> + '_ {
    let of = |(prefix, stamps): (&'_ String, &'_ BTreeSet<Stamp>)| {
        stamps.iter().map(|stamp| (prefix.clone(), *stamp)).collect::<Vec<_>>()
    };
    snapshots.iter().flat_map(of)
}

/// The paths of these snapshots below the job's folder.
fn paths(snapshots: &Snapshots) -> Vec<String> {
    all(snapshots).map(|(prefix, stamp)| format!("{prefix}{}", stamp.folder())).collect()
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let before = found.len();
    for entry in entries.map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
    if found.len() == before && !prefix.is_empty() {
        found.push(prefix.to_owned());
    }
}
