//! The options that choose rows and columns, of every command that can transform rows.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::values;
use crate::{
    OnError, Result, Transform, TransformPlan,
    transform::{ColumnText, SplitsText},
};

#[derive(Debug, Clone, Default, Args)]
pub(super) struct TransformArguments {
    /// Keep only these columns, in this order
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Columns")]
    columns: Option<Vec<String>>,
    /// Keep all columns but these
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Columns",
        conflicts_with = "columns"
    )]
    drop: Vec<String>,
    /// Add or replace a column, such as 'turns:int=.input.messages | length'. TYPE is string (default), int,
    /// float, bool, timestamp, json, or a list such as string[]
    #[arg(long = "column", value_name = "NAME[:TYPE]=EXPR", value_parser = values::value::<ColumnText>, help_heading = "Columns")]
    computed: Vec<ColumnText>,
    /// Write the outputs of this jq expression instead of rows, each as a line of JSON Lines, such as
    /// '{messages: .input.messages}'
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true, help_heading = "Columns", conflicts_with_all = ["columns", "drop", "computed"])]
    map: Option<String>,
    /// Keep only the rows for which this jq expression holds, such as '.tags.topic? == "billing"'; several
    /// must all hold
    #[arg(long = "where", value_name = "EXPR", allow_hyphen_values = true, help_heading = "Rows")]
    conditions: Vec<String>,
    /// Keep about this fraction of the rows, such as 0.05; rows with equal inputs stay together
    #[arg(long, value_name = "FRACTION", value_parser = values::decimal, help_heading = "Rows")]
    sample: Option<f64>,
    /// Write a folder of files for each split, such as train=0.9,test=0.1, into a directory; rows with equal inputs
    /// are in one split
    #[arg(long, value_name = "NAME=FRACTION,...", value_parser = values::value::<SplitsText>, help_heading = "Rows")]
    split: Option<SplitsText>,
    /// jq expression for the key of --sample and --split, such as .tags.user: rows with equal keys stay together
    /// [default: .input]
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true, help_heading = "Rows")]
    split_by: Option<String>,
    /// Seed of --sample and --split: another seed chooses other rows [default: 0]
    #[arg(long, value_name = "N", value_parser = values::whole::<u64>, help_heading = "Rows")]
    seed: Option<u64>,
    /// Keep only the first of the rows for which this jq expression is equal, such as .input
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true, help_heading = "Rows")]
    dedupe: Option<String>,
    /// Replace the values at these jq paths by null, such as '.persona, .tags.user.email, .input.messages[].name';
    /// a path that matches nothing in the whole run fails it
    #[arg(long, value_name = "PATHS", help_heading = "Columns")]
    mask: Vec<String>,
    /// Replace the values at these jq paths by pseudonyms: keyed hashes, which are equal for equal values
    #[arg(long, value_name = "PATHS", help_heading = "Columns", requires = "pseudonym_key_file")]
    pseudonymise: Vec<String>,
    /// File with the key of --pseudonymise, which openssl rand -hex 32 makes; keep it private
    #[arg(long, value_name = "FILE", help_heading = "Columns", value_parser = super::path())]
    pseudonym_key_file: Option<PathBuf>,
    /// A row on which an expression fails: fail ends the run, skip leaves the row out, null takes null as the
    /// result, so that --where leaves it out too [default: fail]
    #[arg(long, value_name = "ACTION", value_parser = values::value::<OnError>, help_heading = "Rows")]
    on_error: Option<OnError>,
    /// Time limit for the expressions of one row [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Rows")]
    expression_timeout: Option<Duration>,
}

impl TransformArguments {
    /// Whether the rows are split.
    pub(super) fn splits(&self) -> bool {
        self.split.is_some()
    }

    /// Returns the names of the columns to write, and of those to leave out.
    pub(super) fn output(&self) -> (Option<Vec<String>>, Vec<String>) {
        (self.columns.clone(), self.drop.clone())
    }

    /// Returns the checked transformation and its columns.
    pub(super) fn plan(&self) -> Result<TransformPlan> {
        let (columns, drop) = self.output();
        TransformPlan::new(&self.clone().into(), columns.as_deref(), &drop)
    }

    /// Returns the names of the columns to write; none for all.
    pub(super) fn column_names(&self) -> &[String] {
        self.columns.as_deref().unwrap_or_default()
    }

    /// Whether the options choose nothing but columns by name.
    pub(super) fn only_columns(&self) -> bool {
        self.drop.is_empty() && Transform::from(self.clone()) == Transform::new()
    }

    /// Whether the options name a column: as one to keep, or as one to compute.
    pub(super) fn names(&self, column: &str) -> bool {
        let is_computed = self.computed.iter().any(|it| it.name() == column);
        is_computed || self.column_names().iter().any(|name| name == column)
    }
}

impl From<TransformArguments> for Transform {
    fn from(typed: TransformArguments) -> Self {
        let chosen = typed.conditions.into_iter().fold(Self::new(), Self::keep_where);
        let chosen = typed.computed.into_iter().fold(chosen, Self::computed);
        let chosen = typed.map.into_iter().fold(chosen, Self::map);
        let chosen = typed.sample.into_iter().fold(chosen, Self::sample);
        let chosen = typed.split.into_iter().fold(chosen, Self::split_text);
        let chosen = typed.split_by.into_iter().fold(chosen, Self::split_by);
        let chosen = typed.seed.into_iter().fold(chosen, Self::seed);
        let chosen = typed.dedupe.into_iter().fold(chosen, Self::dedupe);
        let chosen = typed.mask.into_iter().fold(chosen, Self::mask);
        let chosen = typed.pseudonymise.into_iter().fold(chosen, Self::pseudonymise);
        let chosen = typed.pseudonym_key_file.into_iter().fold(chosen, Self::pseudonym_key_file);
        let chosen = typed.on_error.into_iter().fold(chosen, Self::on_error);
        typed.expression_timeout.into_iter().fold(chosen, Self::expression_timeout)
    }
}
