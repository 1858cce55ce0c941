//! Charts over the runs of a job.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{MomentForm, rows_of, status_of};
use crate::{
    report::{
        nights::JobNights,
        page::{
            chart::{Night, night_bars},
            text::bytes_text,
        },
    },
    snapshots::{JobResult, Status},
    text::{counted, grouped, line},
};

/// Most runs in a chart.
const MOST_BARS: usize = 90;
/// Most days in a chart with a place for each day.
const MOST_DAYS: usize = 120;

/// The places of bars, in the order of time.
#[derive(Debug)]
pub(super) struct TimeAxis {
    /// The place of each bar, from 0.
    places: Vec<usize>,
    /// Number of places.
    slots: usize,
    /// The text at both ends.
    first: String,
    last: String,
    /// Whether each place is a day, so that a day without a bar is a gap.
    pub(super) is_by_day: bool,
}

impl TimeAxis {
    /// Returns a place for each day, or one for each moment if there are several on a day, or too many days.
    pub(super) fn of(moments: &[DateTime<Utc>]) -> Self {
        let form = MomentForm::of(moments.iter().copied());
        let text = |at: Option<&DateTime<Utc>>| at.map(|at| form.text(*at)).unwrap_or_default();
        let (first, last) = (text(moments.first()), text(moments.last()));
        let begin = moments.first().map(|at| at.date_naive());
        let days = moments
            .iter()
            .filter_map(|at| usize::try_from((at.date_naive() - begin?).num_days()).ok());
        let days: Vec<usize> = days.collect();
        let is_by_day = days.len() == moments.len()
            && days.is_sorted_by(|a, b| a < b)
            && days.last().is_some_and(|last| *last < MOST_DAYS);
        let places = if is_by_day { days } else { (0..moments.len()).collect() };
        let slots = places.last().map_or(0, |last| last + 1);
        Self { places, slots, first, last, is_by_day }
    }

    pub(super) fn place(&self, bar: usize) -> usize {
        self.places.get(bar).copied().unwrap_or(bar)
    }

    /// A chart with its text. The caption begins with the name.
    pub(super) fn figure(&self, nights: &[Night], name: &str, more: &str, most: f64) -> Markup {
        // Few bars are not as wide as many.
        let class = match self.slots {
            ..2 => "few",
            2..10 => "some",
            _ => "many",
        };
        html! {
            figure class=(class) {
                figcaption { (name) (more) }
                (night_bars(nights, self.slots, name, most))
                div.axis { span { (self.first) } @if self.last != self.first { " " span { (self.last) } } }
            }
        }
    }
}

/// Charts with a bar for each run.
pub(super) fn runs(job: &JobNights) -> Markup {
    let runs = &job.runs[job.runs.len().saturating_sub(MOST_BARS)..];
    let starts: Vec<DateTime<Utc>> = runs.iter().filter_map(JobNights::start).collect();
    let axis = TimeAxis::of(&starts);
    // A history can have a line whose time is none.
    let is_placed = starts.len() == runs.len();
    let nights = |value: &dyn Fn(&JobResult) -> Option<f64>,
                  says: &dyn Fn(&JobResult) -> String| {
        let night = |(bar, run): (usize, &JobResult)| {
            let (class, word) = status_of(run);
            let text = format!("{}: {}, {word}", line(&run.started_at), says(run));
            let slot = if is_placed { axis.place(bar) } else { bar };
            Night { slot, value: value(run), class, text }
        };
        runs.iter().enumerate().map(night).collect::<Vec<_>>()
    };
    // A failed run says nothing about the rows of the data: 0 would be a wrong number.
    let rows = |run: &JobResult| (run.status != Status::Failed).then(|| rows_of(run) as f64);
    let rows = nights(&rows, &|run| counted(rows_of(run), "row"));
    let stored = nights(&|run| Some(run.bytes as f64), &|run| bytes_text(run.bytes));
    let seconds = nights(&|run| Some(run.seconds), &|run| format!("{:.1} s", run.seconds));
    let requests =
        nights(&|run| Some(run.requests as f64), &|run| counted(run.requests, "request"));
    let retries = nights(&|run| Some(run.retries as f64), &|run| match run.retries {
        1 => "1 retry".to_owned(),
        retries => format!("{} retries", grouped(retries)),
    });
    let (tenths, size) =
        (|value: f64| format!("{value:.1} s"), |value: f64| bytes_text(value as u64));
    let all: [(&str, &dyn Fn(f64) -> String, _); 5] = [
        ("Rows of the data", &whole, rows),
        ("Bytes stored", &size, stored),
        ("Duration", &tenths, seconds),
        ("Requests", &whole, requests),
        ("Retries", &whole, retries),
    ];
    if runs.is_empty() {
        return html! {};
    }
    html! {
        h3 {
            @if runs.len() < job.runs.len() { "The last " (runs.len()) " runs" } @else { "Each run" }
        }
        div.halves {
            @for (name, text, nights) in &all {
                @let most = nights.iter().filter_map(|it| it.value).fold(0.0, f64::max);
                @let last = nights.last().and_then(|it| it.value);
                @let last = last.map_or("the last run failed".to_owned(), |value| format!("in the last run {}", text(value)));
                (axis.figure(nights, name, &format!(", highest {}; {last}", text(most)), most))
            }
        }
        p.soft {
            "A bar for each run, from 0 to the highest value of its chart. "
            @if axis.is_by_day && axis.slots > runs.len() { "A day without a run is a gap. " }
            span.status.stored { "stored" } " " span.status.unchanged { "unchanged" } " " span.status.failed { "failed" }
        }
    }
}

/// A whole number in groups of digits.
pub(super) fn whole(value: f64) -> String {
    grouped(value as u64)
}
