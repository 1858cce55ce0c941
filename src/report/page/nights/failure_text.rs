//! The texts of failures. A page that shows no values of rows says what kind of failure it was, and where its message is.

use maud::{Markup, html};

use crate::{report::page::text::Outside, snapshots::Failure, text::line};

const COMMAND: &str = env!("CARGO_PKG_NAME");

/// Where the message of a failure is, other than on the page.
#[derive(Debug, Clone, Copy)]
pub(super) enum MessagePlace<'a> {
    /// In the history of a job.
    History(&'a str),
    /// The report printed it.
    Printed,
}

impl MessagePlace<'_> {
    fn text(self) -> Markup {
        html! {
            "The message can quote values of rows, so it is not on this page. "
            @match self {
                Self::History(job) => { code { (COMMAND) " history " (Outside(&line(job))) } " shows it." }
                Self::Printed => { code { (COMMAND) " report" } " prints it." }
            }
        }
    }
}

/// A failure in paragraphs. `shows_values` is whether the page may show values of rows.
pub(super) fn failure_text(
    failure: &Failure,
    shows_values: bool,
    place: MessagePlace<'_>,
) -> Markup {
    if !shows_values && failure.can_quote_values() {
        return html! {
            p { strong { "Failed: " (kind_text(failure)) } }
            p.soft { (place.text()) }
        };
    }
    html! {
        p { strong { (Outside(&failure.message)) } }
        @if !failure.excerpt.is_empty() {
            pre tabindex="0" dir="ltr" { code { (Outside(&failure.excerpt.join("\n"))) } }
        }
        @for cause in &failure.causes { p.soft { "cause: " (Outside(cause)) } }
        @if let Some(hint) = &failure.hint { p.soft { "hint: " (Outside(hint)) } }
    }
}

/// The message of a failure and its causes in a line.
pub(super) fn failure_line(
    failure: &Failure,
    shows_values: bool,
    place: MessagePlace<'_>,
) -> Markup {
    if !shows_values && failure.can_quote_values() {
        return html! { (kind_text(failure)) ". " (place.text()) };
    }
    let causes = failure.causes.iter().map(|cause| format!(": {cause}"));
    let text = failure.message.clone() + &causes.collect::<String>();
    html! { (Outside(&text)) "." }
}

/// What kind of failure it was, without any text of it.
fn kind_text(failure: &Failure) -> String {
    let kind = match failure.exit_code {
        _ if failure.incomplete => "rows were missing or repeated, or the list of datasets changed",
        2 => "an option or a request is wrong",
        65 => "the data is wrong or damaged",
        69 => "the API stayed unavailable",
        70 => "there is a bug in this program",
        74 => "reading or writing failed",
        _ => "the run failed",
    };
    let status = failure.http_status.map(|status| format!(", HTTP status {status}"));
    format!("{kind} (exit code {}{})", failure.exit_code, status.unwrap_or_default())
}
