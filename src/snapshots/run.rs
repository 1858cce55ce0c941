//! Runs one job once: chooses datasets, compares them with the last snapshots, exports changed datasets,
//! updates `latest.json`, and deletes expired snapshots. The job's result contains every failure.

use std::{path::Path, sync::Arc, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{
    Event, Failure, JobResult, RunOptions, SnapshotResult, Status, Stop, history, prune,
    select::{self, Chosen},
    series::{Series, SeriesState},
};
use crate::{
    client::Client,
    clock::text,
    config::{Job, Selection, Unchanged},
    destination::PlaceLock,
    error::{Error, Result, causes},
    export::{Export, ExportPlan, blocking},
    nested::NestedField,
    record::{
        manifest::{Listed, Manifest, add_replaced},
        stamp::Stamp,
    },
};

/// How far in the future a snapshot's stamp may be. Time zones and small clock errors stay below one day.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// A run of a job.
pub(super) struct JobRun<'a> {
    pub(super) client: Client,
    pub(super) job: &'a Job,
    pub(super) options: &'a RunOptions,
    pub(super) stop: &'a Stop,
    pub(super) started: DateTime<Utc>,
}

/// The snapshot that represents the current data. If the run stored nothing, also how it found the data
/// unchanged.
struct CurrentSnapshot {
    stamp: Stamp,
    manifest: Box<Manifest>,
    unchanged_by: Option<&'static str>,
    /// Whether the job's link leads to it.
    link: Result<()>,
}

impl JobRun<'_> {
    pub(super) async fn run(self) -> JobResult {
        let begun = Instant::now();
        let mut result = JobResult {
            job: self.job.name.clone(),
            status: Status::Failed,
            started_at: text(self.started),
            finished_at: String::new(),
            seconds: 0.0,
            rows: 0,
            rows_read: None,
            failed_rows: 0,
            duplicate_rows: 0,
            replaced_rows: Vec::new(),
            rescued_rows: 0,
            bytes: 0,
            requests: 0,
            retries: 0,
            snapshots: Vec::new(),
            pruned: Vec::new(),
            error: None,
            exit_code: 0,
        };
        if let Err(error) = self.locked(&mut result, begun).await {
            match result.failure() {
                None => self.conclude(&mut result, Some(&error), begun),
                // The first error is more useful than the failure to record it.
                Some(_) => {
                    let causes = causes(&error).join(": ");
                    tracing::warn!(job = result.job, %error, causes, "the run failed, and its result could not be added to the history");
                }
            }
        }
        if let Some(observer) = &self.options.observer {
            observer(Event::Ended(&result));
        }
        result
    }

    /// Does all work that needs the job's lock, and appends the result to the history. A run that finds the job
    /// locked appends that to the history.
    ///
    /// # Errors
    /// An error that the history does not contain.
    async fn locked(&self, result: &mut JobResult, begun: Instant) -> Result<()> {
        if self.stop.is_requested() {
            return Err(self.stop.wait().await);
        }
        let series = Series::of_job(self.job, &self.options.storage)?;
        let lock = {
            let series = series.clone();
            // In a store it can take a minute to find out whether a run on another machine is alive.
            tokio::select! {
                lock = blocking(move || {
                    series.check()?;
                    PlaceLock::take(&series.staging())
                }) => lock,
                error = self.stop.wait() => return Err(error),
            }
        };
        let (lock, outcome) = match lock {
            Ok(lock) => {
                let lock = Arc::new(lock);
                let outcome = self.all(&series, &lock, result).await;
                (Some(lock), outcome)
            }
            Err(error @ Error::Locked { .. }) => (None, Err(error)),
            // The history could not be written either, or must not be.
            Err(error) => return Err(error),
        };
        self.conclude(result, outcome.as_ref().err(), begun);
        let line = result.clone();
        blocking(move || {
            let appended = history::append(&series.staging(), &line);
            // This is the last reference to the lock.
            let released = lock.and_then(Arc::into_inner).map_or(Ok(()), PlaceLock::release);
            released.and(appended)
        })
        .await
    }

    /// Computes the totals, the status and the exit code of the result.
    fn conclude(&self, result: &mut JobResult, error: Option<&Error>, begun: Instant) {
        if let Some(error) = error {
            result.error = Some(Failure::of_job(error));
        }
        let first = result.snapshots.iter().find_map(|snapshot| snapshot.error.as_ref());
        let first = result.error.as_ref().or(first);
        result.exit_code = first.map_or(0, |error| error.exit_code);
        let stored = || result.snapshots.iter().filter(|it| it.status == Status::Stored);
        result.rows = stored().map(|snapshot| snapshot.rows).sum();
        result.rows_read = stored().map(|snapshot| snapshot.rows_read).sum();
        result.failed_rows = stored().map(|snapshot| snapshot.failed_rows).sum();
        result.duplicate_rows = stored().map(|snapshot| snapshot.duplicate_rows).sum();
        let mut replaced = Vec::new();
        stored().for_each(|snapshot| add_replaced(&mut replaced, &snapshot.replaced_rows));
        result.replaced_rows = replaced;
        result.rescued_rows = stored().map(|snapshot| snapshot.rescued_rows).sum();
        result.bytes = stored().map(|snapshot| snapshot.bytes).sum();
        result.status = match first {
            Some(_) => Status::Failed,
            None if stored().next().is_some() => Status::Stored,
            None => Status::Unchanged,
        };
        result.requests = self.client.meter().requests();
        result.retries = self.client.meter().retries();
        result.seconds = begun.elapsed().as_secs_f64();
        result.finished_at = text(self.options.clock.now());
    }

    async fn all(
        &self,
        of_job: &Series,
        lock: &Arc<PlaceLock>,
        result: &mut JobResult,
    ) -> Result<()> {
        let every = matches!(self.job.selection, Selection::All(_));
        let chosen = tokio::select! {
            chosen = select::choose(&self.client, self.job) => chosen?,
            error = self.stop.wait() => return Err(error),
        };
        for chosen in chosen {
            // A run that stops between two datasets is interrupted, not complete.
            if self.stop.is_requested() {
                return Err(self.stop.wait().await);
            }
            let series = match every {
                true => of_job.of_dataset(chosen.id),
                false => of_job.clone(),
            };
            let (snapshot, link) = self.dataset(&chosen, &series, lock).await;
            result.snapshots.push(snapshot);
            // The snapshot is stored, whatever is wrong with its link.
            link?;
        }
        if result.snapshots.iter().any(|snapshot| snapshot.status == Status::Failed) {
            return Ok(());
        }
        let (job, series) = (self.job.clone(), of_job.clone());
        let (lock, stop) = (lock.clone(), self.stop.clone());
        result.pruned = blocking(move || {
            lock.confirm()?;
            let mut pruned = Vec::new();
            for series in series.and_datasets()? {
                prune::prune(&job, &series, &stop, &mut pruned)?;
            }
            Ok(pruned.into_iter().map(|it| it.path).collect())
        })
        .await?;
        Ok(())
    }

    /// Returns the result of a dataset, and whether the job's link leads to its snapshot.
    async fn dataset(
        &self,
        chosen: &Chosen,
        series: &Series,
        lock: &Arc<PlaceLock>,
    ) -> (SnapshotResult, Result<()>) {
        let listed = chosen.listed.as_ref();
        let mut told = SnapshotResult {
            dataset: chosen.id,
            name: listed.and_then(|listed| listed.name.clone()),
            version: listed.and_then(|listed| listed.version),
            status: Status::Failed,
            snapshot: None,
            path: None,
            unchanged_by: None,
            rows: 0,
            rows_read: None,
            failed_rows: 0,
            duplicate_rows: 0,
            replaced_rows: Vec::new(),
            missing: Vec::new(),
            transform: None,
            splits: Vec::new(),
            rescued_rows: 0,
            rescued_paths: Vec::new(),
            bytes: 0,
            digest: None,
            error: None,
        };
        let mut linked = Ok(());
        match self.take(chosen, series, lock).await {
            Ok(CurrentSnapshot { stamp, manifest, unchanged_by, link }) => {
                linked = link;
                told.status = unchanged_by.map_or(Status::Stored, |_| Status::Unchanged);
                told.snapshot = Some(stamp);
                told.path = Some(series.path(stamp));
                told.unchanged_by = unchanged_by.map(str::to_owned);
                told.count(&manifest);
            }
            Err(error) => {
                told.error = Some(Failure::of_job(&error));
                let series = series.clone();
                let left = blocking(move || series.interrupted()).await;
                told.snapshot = left.ok().and_then(|left| Some(left.last()?.0));
            }
        }
        (told, linked)
    }

    /// Stores a snapshot of a dataset, unless the data equals the last snapshot.
    async fn take(
        &self,
        chosen: &Chosen,
        series: &Series,
        lock: &Arc<PlaceLock>,
    ) -> Result<CurrentSnapshot> {
        let now = Stamp::at(self.started);
        let pinned = {
            let (job, series) = (self.job.clone(), series.clone());
            blocking(move || {
                series.prepare()?;
                if job.is_nested() { series.pinned(&job) } else { Ok(None) }
            })
            .await?
        };
        let pinned = pinned.map(|pinned| pinned.nested);
        let plan = self.plan((chosen, pinned.as_deref()), series, now)?;
        let mut before = {
            let (series, latest) = (series.clone(), self.started + AHEAD);
            let link = self.job.link.clone();
            let fingerprint = plan.fingerprint(self.client.base_url());
            blocking(move || Before::look(&series, &plan, &fingerprint, latest, link.as_deref()))
                .await?
        };
        // The job named another dataset before. Equal rows do not make its snapshot one of this dataset.
        before.last = before.last.filter(|(_, last)| self.job.may_store(last.dataset_or_nil()));
        let is_still = |last: &Manifest| {
            self.job.unchanged == Unchanged::Metadata
                && last.base_url.as_deref() == Some(self.client.base_url())
                && is_still(last, chosen)
        };
        if let Some((stamp, manifest)) = before.last.clone().filter(|(_, last)| is_still(last)) {
            if let Some(left) = before.left {
                let series = series.clone();
                blocking(move || series.discard(left)).await?;
            }
            return self.stand(series, lock, stamp, Some((manifest, "metadata"))).await;
        }
        let fresh = now.max(before.newest.map_or(now, Stamp::next));
        let known = before.last.filter(|_| self.job.unchanged == Unchanged::Content);
        let digest = known.as_ref().map(|(_, last)| last.digest.as_str());
        let mut stamp = before.left.unwrap_or(fresh);
        let what = (chosen, pinned.as_deref());
        let mut outcome = self.export(what, series, stamp, digest).await;
        if let (Err(Error::Output { source: None, .. }), Some(left)) = (&outcome, before.left) {
            // The staged data contradicts its journal, so no later run could resume it either. This does
            // not apply to a failing disk or store, whose errors have a source.
            let series_of_left = series.clone();
            blocking(move || series_of_left.discard(left)).await?;
            stamp = fresh;
            outcome = self.export(what, series, stamp, digest).await;
        }
        match (outcome?, known) {
            (true, Some((stamp, last))) => {
                self.stand(series, lock, stamp, Some((last, "content"))).await
            }
            _ => self.stand(series, lock, stamp, None).await,
        }
    }

    /// Exports under this stamp, unless the content has this digest. Returns whether it has. `what` is the dataset and
    /// the pinned types.
    async fn export(
        &self,
        what: (&Chosen, Option<&[NestedField]>),
        series: &Series,
        stamp: Stamp,
        digest: Option<&str>,
    ) -> Result<bool> {
        let export = Export::new(self.client.clone(), self.plan(what, series, stamp)?);
        if let Some(observer) = &self.options.observer {
            let (job, client, progress) = (self.job, &self.client, export.progress());
            observer(Event::Began { job, client, progress });
        }
        let known = |seen: &str| Some(seen) == digest;
        let (_, same) = export.run_unless(known, self.stop.wait()).await?;
        Ok(same)
    }

    /// Updates `latest.json` and the link to this snapshot. For an old snapshot, `unchanged` contains its manifest and the
    /// comparison that found the data unchanged.
    async fn stand(
        &self,
        series: &Series,
        lock: &Arc<PlaceLock>,
        stamp: Stamp,
        unchanged: Option<(Box<Manifest>, &'static str)>,
    ) -> Result<CurrentSnapshot> {
        let (series, lock, as_of) = (series.clone(), lock.clone(), self.started);
        let (job, link) = (self.job.clone(), self.job.link.clone());
        blocking(move || {
            lock.confirm()?;
            let (manifest, unchanged_by) = match unchanged {
                Some((manifest, by)) => (manifest, Some(by)),
                None => (series.manifest(stamp)?, None),
            };
            series.pin_first(&job, stamp, &manifest)?;
            series.set_latest(stamp, &manifest, as_of)?;
            let link = series.link(stamp, link.as_deref());
            Ok(CurrentSnapshot { stamp, manifest, unchanged_by, link })
        })
        .await
    }

    fn plan(
        &self,
        what: (&Chosen, Option<&[NestedField]>),
        series: &Series,
        stamp: Stamp,
    ) -> Result<ExportPlan> {
        super::plan::plan(
            self.job,
            self.job.storage_with(&self.options.storage),
            what,
            series,
            stamp,
        )
    }
}

/// The state of a series before a run.
struct Before {
    /// The newest snapshot, if the plan would produce the same files from the same rows.
    last: Option<(Stamp, Box<Manifest>)>,
    /// The interrupted snapshot that can be resumed.
    left: Option<Stamp>,
    /// The newest stamp of all snapshots, complete or not.
    newest: Option<Stamp>,
}

impl Before {
    /// Reads the state of a prepared series, and removes what killed runs have left.
    fn look(
        series: &Series,
        plan: &ExportPlan,
        fingerprint: &Value,
        latest: DateTime<Utc>,
        link: Option<&Path>,
    ) -> Result<Self> {
        let entries = series.entries()?;
        let interrupted = series.interrupted()?;
        let stamps = entries.iter().map(|entry| entry.stamp);
        let newest = stamps.chain(interrupted.iter().map(|(stamp, _)| *stamp)).max();
        // Otherwise each later snapshot would get a stamp one second after it, and retention would use
        // these wrong stamps.
        if let Some(stamp) = newest.filter(|stamp| stamp.time() > latest) {
            return Err(Error::Output {
                path: series.target(stamp).to_path(),
                why: "is in the future: a clock is or was wrong".to_owned(),
                hint: Some("set the clock, or move that folder away"),
                source: None,
            });
        }
        let complete = entries.into_iter().rev().find_map(|entry| match entry.state {
            SeriesState::Complete(manifest) => Some((entry.stamp, manifest)),
            _ => None,
        });
        if let Some((stamp, manifest)) = &complete {
            // A run can be killed after it published the snapshot and before it updated `latest.json`.
            if series.latest()?.is_none_or(|latest| latest.snapshot != *stamp) {
                series.set_latest(*stamp, manifest, stamp.time())?;
            }
            // `stand` tries again after the export, and reports the error.
            drop(series.link(*stamp, link));
        }
        let mut left = None;
        for (stamp, begun) in interrupted.into_iter().rev() {
            let is_newest = complete.as_ref().is_none_or(|(complete, _)| stamp > *complete);
            if left.is_none() && is_newest && begun.as_ref() == Some(fingerprint) {
                left = Some(stamp);
            } else {
                series.discard(stamp)?;
            }
        }
        // Files may have been removed by hand. An incomplete snapshot does not represent the data.
        let whole = match &complete {
            Some((stamp, manifest)) => series.is_whole(*stamp, manifest)?,
            None => false,
        };
        let last = complete.filter(|(_, manifest)| {
            whole
                && manifest.completeness == plan.completeness()
                && manifest.columns.iter().eq(plan.columns())
                && manifest.transform.as_ref() == plan.transform_record()
                && manifest.format == plan.encoding.format()
                && manifest.compression == plan.encoding.compression().to_string()
                && manifest.parquet_encoding == plan.encoding.parquet_encoding()
                && manifest.json_columns == plan.encoding.json_columns()
                && plan.given_types().is_none_or(|types| {
                    manifest.nested.as_deref() == Some(&*plan.recorded_types(types))
                })
                && manifest.csv_bom == plan.encoding.csv_bom()
                && manifest.csv_safe == plan.encoding.csv_safe()
                && manifest.card.is_some() == plan.options.dataset_card
                && manifest
                    .query
                    .as_ref()
                    .is_some_and(|it| it.ordering == plan.options.query.ordering)
        });
        Ok(Self { last, left, newest })
    }
}

/// Returns whether the list of datasets has the same facts for this dataset as for the last snapshot.
fn is_still(last: &Manifest, chosen: &Chosen) -> bool {
    let then = last.snapshot.as_ref().and_then(|snapshot| snapshot.listed.as_ref());
    let (Some(then), Some(now)) = (then, &chosen.listed) else { return false };
    let same = |listed: &Listed| (listed.num_datapoints, listed.metadata.clone());
    last.dataset == Some(chosen.id) && now.num_datapoints.is_some() && same(then) == same(now)
}
