//! The page as one HTML document: its style and script are in it, and nothing else is allowed.

mod changed_places;
mod changed_rows;
mod changed_values;
mod changes;
mod chart;
mod data;
mod export;
#[cfg(feature = "snapshots")]
pub(super) mod nights;
mod room;
mod rows;
mod text;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use self::text::Outside;
use super::ExportReport;
use crate::text::line;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Returns the page of a report.
pub(super) fn render(report: &ExportReport) -> Markup {
    let verdict = export::verdict(report);
    let body = html! {
        header.top {
            p.kicker { "Export report" }
            h1 { (Outside(&report.title)) }
            p.verdict.(verdict.class) { strong { (verdict.word) } ": " (verdict.sentence) "." }
            @if let Some(changes) = &report.changes { (changes::warnings(changes)) }
            nav aria-label="Sections" {
                @if report.changes.is_some() { a href="#changes" { "What changed" } }
                @if report.rows() > 0 { a href="#odd" { "Worth a look" } }
                a href="#export" { "The export" }
                a href="#data" { "The data" }
                @if report.shows_rows { a href="#rows" { "The rows" } }
            }
        }
        main #main tabindex="-1" {
            @if let Some(changes) = &report.changes { (changes::section(changes, &report.seen.rows)) }
            (data::remarks::section(report))
            (export::section(report))
            (data::section(report))
            @if report.shows_rows { (rows::section(report)) }
        }
    };
    document(&format!("{}: export report", line(&report.title)), &body)
}

/// Returns a whole document with this title and this body.
fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                // The only texts that are not escaped: files of this program.
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (body)
                footer { "Made by " (concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The Content-Security-Policy: the style and the script of the page by their hashes, and nothing else.
pub(crate) fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}
