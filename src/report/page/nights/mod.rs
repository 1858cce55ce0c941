//! The page about the runs of jobs: what is odd, a calendar, charts, failures, snapshots, and the runs to come.

mod calendar;
mod charts;
mod drift;
mod failure_text;
mod failures;
mod tables;
mod words;

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use self::words::{remark, state_class, state_word};
use super::{
    document,
    text::{Outside, bytes, time},
};
use crate::{
    clock,
    report::{
        nights::{JobNights, NightsChange, WEEK},
        odd::{self, JobState, OddNight},
    },
    snapshots::{JobResult, Status},
    text::{counted, grouped, line},
};

/// Most next runs that are shown.
const MOST_NEXT: usize = 5;
/// Most odd nights of a job that are listed openly.
const MOST_REMARKS: usize = 12;

/// A job with what is odd about it.
struct SeenJob<'a> {
    job: &'a JobNights,
    odd: Vec<OddNight>,
    state: JobState,
}

/// Returns the page as of this time. `is_live` says that a server makes it again when it is loaded again.
pub(crate) fn render(
    title: &str,
    jobs: &[JobNights],
    as_of: DateTime<Utc>,
    is_live: bool,
) -> Markup {
    let see = |job| {
        let (odd, state) = odd::of_job(job, as_of);
        SeenJob { job, odd, state }
    };
    let seen: Vec<SeenJob<'_>> = jobs.iter().map(see).collect();
    let body = html! {
        header.top {
            p.kicker { "Nights" }
            h1 { (Outside(title)) }
            (verdicts(&seen))
            p.soft { "As of " (time(&clock::text(as_of))) "." @if is_live { " Reload the page to see later runs." } }
            (worst(&seen))
            @if jobs.len() > 1 {
                nav aria-label="Jobs" { @for (place, job) in jobs.iter().enumerate() { a href=(format!("#job-{place}")) { (Outside(&job.job)) } } }
            }
        }
        main #main tabindex="-1" {
            @if jobs.is_empty() { section { p.empty { "There are no jobs." } } }
            @for (place, job) in seen.iter().enumerate() { (section(place, job, as_of)) }
        }
    };
    document(&format!("{}: nights", line(title)), &body)
}

/// The states of the jobs, the worst first. Jobs that are well are named only if no job is worse.
fn verdicts(seen: &[SeenJob<'_>]) -> Markup {
    let of = |state: JobState| seen.iter().filter(move |it| it.state == state);
    let names =
        |state: JobState| of(state).map(|it| line(&it.job.job)).collect::<Vec<_>>().join(", ");
    let bad = [JobState::Failing, JobState::Damaged, JobState::Stale, JobState::Odd, JobState::New];
    let is_good = seen.iter().all(|it| it.state == JobState::Well);
    html! {
        @if is_good && !seen.is_empty() {
            p.verdict.(state_class(JobState::Well)) { strong { (state_word(JobState::Well)) } ": " (counted(seen.len() as u64, "job")) "." }
        }
        @for state in bad {
            @if of(state).next().is_some() {
                p.verdict.(state_class(state)) { strong { (state_word(state)) } ": " (names(state)) "." }
            }
        }
    }
}

/// The worst thing about each job. The page of one job says the same right below.
fn worst(seen: &[SeenJob<'_>]) -> Markup {
    html! {
        @if seen.len() > 1 && seen.iter().any(|it| is_worth_a_look(it)) {
            ul.remarks {
                @for (place, it) in seen.iter().enumerate().filter(|(_, it)| is_worth_a_look(it)) {
                    @if let Some(odd) = it.odd.first() {
                        li { a href=(format!("#job-{place}")) { (Outside(&it.job.job)) } ": " (remark(odd, it.job)) }
                    }
                }
            }
        }
    }
}

fn is_worth_a_look(seen: &SeenJob<'_>) -> bool {
    !matches!(seen.state, JobState::New | JobState::Well)
}

fn section(place: usize, seen: &SeenJob<'_>, as_of: DateTime<Utc>) -> Markup {
    let (id, job) = (format!("job-{place}"), seen.job);
    let title = format!("{id}-title");
    html! {
        section id=(id) aria-labelledby=(title) {
            h2 id=(title) { (Outside(&job.job)) }
            (remarks(seen))
            (facts(place, job))
            @if job.problem.is_none() && job.runs.is_empty() {
                p.empty { @if job.unreadable_lines == 0 { "This job has not run yet." } @else { "No run in its history can be read." } }
            } @else if job.problem.is_none() {
                @if job.unread_bytes > 0 {
                    p.note { "The history has older runs, in " (bytes(job.unread_bytes)) ". They are not on this page." }
                }
                (calendar::calendar_of(job, as_of))
                (failures::section(job))
                (charts::runs(job))
                (drift::section(place, job))
                @if let Some(change) = &job.last_change { (drift::change(job, change, &format!("change-{place}"), "The last change")) }
                @if let Some(change) = &job.week_change { (drift::change(job, change, &format!("week-{place}"), week_title(job, change))) }
                (tables::runs(job))
            }
            @if job.data.is_empty() && job.unread.is_empty() && !job.snapshots.is_empty() {
                p.note {
                    "The rows of the snapshots were not read. To see what changed in them: "
                    code.copyable { (concat!(env!("CARGO_PKG_NAME"), " report ROOT -o nights.html")) }
                    ", with the folder of the snapshots as " code { "ROOT" } "."
                }
            }
            (tables::snapshots(job))
        }
    }
}

/// The change of the last week, if the snapshots go back that far.
fn week_title(job: &JobNights, change: &NightsChange) -> &'static str {
    let taken = |place: usize| job.data.get(place).map(|it| it.taken_at);
    match (taken(change.from), taken(change.to)) {
        (Some(from), Some(to)) if to - from >= WEEK => "Since a week ago",
        _ => "Since the oldest snapshot that was read",
    }
}

/// What is odd, or that nothing is.
fn remarks(seen: &SeenJob<'_>) -> Markup {
    let (first, more) = seen.odd.split_at(seen.odd.len().min(MOST_REMARKS));
    let is_read = !seen.job.data.is_empty();
    html! {
        @if !first.is_empty() {
            ul.remarks {
                @for odd in first { li { (remark(odd, seen.job)) } }
                @if !more.is_empty() {
                    li { details { summary { "and " (counted(more.len() as u64, "more remark")) } ul { @for odd in more { li { (remark(odd, seen.job)) } } } } }
                }
            }
        } @else if !seen.job.runs.is_empty() {
            p.note {
                "Nothing odd was found: the last run did not fail, no run is overdue, and the rows never fell by a fifth or doubled"
                @if is_read { "; in no night did many rows change, and no share of a persona, label or type moved by five points" }
                @if let (Some(newest), true, 1..) = (seen.job.snapshots.last(), is_read, seen.job.other_datasets()) {
                    " in dataset " (drift::dataset_name(seen.job, newest.dataset)) ", the only one whose rows were read"
                }
                "."
            }
        }
    }
}

fn facts(place: usize, job: &JobNights) -> Markup {
    let last = job.runs.last();
    let of = |status: Status| job.runs.iter().filter(|run| run.status == status).count() as u64;
    let good = job.runs.iter().rev().find(|run| run.status != Status::Failed);
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        dl.facts {
            @if let Some(last) = last {
                (fact("Last run", html! { (status(last)) ", " (time(&last.started_at)) }))
            }
            @if let Some(good) = good.filter(|_| last.is_some_and(|it| it.status == Status::Failed)) {
                (fact("Last success", time(&good.started_at)))
            }
            @if let Some(since) = job.running_since {
                (fact("Running", html! { span.status.running { "since" } " " (time(&clock::text(since))) }))
            }
            @if !job.runs.is_empty() {
                (fact("Runs", html! {
                    (grouped(job.runs.len() as u64)) ": " (grouped(of(Status::Stored))) " stored, "
                    (grouped(of(Status::Unchanged))) " unchanged, " (grouped(of(Status::Failed))) " failed"
                }))
            }
            @if let Some(newest) = job.snapshots.last() {
                (fact("Newest snapshot", html! { (counted(newest.rows, "row")) ", " (bytes(newest.bytes)) }))
                (fact("Kept", html! {
                    (counted(job.snapshots.len() as u64, "snapshot")) ", "
                    (bytes(total(job.snapshots.iter().map(|it| it.bytes))))
                }))
            }
            @if job.last_change.is_some() || job.week_change.is_some() {
                (fact("Changes", html! {
                    @if job.last_change.is_some() { a href=(format!("#change-{place}")) { "The last change" } }
                    @if let Some(change) = &job.week_change {
                        @if job.last_change.is_some() { br; }
                        a href=(format!("#week-{place}")) { (week_title(job, change)) }
                    }
                }))
            }
            @if !job.next.is_empty() {
                (fact("Next runs", html! {
                    @for (place, next) in job.next.iter().take(MOST_NEXT).enumerate() {
                        @if place > 0 { br; }
                        (time(&clock::text(*next)))
                    }
                }))
            }
        }
    }
}

/// The status of a run as a word that a color repeats.
fn status(run: &JobResult) -> Markup {
    let (class, word) = status_of(run);
    html! { span class=(format!("status {class}")) { (word) } }
}

fn status_of(run: &JobResult) -> (&'static str, &'static str) {
    match run.status {
        _ if run.was_interrupted() => ("failed", "interrupted"),
        Status::Stored => ("stored", "stored"),
        Status::Unchanged => ("unchanged", "unchanged"),
        Status::Failed => ("failed", "failed"),
    }
}

/// Rows of the snapshots that represent the data after a run.
fn rows_of(run: &JobResult) -> u64 {
    total(run.snapshots.iter().map(|it| it.rows))
}

/// The sum of numbers that a file can name, which can be any.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// How moments are shown: as precisely as it takes to tell neighbours apart.
#[derive(Debug, Clone, Copy)]
struct MomentForm(&'static str);

impl MomentForm {
    /// The moments must be in their order.
    fn of(moments: impl Iterator<Item = DateTime<Utc>>) -> Self {
        let moments: Vec<DateTime<Utc>> = moments.collect();
        let differ = |form: &str| {
            let texts: Vec<String> = moments.iter().map(|it| it.format(form).to_string()).collect();
            texts.windows(2).all(|pair| pair.first() != pair.last())
        };
        let forms = ["%Y-%m-%d", "%Y-%m-%d %H:%M"];
        Self(forms.into_iter().find(|form| differ(form)).unwrap_or("%Y-%m-%d %H:%M:%S"))
    }

    fn text(self, at: DateTime<Utc>) -> String {
        at.format(self.0).to_string()
    }
}
