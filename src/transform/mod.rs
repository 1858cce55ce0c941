//! Transforms rows on their way: rows in, rows out, in order.
//!
//! ```text
//! rows ─► stage (threads) ─► conditions ─► sample, split ─► keys ─► replacements ─► columns ─► kept or not, new values
//! ```
//!
//! The language of expressions is jq, fenced in: [`fence`] has the functions that are allowed, [`budget`] the bounds of
//! an evaluation, and [`value`] the values, whose operations the budget counts. [`grammar`] and [`mistakes`] refuse
//! expressions that mean something else than they seem to, and [`rewrite`] makes the evaluator compute what jq does.
//! What only chooses rows never changes them: this module decides which rows are kept, and returns the values of
//! computed columns. Replacements change only the bytes of the values at their paths. It does not know pages, files or
//! formats. The proof of completeness is made elsewhere.

mod access;
mod arithmetic;
mod budget;
mod canonical;
mod choice;
mod column_edits;
mod columns;
mod computed;
mod dedupe;
mod edits;
mod evaluator;
mod exact_number;
mod expected;
mod explain;
mod expression;
mod fence;
mod grammar;
mod held;
mod json;
mod json_text;
mod missing;
mod mistakes;
mod natives;
mod needed;
mod number;
mod options;
mod paths;
mod places;
mod pseudonyms;
mod reads;
mod recorded;
mod regexes;
mod rewrite;
mod row_block;
mod row_value;
mod sample;
mod shaped;
mod shaper;
mod split_options;
mod splits;
mod stage;
mod terms;
#[cfg(test)]
mod tests;
mod updates;
mod value;

pub(crate) use self::{
    canonical::canonical_value,
    column_edits::ColumnEdit,
    dedupe::{HashKey, NOT_COMPARED},
    edits::{EditedRow, NotJson},
    explain::Explanation,
    held::EarlierColumn,
    missing::{keep_missing, missing_values_of},
    options::ColumnText,
    paths::{PathStep, ValuePath},
    places::PathSet,
    row_block::{RowBlock, StageLimits},
    shaped::Shaped,
    shaper::Shaper,
    splits::{SplitsText, is_split_name},
    stage::Stage,
};
pub use self::{
    computed::ComputedColumnRecord,
    missing::missing_values,
    options::{OnError, Transform},
    recorded::TransformRecord,
    splits::SplitRecord,
};
