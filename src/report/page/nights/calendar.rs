//! The calendar of a job.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use maud::{Markup, html};

use super::status_of;
use crate::{
    report::{
        nights::JobNights,
        page::chart::{CalendarCell, calendar},
    },
    snapshots::JobResult,
    text::{counted, grouped, line},
};

/// Most weeks of a calendar.
const MOST_WEEKS: u64 = 53;
/// Weeks between the names of two months: a name is as wide.
const MONTH_WEEKS: u64 = 3;

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
            () if has("unchanged") => "unchanged",
            () => "none",
        }
    }

    fn text(&self) -> String {
        let words = self.runs.iter().map(|run| status_of(run).1.to_owned());
        let missed =
            (self.missed > 0).then(|| format!("{} missed", counted(self.missed as u64, "run")));
        let words: Vec<String> = words.chain(missed).collect();
        if words.is_empty() { "no run".to_owned() } else { words.join(", ") }
    }
}

/// A calendar from the first run to today.
pub(super) fn calendar_of(job: &JobNights, as_of: DateTime<Utc>) -> Markup {
    let mut days = BTreeMap::<NaiveDate, CalendarDay<'_>>::new();
    for run in &job.runs {
        if let Some(day) = JobNights::dated(run, as_of).map(|start| start.date_naive()) {
            days.entry(day).or_default().runs.push(run);
        }
    }
    let Some((first, _)) = days.first_key_value().map(|(day, it)| (*day, it)) else {
        return html! {};
    };
    for missed in job.missed.iter().flatten().chain(&job.missed_before) {
        days.entry(missed.date_naive()).or_default().missed += 1;
    }
    for day in days.values_mut() {
        // A run that was interrupted began: its time counts as missed until a run ends.
        let begun = day.runs.iter().filter(|run| run.was_interrupted() || run.was_locked_out());
        day.missed = day.missed.saturating_sub(begun.count());
    }
    let today = as_of.date_naive();
    let last = days.last_key_value().map_or(today, |(day, _)| *day).max(today);
    let monday = |day: NaiveDate| {
        day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())).unwrap_or(day)
    };
    let earliest = last.checked_sub_days(Days::new(7 * (MOST_WEEKS - 1))).unwrap_or(first);
    let begin = first.max(monday(earliest));
    let place = |day: NaiveDate| {
        let since = (day - monday(begin)).num_days().max(0) as u64;
        (since / 7, since % 7)
    };
    let none = CalendarDay::default();
    let cells = begin.iter_days().take_while(|day| *day <= last).map(|date| {
        let ((week, day), it) = (place(date), days.get(&date).unwrap_or(&none));
        let is_free_today = date == today && it.class() == "none";
        let class = if is_free_today { "today" } else { it.class() };
        CalendarCell { week, day, class, text: format!("{date}: {}", it.text()) }
    });
    let cells: Vec<CalendarCell> = cells.collect();
    let mut months = Vec::<(u64, String)>::new();
    for date in begin.iter_days().take_while(|day| *day <= last) {
        let (week, _) = place(date);
        let is_far = months.last().is_none_or(|(before, _)| week >= before + MONTH_WEEKS);
        // The first of a month, or the first day of all.
        if date.day() == 1 && is_far || months.is_empty() {
            months.push((week, date.format("%b").to_string()));
        } else if date.day() == 1 {
            // A month with few weeks has no name: the name of the next month needs the room.
            months.pop();
            months.push((week, date.format("%b").to_string()));
        }
    }
    let shown = || days.range(begin..).map(|(_, it)| it);
    let has = |class: &str| cells.iter().any(|cell| cell.class == class);
    let (with_runs, most) = (
        shown().filter(|it| !it.runs.is_empty()).count() as u64,
        shown().map(|it| it.runs.len()).max().unwrap_or(0) as u64,
    );
    let label = format!("Runs by day, from {begin} to {last}");
    html! {
        figure.calendar {
            figcaption {
                "Days in UTC, a column a week: "
                span.status.stored { "stored" } " " span.status.unchanged { "unchanged" } " " span.status.failed { "failed" }
                @if has("missed") { " " span.status.missed { "missed" } }
                @if has("none") { " " span.status.none { "no run" } }
                @if has("today") { " " span.status.today { "today" } }
            }
            div.scroll tabindex="0" role="region" aria-label=(format!("Calendar of {}", line(&job.job))) { (calendar(&cells, &months, &label)) }
            p.soft {
                "From " (begin) " to " (last) ": runs on " (counted(with_runs, "day"))
                @if most > 1 { ", up to " (grouped(most)) " a day. A day has the color of its worst run" }
                "."
            }
        }
    }
}
