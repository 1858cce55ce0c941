//! The form of the rows of an output: its columns, its JSON columns and its splits, checked with each other. Both an export
//! and a job of the configuration file check it before anything is read.

use super::{
    nesting_options::{NestingOptions, TypeChoice, chosen_form},
    splits::check_card,
};
use crate::{
    batch::BatchColumn,
    error::{Error, Result},
    sink::{Encoding, Format, JsonColumns},
    transform::Shaper,
};

/// The options that decide the form of the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputForm<'a> {
    pub(crate) shaper: Option<&'a Shaper>,
    pub(crate) columns: &'a [BatchColumn],
    /// Whether the rows are lines that a map wrote before.
    pub(crate) has_lines: bool,
    pub(crate) has_card: bool,
    pub(crate) json_columns: Option<JsonColumns>,
    pub(crate) nesting: &'a NestingOptions,
    /// Whether the output has a name, from which the format can follow.
    pub(crate) is_named: bool,
}

impl OutputForm<'_> {
    /// Returns the encoding with the form of its JSON columns. If it is nested, also how types are chosen.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Usage`] for the first wrong option.
    pub(crate) fn check(&self, encoding: Encoding) -> Result<(Encoding, Option<TypeChoice>)> {
        let is_mapped = self.has_lines || self.shaper.is_some_and(|shaper| shaper.maps());
        // The loader of cards takes the types of JSON Lines from the card only if JSON columns are text.
        let of_card = self.has_card && encoding.format() == Format::JsonLines && !is_mapped;
        let of_card = of_card.then_some(JsonColumns::Text);
        let form = (self.json_columns.or(of_card), self.nesting);
        let (encoding, nesting) = chosen_form(form, encoding, self.columns)?;
        if is_mapped {
            require_lines(encoding, self.is_named)?;
        }
        if self.has_card {
            check_card(self.shaper)?;
        }
        Ok((encoding, nesting))
    }
}

/// Refuses an encoding that cannot write the lines of a map.
pub(crate) fn require_lines(encoding: Encoding, is_named: bool) -> Result<()> {
    let format = encoding.format();
    let why = match format {
        Format::JsonLines if encoding.json_columns() == Some(JsonColumns::Text) => {
            "`map` writes values, not JSON text: leave out `json_columns text`".to_owned()
        }
        Format::JsonLines => return Ok(()),
        _ if is_named => format!(
            "`map` writes JSON Lines, not {}: name the output .jsonl, or give `format jsonl`",
            format.title()
        ),
        _ => format!("`map` writes JSON Lines, not {}: give `format jsonl`", format.title()),
    };
    Err(Error::Usage(why))
}
