//! The keys of a JSON column as a tree that opens, with types and shares.

use maud::{Markup, html};

use super::super::{
    chart::share_bar,
    text::{Outside, Spaced, share},
};
use crate::{
    report::{
        ExportReport,
        masked::ValueTrail,
        profile::tree::{JsonTree, TreeNode, few::FewValue},
    },
    text::{counted, grouped},
};

/// Most keys that are shown of an object.
const MOST_MEMBERS: usize = 100;
/// Most keys that are shown of a column.
const MOST_KEYS: usize = 1500;
/// Most values that are shown of a key.
const MOST_FEW: usize = 8;

/// The keys of a JSON column, with this name.
pub(super) fn tree(report: &ExportReport, tree: &JsonTree, column: &str) -> Markup {
    let (rows, trail) = (report.rows(), ValueTrail::of(column));
    let mut keys = KeyTree { report, rows, left: MOST_KEYS };
    html! {
        div.tree {
            p.soft { "Shares are of all " (counted(rows, "row")) ". Where there are few different values, they are listed with their shares." }
            div.key-row {
                span.key.soft { "whole value" } " "
                span.kinds { (kinds(&tree.root)) } " "
                span.rows {
                    (share_bar(tree.root.rows, rows)) " "
                    span.soft { (counted(tree.root.rows, "row")) }
                }
            }
            @if tree.is_overfull {
                p.soft { "There are too many different keys to count them." }
            } @else {
                (keys.below(&tree.root, &trail, 0))
            }
        }
    }
}

/// The types of the values, with their numbers if there are several.
fn kinds(node: &TreeNode) -> Markup {
    let all: Vec<_> = node.kinds().collect();
    html! {
        @for (place, (kind, count)) in all.iter().enumerate() {
            @if place > 0 { ", " }
            span class=(format!("kind {}", kind.name())) { (kind.name()) }
            @if all.len() > 1 { " " span.soft { (grouped(*count)) } }
        }
    }
}

/// Whether there are texts that could be taken for other values: `7` and `\"7\"`.
pub(super) fn is_mixed(values: &[&FewValue]) -> bool {
    values.iter().any(|it| it.is_text) && values.iter().any(|it| !it.is_text)
}

/// Shows a value of a place with few different values. If the values have several types, texts are in quotes.
pub(super) fn few_value(value: &FewValue, is_mixed: bool) -> Markup {
    html! {
        @if !value.is_text { code { (Outside(&value.text)) } }
        @else if value.text.is_empty() { span.null { "empty text" } }
        @else if is_mixed { code dir="auto" { "\"" (Outside(&value.text)) "\"" } }
        @else { span dir="auto" { (Spaced(&value.text)) } }
    }
}

fn is_inner(node: &TreeNode) -> bool {
    !node.members.is_empty() || node.item.is_some() || node.is_map
}

/// The keys that are shown.
struct KeyTree<'r> {
    report: &'r ExportReport,
    rows: u64,
    /// Number of keys for which there is room.
    left: usize,
}

impl KeyTree<'_> {
    /// What is in objects and arrays.
    fn below(&mut self, node: &TreeNode, trail: &ValueTrail, depth: usize) -> Markup {
        let members = node.members.iter().take(MOST_MEMBERS);
        let more = node.members.len().saturating_sub(MOST_MEMBERS);
        html! {
            @if is_inner(node) {
                ul.keys {
                    @if node.is_map { li { div.key-row { span.key.soft { "more than 512 different keys: used as a map" } } } }
                    @for member in members { (self.key(&member.name, &member.node, &trail.member(&member.name), depth)) }
                    @if more > 0 { li.soft { "and " (counted(more as u64, "more key")) } }
                    @if let Some(item) = &node.item { (self.key("[ ]", item, &trail.item(), depth)) }
                }
            }
        }
    }

    fn key(&mut self, name: &str, node: &TreeNode, trail: &ValueTrail, depth: usize) -> Markup {
        if self.left == 0 {
            return html! {};
        }
        self.left -= 1;
        let line = html! {
            span.key { code { (Outside(name)) } @if self.report.masked.has(trail) { " " span.soft { "masked" } } } " "
            span.kinds { (kinds(node)) } " "
            span.rows {
                (share_bar(node.rows, self.rows)) " "
                span.soft { (counted(node.rows, "row")) @if node.values != node.rows { ", " (counted(node.values, "value")) } }
            }
            " " (self.few(node, trail))
        };
        html! {
            li {
                @if is_inner(node) {
                    // The first levels tell what the column holds.
                    details open[depth < 1] {
                        summary.key-row { (line) }
                        (self.below(node, trail, depth + 1))
                    }
                } @else {
                    div.key-row { (line) }
                }
                @if self.left == 0 { p.soft { "Further keys are not shown." } }
            }
        }
    }

    /// Shows the share of each value in a line, if a node has few values.
    fn few(&self, node: &TreeNode, trail: &ValueTrail) -> Markup {
        let all = node.few.sorted();
        let is_repeated = all.first().is_some_and(|it| it.count >= 2);
        if !self.report.shows_rows || !is_repeated || self.report.masked.has(trail) {
            return html! {};
        }
        let more = all.len().saturating_sub(MOST_FEW) as u64;
        let is_mixed = is_mixed(&all);
        html! {
            span.shares {
                @for it in all.iter().take(MOST_FEW) {
                    span.value {
                        (few_value(it, is_mixed))
                        " " span.soft { (share(it.count, node.values)) }
                    } " "
                }
                @if more > 0 { span.soft { "and " (counted(more, "other value")) } " " }
                span.soft { "of " (counted(node.values, "value")) }
            }
        }
    }
}
