//! The page about the runs of the scheduled jobs. It reads their histories when somebody asks, at most every five seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::TimeDelta;

use super::{AgendaEntry, Planned, Timetable, metrics::Metrics};
use crate::{
    clock::{Clock as _, SystemClock},
    error::Result,
    location::Location,
    record::place::HIDDEN,
    report::{JobNights, Report},
    snapshots::{RunHistory, plan_retention, stored_damage, stored_with_others},
    tasks::blocking,
};

/// How long a page is served again: 5 s. Many readers cause as many reads of the histories as one.
const FRESH: Duration = Duration::from_secs(5);

/// The page at `/` of [`MetricsServer`](super::MetricsServer). It shows the jobs of the last [`follow`](Self::follow).
#[derive(Debug, Default)]
pub struct NightsPage {
    jobs: Mutex<Vec<PageJob>>,
    /// The last page. The lock also keeps readers from making the same page side by side.
    made: tokio::sync::Mutex<Option<(Instant, Arc<str>)>>,
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
    pub(super) async fn html(&self, metrics: &Metrics) -> Result<Arc<str>> {
        let mut made = self.made.lock().await;
        if let Some((at, page)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(page.clone());
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let active = jobs.iter().map(|job| metrics.active_for(&job.planned.job().name)).collect();
        let page = blocking("making the page", move || page_of(&jobs, active)).await?;
        *made = Some((Instant::now(), page.clone()));
        Ok(page)
    }
}

/// Makes the page. `active` says of each job how long its active run has taken.
fn page_of(jobs: &[PageJob], active: Vec<Option<Duration>>) -> Arc<str> {
    let now = SystemClock.now();
    let nights = jobs.iter().zip(active).map(|(job, active)| {
        let name = &job.planned.job().name;
        let read = read(&job.planned);
        let mut nights = read.unwrap_or_else(|error| JobNights::unreadable(name, &error));
        let last = nights.last_ended();
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
/// request.
fn read(planned: &Planned) -> Result<JobNights> {
    let (job, storage) = (planned.job(), planned.storage());
    let history = RunHistory::of_job(job, storage)?;
    let mut nights = JobNights::new(&job.name, history.runs);
    nights.unreadable_lines = history.unreadable;
    if let Ok(root) = Location::of(&job.root, storage)
        && root.as_local().is_some_and(|root| root.join(HIDDEN).is_dir())
    {
        nights.damaged = stored_damage(&root, &job.name)?;
        (nights.snapshots, nights.of_others) = stored_with_others(&root, &job.name)?;
        nights.retention = plan_retention(job, storage)?;
    }
    Ok(nights)
}
