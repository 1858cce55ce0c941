//! The failures of a job. Equal ones are shown once.

use maud::{Markup, html};

use super::failure_text::{MessagePlace, failure_text};
use crate::{
    report::{nights::JobNights, page::text::time},
    snapshots::{Failure, JobResult},
    text::{counted, grouped, line},
};

/// Most different failures that are shown.
const MOST_FAILURES: usize = 20;

/// Failures with the same texts, except for how long they took and how often they were tried. The newest is first.
struct EqualFailures<'a> {
    key: String,
    runs: Vec<&'a JobResult>,
}

/// The failures, those that happened last first.
pub(super) fn section(job: &JobNights) -> Markup {
    let mut all = Vec::<EqualFailures<'_>>::new();
    for run in job.runs.iter().rev().filter(|run| run.failure().is_some()) {
        let key = key(run);
        match all.iter_mut().find(|it| it.key == key) {
            Some(equal) => equal.runs.push(run),
            None => all.push(EqualFailures { key, runs: vec![run] }),
        }
    }
    let more: usize = all.iter().skip(MOST_FAILURES).map(|it| it.runs.len()).sum();
    html! {
        @if !all.is_empty() {
            h3 { "Failures, the newest first" }
            ul.failures {
                @for equal in all.iter().take(MOST_FAILURES) { li { (failure(job, equal)) } }
            }
            @if more > 0 { p.soft { "and " (counted(more as u64, "earlier failure")) } }
        }
    }
}

fn failure(job: &JobNights, equal: &EqualFailures<'_>) -> Markup {
    let text = |failure: &Failure| {
        failure_text(failure, job.shows_values, MessagePlace::History(&job.job))
    };
    let ([run, ..], Some(oldest)) = (equal.runs.as_slice(), equal.runs.last()) else {
        return html! {};
    };
    html! {
        p {
            @match equal.runs.len() {
                1 => (time(&run.started_at)),
                number => {
                    (grouped(number as u64)) " times, from " (time(&oldest.started_at)) " to " (time(&run.started_at))
                }
            }
        }
        @if let Some(failure) = &run.error { (text(failure)) }
        @for snapshot in &run.snapshots {
            @if let Some(failure) = &snapshot.error {
                @if run.snapshots.len() > 1 { p.soft { "dataset " code { (snapshot.dataset) } } }
                (text(failure))
            }
        }
    }
}

/// A text that equal failures share.
fn key(run: &JobResult) -> String {
    let of_datasets = run.snapshots.iter().filter_map(|it| Some((it.dataset, it.error.as_ref()?)));
    let of_datasets = of_datasets.map(|(dataset, error)| format!("{dataset} {}", text(error)));
    let of_run = run.error.iter().map(text);
    of_run.chain(of_datasets).collect::<Vec<_>>().join("\n")
}

fn text(failure: &Failure) -> String {
    let Failure { exit_code, http_status, .. } = failure;
    format!("{exit_code} {http_status:?} {}", without_amounts(&line(failure)))
}

/// Replaces the numbers before a unit of time or `attempts`: they differ from night to night.
fn without_amounts(text: &str) -> String {
    const UNITS: [&str; 7] = ["ms", "s", "min", "h", "d", "attempt", "attempts"];
    let words: Vec<&str> = text.split(' ').collect();
    let is_unit = |word: Option<&&str>| {
        word.is_some_and(|it| UNITS.contains(&it.trim_end_matches(|c: char| !c.is_alphanumeric())))
    };
    let is_number =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    let kept = words.iter().enumerate().map(|(place, word)| {
        if is_number(word) && is_unit(words.get(place + 1)) { "#" } else { word }
    });
    kept.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_do_not_make_failures_differ() {
        let same = |a: &str, b: &str| without_amounts(a) == without_amounts(b);
        assert!(same("down: 3 attempts in 1.0 s", "down: 20 attempts in 59.5 s"));
        assert!(!same("page 3 of 9", "page 4 of 9"));
        assert!(!same("status 503 in 2 s", "status 404 in 2 s"));
    }
}
