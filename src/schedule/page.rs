//! The page about the runs of the scheduled jobs. It reads their histories when somebody asks, at most every five seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use tokio::sync::Mutex as AsyncMutex;

use super::{AgendaEntry, Planned, Timetable, metrics::Metrics};
use crate::{
    clock::{Clock as _, SystemClock},
    error::Result,
    location::Location,
    record::place::HIDDEN,
    report::{JobNights, Report, history_limit},
    snapshots::{RunHistory, plan_retention},
    tasks::blocking,
};

/// Shortest time for which a page is served again: 5 s. Many readers cause as many reads of the histories as one.
const FRESH: Duration = Duration::from_secs(5);

/// The page at `/` of [`MetricsServer`](super::MetricsServer). It shows the jobs of the last [`follow`](Self::follow).
#[derive(Debug, Default)]
pub struct NightsPage {
    jobs: Arc<Mutex<Vec<PageJob>>>,
    last: LastPage,
}

/// A job on the page.
#[derive(Debug, Clone)]
struct PageJob {
    timetable: Timetable,
    planned: Arc<Planned>,
}

impl NightsPage {
    /// Shows these jobs from now on.
    pub fn follow(&self, entries: &[AgendaEntry<Arc<Planned>>]) {
        let jobs = entries.iter().map(|entry| PageJob {
            timetable: entry.timetable.clone(),
            planned: entry.job.clone(),
        });
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = jobs.collect();
    }

    /// Returns the page.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) if making it panics.
    pub(super) async fn html(&self, metrics: &Arc<Metrics>) -> Result<Arc<str>> {
        let (jobs, metrics) = (self.jobs.clone(), metrics.clone());
        let make = move || {
            let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let active = jobs.iter().map(|job| metrics.active_for(&job.planned.job().name));
            let active = active.collect();
            page_of(&jobs, active)
        };
        self.last.or_make(make).await
    }
}

/// The page that was made last.
#[derive(Debug, Default)]
struct LastPage(Arc<AsyncMutex<Option<MadePage>>>);

#[derive(Debug)]
struct MadePage {
    html: Arc<str>,
    at: Instant,
    /// How long it is served again.
    fresh: Duration,
}

impl LastPage {
    /// Returns the last page, or makes a new one. One page is made at a time: the thread that makes it holds the lock, also
    /// after its reader has gone. So a page that takes longer than a request may last is there for the next reader.
    async fn or_make(&self, make: impl FnOnce() -> Arc<str> + Send + 'static) -> Result<Arc<str>> {
        let mut last = self.0.clone().lock_owned().await;
        if let Some(made) = &*last
            && made.at.elapsed() < made.fresh
        {
            return Ok(made.html.clone());
        }
        blocking("making the page", move || {
            let begun = Instant::now();
            let html = make();
            // Work on pages takes at most half of the time, also with large histories.
            let fresh = begun.elapsed().max(FRESH);
            *last = Some(MadePage { html: html.clone(), at: Instant::now(), fresh });
            html
        })
        .await
    }
}

/// Makes the page. `active` says of each job how long its active run has taken.
fn page_of(jobs: &[PageJob], active: Vec<Option<Duration>>) -> Arc<str> {
    let now = SystemClock.now();
    let limit = history_limit(jobs.len());
    let nights = jobs.iter().zip(active).map(|(job, active)| {
        let name = &job.planned.job().name;
        let read = read(&job.planned, limit);
        let mut nights = read.unwrap_or_else(|error| JobNights::unreadable(name, &error));
        let last = nights.last_dated(now);
        nights.missed = last.map(|last| job.timetable.missed_since(last, now));
        nights.missed_before = job.timetable.missed_between(&nights.runs);
        nights.next = job.timetable.next_starts(now);
        let active = active.and_then(|it| TimeDelta::from_std(it).ok());
        nights.running_since = active.map(|active| now - active);
        nights
    });
    let nights: Vec<JobNights> = nights.collect();
    Report::of_live_nights("Schedule", &nights, now).as_html().into()
}

/// Reads the history of a job, and its snapshots if they are on a file system: each snapshot in a store would cost a
/// request. `limit` is the number of bytes of the history to read.
fn read(planned: &Planned, limit: u64) -> Result<JobNights> {
    let (job, storage) = (planned.job(), planned.storage());
    let history = RunHistory::newest_of_job(job, storage, limit)?;
    let mut nights = JobNights::of_history(&job.name, history);
    if let Ok(root) = Location::of(&job.root, storage)
        && root.as_local().is_some_and(|root| root.join(HIDDEN).is_dir())
    {
        nights.read_snapshots(&root)?;
        // A record that it cannot read is named as damaged.
        nights.retention = plan_retention(job, storage).unwrap_or_default();
    }
    Ok(nights)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn page_outlives_its_reader_and_is_made_once() {
        let last = LastPage::default();
        let ((started, begins), (go_on, waits)) = (oneshot::channel(), mpsc::channel::<()>());
        let first = last.or_make(move || {
            started.send(()).unwrap();
            waits.recv().unwrap();
            "first".into()
        });
        // The reader goes while its page is made.
        tokio::select! {
            page = first => panic!("{page:?}"),
            begun = begins => begun.unwrap(),
        }
        let second = last.or_make(|| "second".into());
        let (page, ()) = tokio::join!(second, async { go_on.send(()).unwrap() });
        assert_eq!(&*page.unwrap(), "first");
    }

    #[tokio::test]
    async fn failed_page_is_made_again() {
        let last = LastPage::default();
        assert!(last.or_make(|| panic!("for the test")).await.is_err());
        assert_eq!(&*last.or_make(|| "second".into()).await.unwrap(), "second");
    }
}
