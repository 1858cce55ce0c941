//! What is odd about a job, in sentences.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{
    MomentForm,
    drift::{columns, command, share_text},
    failure_text::{MessagePlace, failure_line},
};
use crate::{
    clock,
    report::{
        drift::ShareJump,
        nights::{JobNights, MOST_MISSED},
        odd::{JobState, OddNight},
        page::text::{Outside, share, time},
    },
    snapshots::unreadable_text,
    text::{counted, grouped, plural},
};

/// Most missed times that are listed.
const MOST_TIMES: usize = 10;

/// The state of a job as a word.
pub(super) const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Failing => "Failing",
        JobState::Damaged => "Damaged",
        JobState::Stale => "Stale",
        JobState::Odd => "Worth a look",
        JobState::New => "No run yet",
        JobState::Well => "All well",
    }
}

/// The class of the state's line.
pub(super) const fn state_class(state: JobState) -> &'static str {
    match state {
        JobState::Failing | JobState::Damaged => "bad",
        JobState::Stale | JobState::Odd | JobState::New => "warn",
        JobState::Well => "good",
    }
}

/// Something odd as a sentence.
pub(super) fn remark(odd: &OddNight, job: &JobNights) -> Markup {
    match odd {
        OddNight::Unreadable(why) => html! {
            strong { "Its runs cannot be read: " } (failure_line(why, job.shows_values, MessagePlace::Printed))
        },
        OddNight::Damaged { path, why, is_newest } => html! {
            strong { @if *is_newest { "A snapshot newer than the complete ones is damaged: " } @else { "A snapshot is damaged: " } } code { (Outside(path)) } " " (Outside(why)) "."
        },
        OddNight::Unread { at, why } => html! {
            @let is_digest = why.message.contains("digest ") && why.message.contains(", recorded ");
            strong {
                "The snapshot of " (time(&clock::text(*at)))
                @if is_digest { " differs from its recorded digest" } @else { " cannot be read" }
            }
            @if is_digest { "." details { summary { "The error" } p { (failure_line(why, job.shows_values, MessagePlace::Printed)) } } }
            @else { ": " (failure_line(why, job.shows_values, MessagePlace::Printed)) }
        },
        OddNight::OfOthers(others) => html! {
            @for (place, (other, snapshots)) in others.iter().enumerate() {
                @if place > 0 { " " }
                strong { (counted(*snapshots, "snapshot")) " in this folder " (if *snapshots == 1 { "belongs" } else { "belong" }) " to job " code { (Outside(other)) } }
                "."
            }
            " They do not count here. If the folder was renamed, give it its old name again."
        },
        OddNight::UnreadableLines(lines) => html! {
            strong { (unreadable_text(*lines).unwrap_or_default()) } ". The runs in them are not on this page."
        },
        OddNight::Failing { runs: 1, since } => {
            html! { strong { "The last run failed" } ": " (time(since)) "." }
        }
        OddNight::Failing { runs, since } => html! {
            strong { "The last " (grouped(*runs)) " runs failed" } ", the first of them on " (time(since)) "."
        },
        OddNight::NeverEnded(runs) => html! {
            strong { "No run has succeeded yet" } ": "
            @if *runs == 1 { "the only run was interrupted." } @else { "all " (grouped(*runs as u64)) " runs were interrupted." }
        },
        OddNight::Missed { runs, first, last_run, has_succeeded } => {
            let runs = *runs as u64;
            html! {
                strong { (since(*has_succeeded)) (time(last_run)) } ": "
                @if runs > MOST_MISSED as u64 { "more than " (counted(MOST_MISSED as u64, "run")) } @else { (counted(runs, "run")) }
                (if runs == 1 { " was" } else { " were" })
                " due, the first one on " (time(&clock::text(*first))) "."
            }
        }
        OddNight::Quiet { last_run, has_succeeded, silent, usual } => html! {
            strong { (since(*has_succeeded)) (time(last_run)) } ", which is " (span(*silent)) " ago. The runs before were at most "
            (span(*usual)) " apart."
        },
        OddNight::Misdated { runs, example, .. } => html! {
            strong { (counted(*runs as u64, "run")) (if *runs == 1 { " has" } else { " have" }) " a time that cannot be right" }
            ", such as " code { (Outside(example)) } ". Was a clock wrong? The calendar leaves "
            (if *runs == 1 { "the run" } else { "these runs" }) " out, and they do not say when the next run is due."
        },
        OddNight::MissedBefore(times) => {
            let form = MomentForm::of(times.iter().copied());
            let newest = times.iter().rev().take(MOST_TIMES).map(|at| form.text(*at));
            let (newest, more) =
                (newest.collect::<Vec<_>>(), times.len().saturating_sub(MOST_TIMES));
            html! {
                strong {
                    (counted(times.len() as u64, "run"))
                    (if times.len() == 1 { " was due and did not start" } else { " were due and did not start" })
                }
                ": " (newest.join(", ")) @if more > 0 { " and " (grouped(more as u64)) " earlier" } "."
            }
        }
        OddNight::Changed { place, at, rows } => changed(job, *place, *at, *rows),
        OddNight::Rows { dataset, before, after, at, back } => {
            let share = before.abs_diff(*after) as f64 / (*before).max(1) as f64 * 100.0;
            let share = format!("{share:.0} % of {}", counted(*before, "row"));
            html! {
                strong {
                    @match (*before, after < before) {
                        (0, _) => "The rows rose from 0",
                        (_, true) => { "The rows fell by " (share) }
                        (_, false) => { "The rows rose by " (share) }
                    }
                }
                " to " (grouped(*after)) " on " (time(at))
                @if let Some(back) = back {
                    (if back.rows > *after { ", and rose to " } else { ", and fell to " }) (grouped(back.rows)) " on " (time(&back.at))
                }
                @if let Some(dataset) = dataset { ", in dataset " code { (dataset) } }
                "."
            }
        }
        OddNight::Share { group, value, jumps } => {
            let form = MomentForm::of(job.data.iter().map(|it| it.taken_at));
            let points: Vec<String> = jumps.iter().map(|it| jump(*it, form)).collect();
            html! {
                (Outside(group)) ": the share of " strong dir="auto" { (Outside(value)) } " of all rows " (points.join("; ")) "."
            }
        }
    }
}

/// Many changed rows: how many of how many, in which columns, and how to see them.
fn changed(job: &JobNights, place: usize, at: DateTime<Utc>, rows: u64) -> Markup {
    let form = MomentForm::of(job.data.iter().map(|it| it.taken_at));
    let earlier = place.checked_sub(1).and_then(|before| job.data.get(before));
    let (Some(from), Some(to)) = (earlier, job.data.get(place)) else { return html! {} };
    let Some(change) = &to.change else { return html! {} };
    html! {
        strong { (grouped(rows)) " of " (counted(change.before, "row")) " changed" }
        " (" (share(rows, change.before)) ") on " (form.text(at))
        @if !change.columns.is_empty() { ": " (columns(change)) }
        "."
        @if let Some(respelled @ 1..) = change.respelled { " In " (counted(respelled, "other row")) ", only the spelling of JSON changed." }
        (command(job, from, to))
    }
}

/// The words before the time of the last run that ended. Later ones were interrupted.
const fn since(has_succeeded: bool) -> &'static str {
    if has_succeeded { "No success since " } else { "No run has ended since " }
}

/// A jump as a phrase: `rose by 30.0 points to 40.0 % on 2026-09-03`.
fn jump((at, jump): (DateTime<Utc>, ShareJump), form: MomentForm) -> String {
    let verb = if jump.after > jump.before { "rose" } else { "fell" };
    let (size, after) = (jump.size() * 100.0, share_text(jump.after));
    let about = if jump.is_estimate { "≈ " } else { "" };
    format!("{verb} by {about}{size:.1} points to {about}{after} on {}", form.text(at))
}

/// A time span in its largest unit that is not below two.
fn span(span: TimeDelta) -> String {
    let (minutes, hours, days) = (span.num_minutes(), span.num_hours(), span.num_days());
    let (number, unit) = match () {
        () if days >= 2 => (days, "day"),
        () if hours >= 2 => (hours, "hour"),
        () => (minutes, "minute"),
    };
    let number = number.unsigned_abs();
    format!("{} {}", grouped(number), plural(number, unit))
}
