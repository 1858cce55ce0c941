//! The calendar of a job, and charts over its runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use maud::{Markup, html};

use super::{MomentForm, moments, rows_of, status_of};
use crate::{
    report::{
        nights::JobNights,
        page::chart::{Night, calendar, night_bars},
    },
    snapshots::{JobResult, Status},
    text::{counted, grouped, line},
};

/// Most runs in a chart.
const MOST_BARS: usize = 90;
/// Most weeks of a calendar.
const MOST_WEEKS: u64 = 53;

/// A day of the calendar.
#[derive(Default)]
struct CalendarDay<'a> {
    runs: Vec<&'a JobResult>,
    /// Number of runs that were due and did not begin.
    missed: usize,
}

impl CalendarDay<'_> {
    /// The class of the worst thing that happened.
    fn class(&self) -> &'static str {
        let has = |class: &str| self.runs.iter().any(|run| status_of(run).0 == class);
        match () {
            () if has("failed") => "failed",
            () if self.missed > 0 => "missed",
            () if has("stored") => "stored",
            () => "unchanged",
        }
    }

    fn text(&self) -> String {
        let words = self.runs.iter().map(|run| status_of(run).1.to_owned());
        let missed =
            (self.missed > 0).then(|| format!("{} missed", counted(self.missed as u64, "run")));
        words.chain(missed).collect::<Vec<_>>().join(", ")
    }
}

/// A calendar of the weeks up to today.
pub(super) fn calendar_of(job: &JobNights, as_of: DateTime<Utc>) -> Markup {
    let mut days = BTreeMap::<NaiveDate, CalendarDay<'_>>::new();
    for run in &job.runs {
        if let Some(day) = JobNights::day(run) {
            days.entry(day).or_default().runs.push(run);
        }
    }
    let Some((first, _)) = days.first_key_value().map(|(day, it)| (*day, it)) else {
        return html! {};
    };
    for missed in job.missed.iter().flatten() {
        days.entry(missed.date_naive()).or_default().missed += 1;
    }
    let today = as_of.date_naive();
    let last = days.last_key_value().map_or(today, |(day, _)| *day).max(today);
    let monday = |day: NaiveDate| {
        day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())).unwrap_or(day)
    };
    let earliest = last.checked_sub_days(Days::new(7 * (MOST_WEEKS - 1))).unwrap_or(first);
    let begin = monday(first.max(earliest));
    let place = |day: NaiveDate| {
        let since = (day - begin).num_days().max(0) as u64;
        (since / 7, since % 7)
    };
    let cells = days.range(begin..).map(|(day, it)| {
        let (week, weekday) = place(*day);
        (week, weekday, it.class(), format!("{day}: {}", it.text()))
    });
    let mut cells: Vec<_> = cells.collect();
    if !days.contains_key(&last) {
        let (week, weekday) = place(last);
        cells.push((week, weekday, "today", format!("{last}: no run")));
    }
    let shown = || days.range(begin..).map(|(_, it)| it);
    let has_missed = shown().any(|it| it.missed > 0);
    let (with_runs, most) = (
        shown().filter(|it| !it.runs.is_empty()).count() as u64,
        shown().map(|it| it.runs.len()).max().unwrap_or(0) as u64,
    );
    let label = format!("Runs by day, from {} to {last}", begin.max(first));
    html! {
        figure.calendar {
            figcaption {
                "Days, a column a week: "
                span.status.stored { "stored" } " " span.status.unchanged { "unchanged" } " " span.status.failed { "failed" }
                @if has_missed { " " span.status.missed { "missed" } }
                " " span.status.none { "no run" }
            }
            div.scroll tabindex="0" role="region" aria-label=(format!("Calendar of {}", line(&job.job))) { (calendar(&cells, &label)) }
            p.soft {
                "From " (begin.max(first)) " to " (last) ": runs on " (counted(with_runs, "day"))
                @if most > 1 { ", up to " (grouped(most)) " a day. A day has the color of its worst run" }
                "."
            }
        }
    }
}

/// Charts with a bar for each run.
pub(super) fn runs(job: &JobNights) -> Markup {
    let runs = &job.runs[job.runs.len().saturating_sub(MOST_BARS)..];
    let nights = |value: &dyn Fn(&JobResult) -> Option<f64>,
                  says: &dyn Fn(&JobResult) -> String| {
        let night = |run: &JobResult| {
            let (class, word) = status_of(run);
            let text = format!("{}: {}, {word}", line(&run.started_at), says(run));
            Night { value: value(run), class, text }
        };
        runs.iter().map(night).collect::<Vec<_>>()
    };
    // A failed run says nothing about the rows of the data: 0 would be a wrong number.
    let rows = |run: &JobResult| (run.status != Status::Failed).then(|| rows_of(run) as f64);
    let rows = nights(&rows, &|run| counted(rows_of(run), "row"));
    let stored = nights(&|run| Some(run.bytes as f64), &|run| counted(run.bytes, "byte"));
    let seconds = nights(&|run| Some(run.seconds), &|run| format!("{:.1} s", run.seconds));
    let requests =
        nights(&|run| Some(run.requests as f64), &|run| counted(run.requests, "request"));
    let retries = nights(&|run| Some(run.retries as f64), &|run| match run.retries {
        1 => "1 retry".to_owned(),
        retries => format!("{} retries", grouped(retries)),
    });
    let tenths = |value: f64| format!("{value:.1}");
    let all: [(&str, &dyn Fn(f64) -> String, _); 5] = [
        ("Rows of the data", &whole, rows),
        ("Bytes stored", &whole, stored),
        ("Seconds", &tenths, seconds),
        ("Requests", &whole, requests),
        ("Retries", &whole, retries),
    ];
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return html! {} };
    let form = MomentForm::of(runs.iter().filter_map(JobNights::start));
    html! {
        h3 {
            @if runs.len() < job.runs.len() { "The last " (runs.len()) " runs" } @else { "Each run" }
        }
        div.halves {
            @for (name, text, nights) in &all {
                @let most = nights.iter().filter_map(|it| it.value).fold(0.0, f64::max);
                figure class="many" {
                    figcaption { (name) ", at most " (text(most)) @if let Some(value) = nights.last().and_then(|it| it.value) { "; in the last run " (text(value)) } @else { "; the last run failed" } }
                    (night_bars(nights, name, most))
                    (moments(runs.len(), &form.run(first), &form.run(last)))
                }
            }
        }
        p.soft { "A bar for each run, from 0 to the largest value of its chart. " span.status.stored { "stored" } " " span.status.unchanged { "unchanged" } " " span.status.failed { "failed" } }
    }
}

/// A whole number in groups of digits.
pub(super) fn whole(value: f64) -> String {
    grouped(value as u64)
}
