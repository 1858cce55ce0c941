//! Charts as plain SVG. Those that fill the page have no text in them: it would be stretched. Their text is in HTML, where
//! readers find it.

use maud::{Markup, html};

use super::text::share;
use crate::{
    report::profile::figures::LengthBar,
    text::{counted, grouped},
};

/// Height of a histogram, in its own units.
const HEIGHT: f64 = 40.0;
/// Width of a bar with the space after it, in its own units.
const STEP: f64 = 10.0;
/// Width of a bar.
const BAR: f64 = 8.5;

/// A histogram of lengths, with their median. `unit` is what is counted, in the singular.
pub(super) fn histogram((bars, median): (&[LengthBar], u64), unit: &str, label: &str) -> Markup {
    let most = bars.iter().map(|bar| bar.rows).max().unwrap_or(0).max(1);
    let width = STEP * bars.len() as f64;
    html! {
        svg.histogram role="img" aria-label=(label) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
            @for (place, bar) in bars.iter().enumerate() {
                @let height = bar.rows as f64 / most as f64 * HEIGHT;
                // A bar that is not empty can be seen.
                @let height = if bar.rows > 0 { height.max(0.75) } else { 0.0 };
                @let is_middle = bars.len() > 1 && (bar.low..=bar.high).contains(&median);
                rect.middle[is_middle] x=(STEP * place as f64) y=(format!("{:.2}", HEIGHT - height)) width=(BAR)
                    height=(format!("{height:.2}")) data-rows=(bar.rows) { title { (explained(bar, unit)) } }
            }
        }
    }
}

/// A histogram of numbers, whose bars are equal steps of the range.
pub(super) fn value_bars(bars: &[LengthBar], label: &str) -> Markup {
    let most = bars.iter().map(|bar| bar.rows).max().unwrap_or(0).max(1);
    let width = STEP * bars.len() as f64;
    html! {
        svg.histogram role="img" aria-label=(label) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
            @for (place, bar) in bars.iter().enumerate() {
                @let height = if bar.rows > 0 { (bar.rows as f64 / most as f64 * HEIGHT).max(0.75) } else { 0.0 };
                rect x=(STEP * place as f64) y=(format!("{:.2}", HEIGHT - height)) width=(BAR) height=(format!("{height:.2}")) data-rows=(bar.rows) {}
            }
        }
    }
}

/// The class of a figure: few bars are not as wide as many.
pub(super) fn figure_class(bars: &[LengthBar]) -> &'static str {
    match bars.len() {
        ..4 => "few",
        4..10 => "some",
        _ => "many",
    }
}

fn explained(bar: &LengthBar, unit: &str) -> String {
    let rows = counted(bar.rows, "row");
    match bar.low == bar.high {
        true => format!("{}: {rows}", counted(bar.low, unit)),
        false => format!("{} to {}: {rows}", grouped(bar.low), counted(bar.high, unit)),
    }
}

/// A bar for a share, next to a number that says the same.
pub(super) fn share_bar(part: u64, whole: u64) -> Markup {
    let width = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    html! {
        svg.share aria-hidden="true" viewBox="0 0 100 6" preserveAspectRatio="none" {
            rect.track width="100" height="6" {}
            rect width=(format!("{:.2}", width.min(100.0))) height="6" {}
        }
        span.percent { (share(part, whole)) }
    }
}

/// A bar of a chart over runs.
pub(super) struct Night {
    /// The place of the bar, from 0.
    pub(super) slot: usize,
    /// `None` leaves a gap.
    pub(super) value: Option<f64>,
    /// The status of the run.
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// A chart with one bar for each run, from zero to `most`. It has a place for the bars of all `slots`.
pub(super) fn night_bars(nights: &[Night], slots: usize, label: &str, most: f64) -> Markup {
    let width = STEP * slots.max(1) as f64;
    html! {
        svg.histogram role="img" aria-label=(format!("{label} of {}", counted(nights.len() as u64, "run")))
            viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
            @for (night, value) in nights.iter().filter_map(|it| Some((it, it.value?))) {
                @let height = if most > 0.0 { value / most * HEIGHT } else { 0.0 };
                // A run that failed has a mark, even without a value.
                @let least = if value > 0.0 || night.class == "failed" { 0.75 } else { 0.0 };
                @let height = height.max(least);
                rect class=(night.class) x=(STEP * night.slot as f64) y=(format!("{:.2}", HEIGHT - height)) width=(BAR)
                    height=(format!("{height:.2}")) data-value=(value) { title { (night.text) } }
            }
        }
    }
}

/// A day in a calendar.
pub(super) struct CalendarCell {
    /// The week from 0, and the day in it from Monday.
    pub(super) week: u64,
    pub(super) day: u64,
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// A calendar with a column for each week. `months` are names with the weeks where they begin.
pub(super) fn calendar(cells: &[CalendarCell], months: &[(u64, String)], label: &str) -> Markup {
    const CELL: u64 = 12;
    // Room for the names of days and months.
    const LEFT: u64 = 28;
    const TOP: u64 = 14;
    // A month in the last week has a name, too.
    const RIGHT: u64 = 14;
    let weeks = cells.iter().map(|cell| cell.week + 1).max().unwrap_or(1);
    let (width, height) = (LEFT + weeks * CELL + RIGHT, TOP + 7 * CELL);
    html! {
        svg.days role="img" aria-label=(label) viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
            @for (week, name) in months { text x=(LEFT + week * CELL) y="9" { (name) } }
            @for (day, name) in [(0, "Mon"), (2, "Wed"), (4, "Fri")] { text x="0" y=(TOP + day * CELL + 9) { (name) } }
            @for cell in cells {
                rect class=(cell.class) x=(LEFT + cell.week * CELL) y=(TOP + cell.day * CELL) width=(CELL - 2) height=(CELL - 2) rx="2" {
                    title { (cell.text) }
                }
            }
        }
    }
}

/// A chart of shares over snapshots, one bar each, up to the whole. The bars of jumps have a color of their own.
pub(super) fn share_line(shares: &[f64], jumps: &[usize]) -> Markup {
    // A few bars are not as wide as many.
    let width = STEP * shares.len().max(10) as f64;
    html! {
        svg.line aria-hidden="true" viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
            @for (place, share) in shares.iter().enumerate() {
                @let height = if *share > 0.0 { (share.min(1.0) * HEIGHT).max(1.0) } else { 0.0 };
                rect class=(if jumps.contains(&place) { "jump" } else { "" }) x=(STEP * place as f64)
                    y=(format!("{:.2}", HEIGHT - height)) width=(BAR) height=(format!("{height:.2}")) data-share=(format!("{share:.4}")) {}
            }
        }
    }
}
