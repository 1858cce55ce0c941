//! A row that differs between two exports, with the mask of the report applied.

use uuid::Uuid;

use super::Shaper;
use crate::{
    batch::Column,
    client::Row,
    diff::{DiffBy, Difference, DifferenceKind, DifferenceRow},
    transform::NotJson,
};

/// Bytes of a value that are compared: 32 KiB. The page says if there is more.
pub(super) const COMPARED_BYTES: usize = 32 << 10;

/// A row that differs.
#[derive(Debug, Clone)]
pub(super) struct ChangedRow {
    pub(super) kind: DifferenceKind,
    /// The key that the rows were compared by; `None` if it is null, masked, or left out.
    pub(super) key: Option<String>,
    /// The columns that the report shows and that differ, each with its JSON text before and after.
    pub(super) values: Vec<(Column, Option<String>, Option<String>)>,
}

impl ChangedRow {
    /// `by` is the key, and `drop` names the columns that the report does not show.
    ///
    /// # Errors
    /// A field of a masked row is not JSON.
    pub(super) fn of(
        difference: Difference,
        (by, drop): (DiffBy, &[String]),
        mask: Option<&Shaper>,
    ) -> Result<Self, NotJson> {
        let Difference { kind, key, before, after } = difference;
        let is_shown = |column: &Column| !drop.iter().any(|name| name == column.name());
        let masked =
            |row: &Option<DifferenceRow>| row.as_ref().map(|row| masked(row, mask)).transpose();
        let (before, after) = (masked(&before)?, masked(&after)?);
        let columns = Column::ALL.into_iter().filter(is_shown).filter_map(|column| {
            let of = |row: &Option<Vec<(Column, String)>>| {
                let value = row.iter().flatten().find(|(it, _)| *it == column);
                value.map(|(_, text)| text.clone())
            };
            let (before, after) = (of(&before), of(&after));
            // A mask can make values equal.
            (before != after).then_some((column, before, after))
        });
        let values = columns.collect();
        let key = key.filter(|_| is_shown(&by.column()));
        let key = match by {
            // No path of a mask leads to the id or the order.
            DiffBy::Id | DiffBy::Order => key,
            DiffBy::Input => key.map(|input| masked_input(input, mask)).transpose()?.flatten(),
        };
        Ok(Self { kind, key, values })
    }
}

/// Returns the input that is a key with the replacements of the mask; `None` if all of it is masked.
fn masked_input(input: String, mask: Option<&Shaper>) -> Result<Option<String>, NotJson> {
    let values = vec![(Column::Input, input)];
    let masked = masked(&DifferenceRow { id: None, values }, mask)?;
    Ok(masked.into_iter().map(|(_, text)| text).find(|text| text != "null"))
}

/// Returns the values of a row with the replacements of the mask.
fn masked(row: &DifferenceRow, mask: Option<&Shaper>) -> Result<Vec<(Column, String)>, NotJson> {
    let Some(mask) = mask else { return Ok(row.values.clone()) };
    let of = |column: Column| {
        let value = row.values.iter().find(|(it, _)| *it == column).map(|(_, text)| text.as_str());
        value.filter(|text| *text != "null")
    };
    let persona = of(Column::Persona).and_then(|text| serde_json::from_str::<String>(text).ok());
    let fields = Row {
        id: Uuid::nil(),
        order: None,
        input: of(Column::Input),
        expected_output: of(Column::ExpectedOutput),
        persona: persona.as_deref(),
        tags: of(Column::Tags),
        additional_properties: of(Column::AdditionalProperties),
        has_id: true,
        compact: false,
    };
    let edited = mask.replace_in(&fields)?;
    let fields = edited.as_ref().map_or(fields, |edited| edited.of(fields));
    let values = row.values.iter().map(|(column, text)| {
        let text = match column {
            Column::Id | Column::Order => Some(text.clone()),
            Column::Input => fields.input.map(str::to_owned),
            Column::ExpectedOutput => fields.expected_output.map(str::to_owned),
            Column::Persona => fields.persona.map(|it| serde_json::json!(it).to_string()),
            Column::Tags => fields.tags.map(str::to_owned),
            Column::AdditionalProperties => fields.additional_properties.map(str::to_owned),
        };
        (*column, text.unwrap_or_else(|| "null".to_owned()))
    });
    Ok(values.collect())
}
