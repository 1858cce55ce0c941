//! The section about the export itself: what it states, and whether it is complete.

use maud::{Markup, html};

use super::{
    chart::share_bar,
    text::{Outside, bytes, share, time},
};
use crate::{
    record::manifest::Completeness,
    report::{
        ExportFacts, ExportReport,
        masked::{masked_paths, pseudonym_paths},
    },
    text::{counted, grouped},
};

/// Longest record that is shown, in bytes.
const LONGEST_RECORD: usize = 100_000;

/// Whether the export is complete, in one sentence.
pub(super) struct CompletenessVerdict {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) sentence: String,
}

/// Decides what can be said about the completeness of an export.
pub(super) fn verdict(report: &ExportReport) -> CompletenessVerdict {
    let (facts, rows) = (&report.facts, grouped(report.rows()));
    let says = |class, word, sentence| CompletenessVerdict { class, word, sentence };
    match (facts.completeness, facts.count) {
        (Some(Completeness::Proven), Some(count)) => {
            let count = grouped(count);
            let is_whole = facts.transform.is_none() && facts.earlier.is_empty();
            let sentence = match is_whole {
                true => format!("{rows} of {count} rows, proven"),
                false => format!(
                    "made of all {count} rows of the dataset, proven; a transformation kept {rows} of them"
                ),
            };
            says("good", "Complete", sentence)
        }
        (_, Some(count)) if facts.is_recorded => {
            let read = facts.rows_read.unwrap_or(report.rows());
            let (part, read) = (share(read, count), grouped(read));
            let sentence = format!(
                "{read} of {} rows of the dataset ({part}) were read for it, because a limit, a range of pages or one part \
                 of several was asked for",
                grouped(count)
            );
            says("warn", "Partial", sentence)
        }
        (_, None) if facts.is_recorded => {
            let sentence =
                "it was converted from a file that does not say where its rows come from";
            says("warn", "Unknown", sentence.to_owned())
        }
        _ => {
            let sentence = "the file has no record, so nothing says whether rows are missing";
            says("warn", "Unknown", sentence.to_owned())
        }
    }
}

/// The section.
pub(super) fn section(report: &ExportReport) -> Markup {
    let facts = &report.facts;
    let checked = match report.seen.is_checked {
        true => "every row was read, and equals the recorded digest",
        false => "every row was read; there is no recorded digest to compare with",
    };
    let conditions = conditions(facts);
    html! {
        section #export aria-labelledby="export-title" {
            h2 #export-title { "The export" }
            dl.facts {
                (fact("Rows", html! { (grouped(report.rows())) }))
                (fact("Checked now", html! { (checked) }))
                @if let Some(dataset) = facts.dataset { (fact("Dataset", copyable(&dataset.to_string()))) }
                @if let Some(query) = &facts.query { (fact("Filters of the API", filters(&query.to_string()))) }
                @if !conditions.is_empty() { (fact("Conditions", html! { @for it in &conditions { (copyable(it)) br; } })) }
                @if let Some(url) = &facts.base_url { (fact("API", copyable(url))) }
                @if let Some(snapshot) = &facts.snapshot {
                    (fact("Snapshot", html! { "job " (Outside(&snapshot.job)) ", " (time(&crate::clock::text(snapshot.stamp.time()))) }))
                    @if let Some(listed) = &snapshot.listed {
                        @if let Some(name) = &listed.name { (fact("Name of the dataset", html! { (Outside(name)) })) }
                        @if let Some(version) = listed.version { (fact("Version of the dataset", html! { (version) })) }
                    }
                }
                @if let Some(at) = &facts.started_at { (fact("Export started", time(at))) }
                @if let Some(at) = &facts.finished_at { (fact("Last row written", time(at))) }
                @if let Some(format) = &facts.format { (fact("Format", html! { (Outside(format)) })) }
                (fact("Size", html! { (bytes(facts.bytes)) " in " (counted(facts.files, "file")) }))
                @if let Some(tool) = &facts.tool { (fact("Written by", html! { (Outside(tool)) })) }
                @if let Some(converted) = &facts.converted_from {
                    (fact("Converted from", html! { (Outside(converted.format.as_str())) ", " (counted(converted.rows, "row")) }))
                }
            }
            dl.facts.wide {
                @if let Some(digest) = &facts.digest { (fact("Digest of the rows", copyable(digest))) }
                @if report.seen.digest_differs(facts) {
                    (fact("Digest as read", copyable(&report.seen.digest.to_string())))
                }
            }
            (transformations(facts))
            (report_options(report))
            (splits(facts))
            (files(facts))
            (record(facts))
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// A value that one click selects as a whole.
fn copyable(text: &str) -> Markup {
    html! { code.copyable { (Outside(text)) } }
}

fn filters(query: &str) -> Markup {
    html! { @if query.is_empty() { "none" } @else { (copyable(query)) } }
}

/// The conditions that rows had to meet, of all transformations in their order.
fn conditions(facts: &ExportFacts) -> Vec<String> {
    let all = facts.earlier.iter().map(|it| &it.transform).chain(&facts.transform);
    all.flat_map(|it| {
        let sample = it.sample.as_ref().map(|part| format!("a sample of {part} of the rows"));
        let dedupe = it.dedupe.as_ref().map(|by| format!("the first row of each {by}"));
        it.conditions.iter().cloned().chain(dedupe).chain(sample)
    })
    .collect()
}

/// What was done to the rows before this report.
fn transformations(facts: &ExportFacts) -> Markup {
    let own = facts.transform.as_ref().and_then(|it| serde_json::to_string_pretty(it).ok());
    let earlier = facts.earlier.iter();
    let earlier = earlier.filter_map(|it| serde_json::to_string_pretty(&it.transform).ok());
    let all: Vec<String> = earlier.chain(own).collect();
    html! {
        @if !all.is_empty() {
            h3 { (if all.len() == 1 { "Transformation of the rows" } else { "Transformations of the rows, in order" }) }
            @for text in &all { pre.json tabindex="0" dir="ltr" { code { (Outside(text)) } } }
        }
    }
}

/// What this report leaves out.
fn report_options(report: &ExportReport) -> Markup {
    let (masked, pseudonyms) = (masked_paths(&report.facts), pseudonym_paths(&report.facts));
    html! {
        @if !masked.is_empty() {
            p.note { "Masked in the export, where null is written for: " @for path in &masked { code { (Outside(path)) } " " } }
        }
        @if !pseudonyms.is_empty() {
            p.note { "Pseudonyms in the export: " @for path in &pseudonyms { code { (Outside(path)) } " " } }
        }
        @if !report.mask.is_empty() {
            p.note { "Masked in this report: " @for path in &report.mask { code { (Outside(path)) } " " } }
        }
        @let foreign: Vec<_> = report.facts.foreign.iter().filter(|it| !report.drop.contains(it)).collect();
        @if !foreign.is_empty() {
            p.note { "Columns that no export has, which this report leaves out: " @for name in &foreign { code { (Outside(name)) } " " } }
        }
        @if !report.shows_rows {
            p.note { "Values of rows were left out of this page." }
        }
        @if !report.drop.is_empty() {
            p.note { "Left out of this report: " @for name in &report.drop { code { (Outside(name)) } " " } }
        }
    }
}

/// The splits of the rows, with their shares.
fn splits(facts: &ExportFacts) -> Markup {
    let all = facts.splits.iter().map(|it| it.rows).sum();
    html! {
        @if !facts.splits.is_empty() {
            h3 { "Splits" }
            div.scroll tabindex="0" role="region" aria-label="Splits" {
                table {
                    thead { tr { th scope="col" { "Split" } th.number scope="col" { "Rows" } th scope="col" { "Share of " (counted(all, "row")) } } }
                    tbody {
                        @for split in &facts.splits {
                            tr { th scope="row" { (Outside(&split.name)) } td.number { (grouped(split.rows)) } td.share-cell { (share_bar(split.rows, all)) } }
                        }
                    }
                }
            }
        }
    }
}

fn files(facts: &ExportFacts) -> Markup {
    let more = facts.files.saturating_sub(facts.parts.len() as u64);
    html! {
        @if facts.is_recorded && !facts.parts.is_empty() {
            details {
                summary { (counted(facts.files, "file")) }
                div.scroll tabindex="0" role="region" aria-label="Files" {
                    table {
                        thead { tr { th scope="col" { "File" } th.number scope="col" { "Rows" } th.number scope="col" { "Bytes" } th scope="col" { "SHA-256" } } }
                        tbody {
                            @for part in &facts.parts {
                                tr {
                                    th scope="row" { code { (Outside(&part.path)) } }
                                    td.number { @if let Some(rows) = part.rows { (grouped(rows)) } }
                                    td.number { (grouped(part.bytes)) }
                                    td { @if let Some(sha256) = &part.sha256 { (copyable(sha256)) } }
                                }
                            }
                        }
                    }
                }
                @if more > 0 { p.note { "and " (counted(more, "more file")) } }
            }
        }
    }
}

fn record(facts: &ExportFacts) -> Markup {
    html! {
        @if let Some(record) = &facts.record {
            @let shown = record.get(..record.floor_char_boundary(LONGEST_RECORD)).unwrap_or(record);
            details {
                summary { "Record, as JSON" }
                pre.json.copyable tabindex="0" dir="ltr" { code { (Outside(shown.trim_end())) } }
                @if shown.len() < record.len() { p.note { "The record is longer. Its file has all of it." } }
            }
        }
    }
}
