//! What is odd about a job, in sentences.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::MomentForm;
use crate::{
    clock,
    report::{
        drift::ShareJump,
        nights::JobNights,
        odd::{JobState, OddNight},
        page::text::{Outside, time},
    },
    snapshots::{Failure, unreadable_text},
    text::{counted, grouped, plural},
};

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

/// The message of an error and its causes in a line.
fn with_causes(why: &Failure) -> String {
    let causes = why.causes.iter().map(|cause| format!(": {cause}"));
    why.message.clone() + &causes.collect::<String>()
}

/// Something odd as a sentence.
pub(super) fn remark(odd: &OddNight, job: &JobNights) -> Markup {
    match odd {
        OddNight::Unreadable(why) => html! {
            strong { "Its runs cannot be read: " } (Outside(&with_causes(why))) "."
        },
        OddNight::Damaged { path, why } => html! {
            strong { "A snapshot newer than the complete ones is damaged: " } code { (Outside(path)) } " " (Outside(why)) "."
        },
        OddNight::Unread { at, why } => html! {
            strong { "The snapshot of " (time(&clock::text(*at))) " cannot be read: " } (Outside(&with_causes(why))) "."
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
        OddNight::Missed { runs, first, last_run } => {
            let runs = *runs as u64;
            html! {
                strong { "No run since " (time(last_run)) } ": " (counted(runs, "run")) (if runs == 1 { " was" } else { " were" })
                " due, the first one on " (time(&clock::text(*first))) "."
            }
        }
        OddNight::Quiet { last_run, silent, usual } => html! {
            strong { "No run since " (time(last_run)) } ", which is " (span(*silent)) " ago. The runs before were at most "
            (span(*usual)) " apart."
        },
        OddNight::Rows { dataset, before, after, at } => {
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

/// A jump as a phrase: `rose by 30.0 points to 40.0 % on 2026-09-03`.
fn jump((at, jump): (DateTime<Utc>, ShareJump), form: MomentForm) -> String {
    let verb = if jump.after > jump.before { "rose" } else { "fell" };
    let (size, after) = (jump.size() * 100.0, jump.after * 100.0);
    format!("{verb} by {size:.1} points to {after:.1} % on {}", form.text(at))
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
