//! Charts as plain SVG, without text in them: it would be stretched. The text is in HTML, where readers find it.

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

/// A histogram of lengths. `unit` is what is counted, in the singular.
pub(super) fn histogram(bars: &[LengthBar], unit: &str, label: &str) -> Markup {
    let most = bars.iter().map(|bar| bar.rows).max().unwrap_or(0).max(1);
    let width = STEP * bars.len() as f64;
    html! {
        svg.histogram role="img" aria-label=(label) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
            @for (place, bar) in bars.iter().enumerate() {
                @let height = bar.rows as f64 / most as f64 * HEIGHT;
                // A bar that is not empty can be seen.
                @let height = if bar.rows > 0 { height.max(0.75) } else { 0.0 };
                rect x=(STEP * place as f64) y=(format!("{:.2}", HEIGHT - height)) width=(BAR)
                    height=(format!("{height:.2}")) data-rows=(bar.rows) { title { (explained(bar, unit)) } }
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
