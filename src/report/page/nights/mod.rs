//! The page about the runs of jobs: a calendar, charts, failures, snapshots, and the runs to come.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use maud::{Markup, html};

use super::{
    chart::{Night, calendar, night_bars, share_line},
    document,
    text::{Outside, bytes, time},
};
use crate::{
    clock,
    report::{SnapshotChange, SnapshotData, drift, nights::JobNights},
    snapshots::{Failure, JobResult, RetentionAction, Status},
    text::{counted, grouped, line},
};

/// Most runs in a chart.
const MOST_BARS: usize = 90;
/// Most runs in a table.
const MOST_RUNS: usize = 200;
/// Most failures that are shown.
const MOST_FAILURES: usize = 20;
/// Most snapshots that are listed.
const MOST_SNAPSHOTS: usize = 200;
/// Most weeks of a calendar.
const MOST_WEEKS: u64 = 53;
/// Most next runs that are shown.
const MOST_NEXT: usize = 5;

/// Returns the page.
pub(crate) fn render(title: &str, jobs: &[JobNights]) -> Markup {
    let failed: Vec<_> = jobs.iter().filter(|job| is_failing(job)).collect();
    let (class, word) = match (jobs.iter().all(|job| job.runs.is_empty()), failed.is_empty()) {
        (true, true) => ("warn", "No run yet"),
        (false, true) => ("good", "All well"),
        (_, false) => ("warn", "Failing"),
    };
    let sentence = match failed.as_slice() {
        [] => counted(jobs.len() as u64, "job"),
        failed => {
            let names: Vec<String> = failed.iter().map(|job| line(&job.job)).collect();
            names.join(", ")
        }
    };
    let body = html! {
        header.top {
            p.kicker { "Nights" }
            h1 { (Outside(title)) }
            p.verdict.(class) { strong { (word) } ": " (sentence) "." }
            @if jobs.len() > 1 {
                nav aria-label="Jobs" { @for (place, job) in jobs.iter().enumerate() { a href=(format!("#job-{place}")) { (Outside(&job.job)) } } }
            }
        }
        main #main tabindex="-1" {
            @if jobs.is_empty() { section { p.empty { "There are no jobs." } } }
            @for (place, job) in jobs.iter().enumerate() { (section(place, job)) }
        }
    };
    document(&format!("{}: nights", line(title)), &body)
}

/// Whether the last run that was neither interrupted nor locked out has failed.
fn is_failing(job: &JobNights) -> bool {
    let counts = |run: &&JobResult| !run.was_interrupted() && !run.was_locked_out();
    let last = job.runs.iter().rev().find(counts);
    job.problem.is_some() || last.is_some_and(|run| run.status == Status::Failed)
}

fn section(place: usize, job: &JobNights) -> Markup {
    let id = format!("job-{place}");
    let title = format!("{id}-title");
    html! {
        section id=(id) aria-labelledby=(title) {
            h2 id=(title) { (Outside(&job.job)) }
            (facts(job))
            @if let Some(problem) = &job.problem {
                p { strong { "Its runs cannot be read: " } (Outside(problem)) }
            } @else if job.runs.is_empty() {
                p.empty { "This job has not run yet." }
            } @else {
                (calendar_of(job))
                (charts(job))
                (drift(job))
                (failures(job))
                (table(job))
            }
            (snapshots(job))
        }
    }
}

fn facts(job: &JobNights) -> Markup {
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
                    (bytes(job.snapshots.iter().map(|it| it.bytes).sum()))
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
    run.snapshots.iter().map(|it| it.rows).sum()
}

/// A calendar of the weeks up to the last run.
fn calendar_of(job: &JobNights) -> Markup {
    let mut days = BTreeMap::<NaiveDate, Vec<&JobResult>>::new();
    for run in &job.runs {
        if let Some(day) = JobNights::day(run) {
            days.entry(day).or_default().push(run);
        }
    }
    let (Some((first, _)), Some((last, _))) = (days.first_key_value(), days.last_key_value())
    else {
        return html! {};
    };
    let monday = |day: NaiveDate| {
        day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())).unwrap_or(day)
    };
    let earliest = last.checked_sub_days(Days::new(7 * (MOST_WEEKS - 1))).unwrap_or(*first);
    let begin = monday((*first).max(earliest));
    let cells = days.range(begin..).map(|(day, runs)| {
        let since = (*day - begin).num_days().max(0) as u64;
        // The last run of a day is what the day came to.
        let class = runs.last().map_or("", |run| status_of(run).0);
        let words: Vec<_> = runs.iter().map(|run| status_of(run).1).collect();
        (since / 7, since % 7, class, format!("{day}: {}", words.join(", ")))
    });
    let cells: Vec<_> = cells.collect();
    let label = format!("Runs by day, from {} to {last}", begin.max(*first));
    html! {
        figure.calendar {
            figcaption {
                "Days, a column a week: "
                span.status.stored { "stored" } " " span.status.unchanged { "unchanged" } " " span.status.failed { "failed" }
            }
            (calendar(&cells, &label))
            p.soft { "From " (begin.max(*first)) " to " (last) "." }
        }
    }
}

fn charts(job: &JobNights) -> Markup {
    let runs = &job.runs[job.runs.len().saturating_sub(MOST_BARS)..];
    let nights = |value: &dyn Fn(&JobResult) -> f64, says: &dyn Fn(&JobResult) -> String| {
        let night = |run: &JobResult| {
            let (class, word) = status_of(run);
            let text = format!("{}: {}, {word}", line(&run.started_at), says(run));
            Night { value: value(run), class, text }
        };
        runs.iter().map(night).collect::<Vec<_>>()
    };
    let rows = nights(&|run| rows_of(run) as f64, &|run| counted(rows_of(run), "row"));
    let stored = nights(&|run| run.bytes as f64, &|run| counted(run.bytes, "byte"));
    let seconds = nights(&|run| run.seconds, &|run| format!("{:.1} s", run.seconds));
    let requests = nights(&|run| run.requests as f64, &|run| counted(run.requests, "request"));
    let retries = nights(&|run| run.retries as f64, &|run| match run.retries {
        1 => "1 retry".to_owned(),
        retries => format!("{} retries", grouped(retries)),
    });
    let most = |nights: &[Night]| nights.iter().map(|it| it.value).fold(0.0, f64::max);
    let whole = |nights: &[Night]| grouped(most(nights) as u64);
    let all = [
        ("Rows of the data", whole(&rows), rows),
        ("Bytes stored", whole(&stored), stored),
        ("Seconds", format!("{:.1}", most(&seconds)), seconds),
        ("Requests", whole(&requests), requests),
        ("Retries", whole(&retries), retries),
    ];
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return html! {} };
    html! {
        h3 {
            @if runs.len() < job.runs.len() { "The last " (runs.len()) " runs" } @else { "Each run" }
        }
        div.halves {
            @for (name, most, nights) in &all {
                figure class="many" {
                    figcaption { (name) ", at most " (most) }
                    (night_bars(nights, name))
                    div.axis { span { (date(&first.started_at)) } span { (date(&last.started_at)) } }
                }
            }
        }
    }
}

/// What the data did from snapshot to snapshot.
fn drift(job: &JobNights) -> Markup {
    let (Some(first), Some(last)) = (job.data.first(), job.data.last()) else { return html! {} };
    let day = |at: DateTime<Utc>| at.date_naive();
    let groups = drift::lines(&job.data);
    let jumps = groups.iter().flat_map(|(group, lines)| {
        let jump = |line: &drift::DriftLine| {
            let (place, by) = line.jump?;
            let at = job.data.get(place)?;
            Some((group.name(), line.value.clone(), by, day(at.taken_at)))
        };
        lines.iter().filter_map(jump).collect::<Vec<_>>()
    });
    let jumps: Vec<_> = jumps.collect();
    let changes = |name: &str, value: &dyn Fn(&SnapshotChange) -> u64| {
        let night = |it: &SnapshotData| {
            let rows = it.change.as_ref().map_or(0, value);
            let text = format!("{}: {}", day(it.taken_at), counted(rows, "row"));
            Night { value: rows as f64, class: "", text }
        };
        let nights: Vec<Night> = job.data.iter().map(night).collect();
        let most = nights.iter().map(|it| it.value as u64).max().unwrap_or(0);
        html! {
            figure.many {
                figcaption { (name) ", at most " (grouped(most)) }
                (night_bars(&nights, name))
                div.axis { span { (day(first.taken_at)) } span { (day(last.taken_at)) } }
            }
        }
    };
    html! {
        h3 { "The data of the last " (counted(job.data.len() as u64, "snapshot")) }
        @if !jumps.is_empty() {
            ul.remarks {
                @for (group, value, by, at) in &jumps {
                    li { (group) ": the share of " strong dir="auto" { (Outside(value)) } (if *by > 0.0 { " rose by " } else { " fell by " }) (format!("{:.1}", by.abs() * 100.0)) " points on " (at) "." }
                }
            }
        }
        div.halves {
            (changes("Rows added", &|it| it.added))
            (changes("Rows removed", &|it| it.removed))
            (changes("Rows changed", &|it| it.changed))
        }
        @for (group, lines) in &groups {
            @if !lines.is_empty() { (drift_table(&group.name(), lines, (day(first.taken_at), day(last.taken_at)))) }
        }
    }
}

/// The shares of the values of a group.
fn drift_table(
    name: &str,
    lines: &[drift::DriftLine],
    (first, last): (NaiveDate, NaiveDate),
) -> Markup {
    let percent =
        |share: Option<&f64>| format!("{:.1} %", share.copied().unwrap_or_default() * 100.0);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table.drift {
                thead {
                    tr {
                        th scope="col" { (Outside(name)) } th scope="col" { "Share in each snapshot" }
                        th.number scope="col" { (first) } th.number scope="col" { (last) }
                    }
                }
                tbody {
                    @for line in lines {
                        tr {
                            th scope="row" dir="auto" { (Outside(&line.value)) }
                            td { (share_line(&line.shares, line.jump.map(|(place, _)| place))) }
                            td.number { (percent(line.shares.first())) }
                            td.number { (percent(line.shares.last())) }
                        }
                    }
                }
            }
        }
    }
}

/// The date of a time of the history.
fn date(text: &str) -> Markup {
    html! { (Outside(text.split('T').next().unwrap_or(text))) }
}

fn failures(job: &JobNights) -> Markup {
    let failed: Vec<_> = job.runs.iter().rev().filter(|run| run.failure().is_some()).collect();
    let more = failed.len().saturating_sub(MOST_FAILURES);
    html! {
        @if !failed.is_empty() {
            h3 { "Failures, the newest first" }
            ul.failures {
                @for run in failed.iter().take(MOST_FAILURES) {
                    li {
                        p { (time(&run.started_at)) }
                        @if let Some(failure) = &run.error { (failure_text(failure)) }
                        @for snapshot in &run.snapshots {
                            @if let Some(failure) = &snapshot.error {
                                @if run.snapshots.len() > 1 { p.soft { "dataset " code { (snapshot.dataset) } } }
                                (failure_text(failure))
                            }
                        }
                    }
                }
            }
            @if more > 0 { p.soft { "and " (counted(more as u64, "earlier failure")) } }
        }
    }
}

fn failure_text(failure: &Failure) -> Markup {
    html! {
        p { strong { (Outside(&failure.message)) } }
        @if !failure.excerpt.is_empty() {
            pre tabindex="0" dir="ltr" { code { (Outside(&failure.excerpt.join("\n"))) } }
        }
        @for cause in &failure.causes { p.soft { "cause: " (Outside(cause)) } }
        @if let Some(hint) = &failure.hint { p.soft { "hint: " (Outside(hint)) } }
    }
}

fn table(job: &JobNights) -> Markup {
    let runs = job.runs.iter().rev().take(MOST_RUNS);
    html! {
        details {
            summary {
                @if job.runs.len() > MOST_RUNS { "The last " (MOST_RUNS) " runs as a table" } @else { "All runs as a table" }
            }
            div.scroll tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Started" } th scope="col" { "Result" }
                            th.number scope="col" { "Rows" } th.number scope="col" { "Bytes stored" } th.number scope="col" { "Seconds" }
                            th.number scope="col" { "Requests" } th.number scope="col" { "Retries" } th.number scope="col" { "Deleted" }
                        }
                    }
                    tbody {
                        @for run in runs {
                            tr {
                                th scope="row" { (time(&run.started_at)) }
                                td { (status(run)) }
                                td.number { (grouped(rows_of(run))) }
                                td.number { (grouped(run.bytes)) }
                                td.number { (format!("{:.1}", run.seconds)) }
                                td.number { (grouped(run.requests)) }
                                td.number { (grouped(run.retries)) }
                                td.number { (grouped(run.pruned.len() as u64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn snapshots(job: &JobNights) -> Markup {
    let deleted: usize = job.runs.iter().map(|run| run.pruned.len()).sum();
    let more = job.snapshots.len().saturating_sub(MOST_SNAPSHOTS);
    let why = |snapshot: &str| {
        let decision =
            job.retention.iter().find(|it| snapshot.trim_end_matches('/').ends_with(&it.path));
        decision.map(|it| match it.action {
            RetentionAction::Remove => format!("expired: {}", it.why),
            _ => it.why.clone(),
        })
    };
    html! {
        @if !job.snapshots.is_empty() {
            details {
                summary { (counted(job.snapshots.len() as u64, "snapshot")) " kept" }
                div.scroll tabindex="0" role="region" aria-label="Snapshots" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Snapshot" } th.number scope="col" { "Version" } th.number scope="col" { "Rows" }
                                th.number scope="col" { "Bytes" } @if !job.retention.is_empty() { th scope="col" { "Retention" } }
                            }
                        }
                        tbody {
                            @for snapshot in job.snapshots.iter().rev().take(MOST_SNAPSHOTS) {
                                tr {
                                    th scope="row" { (time(&stamp_text(snapshot.stamp.time()))) }
                                    td.number { @if let Some(version) = snapshot.version { (version) } }
                                    td.number { (grouped(snapshot.rows)) }
                                    td.number { (grouped(snapshot.bytes)) }
                                    @if !job.retention.is_empty() { td { (Outside(&why(&snapshot.location).unwrap_or_default())) } }
                                }
                            }
                        }
                    }
                }
                @if more > 0 { p.soft { "and " (counted(more as u64, "older snapshot")) } }
            }
        }
        @if deleted > 0 { p.note { "Retention has deleted " (counted(deleted as u64, "snapshot")) " in these runs." } }
    }
}

fn stamp_text(time: DateTime<Utc>) -> String {
    clock::text(time)
}
