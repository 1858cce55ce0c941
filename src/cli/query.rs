//! The options that filter datasets. Their names are those of the API.

use crate::{Query, Source};
use clap::Args;
use uuid::Uuid;

use super::values;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters (they select the dataset, not its rows)")]
pub(super) struct FilterArguments {
    /// Only a dataset of this agent
    #[arg(long, value_name = "UUID", value_parser = values::id)]
    agent: Option<Uuid>,
    /// Only a dataset that this model generated
    #[arg(long, value_name = "MODEL")]
    generator_model: Option<String>,
    /// Field that orders the rows; -FIELD means descending order
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    ordering: Option<String>,
    /// Only a dataset that matches this search term
    #[arg(long, value_name = "TERM")]
    search: Option<String>,
    /// Only a dataset from this source: seed, synthetic, augmented or production
    #[arg(long, value_parser = values::value::<Source>)]
    source: Option<Source>,
    /// Only this version
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::whole::<i64>)]
    version: Option<i64>,
    /// Only this version or a later one
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::whole::<i64>)]
    version_min: Option<i64>,
    /// Only this version or an earlier one
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::whole::<i64>)]
    version_max: Option<i64>,
}

impl From<FilterArguments> for Query {
    fn from(filters: FilterArguments) -> Self {
        Self {
            agent: filters.agent,
            generator_model: filters.generator_model,
            ordering: filters.ordering,
            search: filters.search,
            source: filters.source,
            version: filters.version,
            version_min: filters.version_min,
            version_max: filters.version_max,
        }
    }
}
