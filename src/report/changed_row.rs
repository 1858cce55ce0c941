//! A row that differs between two exports, with the mask of the report applied.

use uuid::Uuid;

use super::Shaper;
use crate::{
    batch::Column,
    client::Row,
    diff::{Difference, DifferenceKind, DifferenceRow, is_same_value},
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
    /// The columns that the report shows and that differ.
    pub(super) values: Vec<ChangedValue>,
    /// The other columns that tell people which row this is, in the later export.
    pub(super) others: Vec<(Column, String)>,
}

/// A column of a row that differs, with its JSON text before and after, or the beginning of it.
#[derive(Debug, Clone)]
pub(super) struct ChangedValue {
    pub(super) column: Column,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// Whether both texts have one value.
    pub(super) is_respelled: bool,
    /// Whether only the beginning is here.
    pub(super) is_cut: bool,
}

/// The columns that tell people which row this is.
const TELLING: [Column; 4] = [Column::Id, Column::Order, Column::Persona, Column::Input];

impl ChangedRow {
    /// Takes a difference of rows with this key column. The later row of a changed row has all columns.
    pub(super) fn of(
        difference: Difference,
        by: Column,
        drop: &[String],
        mask: Option<&Shaper>,
    ) -> Result<Self, NotJson> {
        let Difference { kind, key, before, after } = difference;
        let is_shown = |column: &Column| !drop.iter().any(|name| name == column.name());
        let masked =
            |row: &Option<DifferenceRow>| row.as_ref().map(|row| masked(row, mask)).transpose();
        let (before, mut after) = (masked(&before)?, masked(&after)?);
        // An input is masked here, too.
        let key = match by {
            Column::Input => {
                let row = after.iter().chain(&before).flatten();
                let input = row.into_iter().find(|(column, _)| *column == by);
                input.map(|(_, text)| text.clone()).filter(|text| text != "null")
            }
            _ => key,
        };
        let mut others = Vec::new();
        if let (Some(before), Some(after)) = (&before, &mut after) {
            let differs = |column: Column| before.iter().any(|(it, _)| *it == column);
            let (kept, equal) = std::mem::take(after).into_iter().partition(|(it, _)| differs(*it));
            (*after, others) = (kept, equal);
            others.retain(|(column, _)| TELLING.contains(column) && is_shown(column));
            others.iter_mut().for_each(|(_, text)| cut(text));
        }
        let columns = Column::ALL.into_iter().filter(is_shown).filter_map(|column| {
            let of = |row: &Option<Vec<(Column, String)>>| {
                let value = row.iter().flatten().find(|(it, _)| *it == column);
                value.map(|(_, text)| text.clone())
            };
            let (before, after) = (of(&before), of(&after));
            // A mask can make values equal.
            (before != after).then(|| ChangedValue::of(column, before, after))
        });
        let values = columns.collect();
        Ok(Self { kind, key: key.filter(|_| is_shown(&by)), values, others })
    }

    /// Returns the JSON text of a column in the later export, if the row has it there and it tells which row this is.
    pub(super) fn telling(&self, column: Column) -> Option<&str> {
        let changed = self.values.iter().find(|it| it.column == column);
        let changed = changed.and_then(|it| it.after.as_deref().or(it.before.as_deref()));
        let other = self.others.iter().find(|(it, _)| *it == column);
        changed.or(other.map(|(_, text)| text.as_str())).filter(|text| *text != "null")
    }

    /// Whether the row differs only in the spelling of its JSON.
    pub(super) fn is_respelled(&self) -> bool {
        !self.values.is_empty() && self.values.iter().all(|it| it.is_respelled)
    }

    /// Size of the texts, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let changed = self.values.iter().flat_map(|it| [&it.before, &it.after]).flatten();
        changed.chain(self.others.iter().map(|(_, text)| text)).map(String::len).sum()
    }
}

impl ChangedValue {
    pub(super) fn of(column: Column, before: Option<String>, after: Option<String>) -> Self {
        let both = before.as_deref().zip(after.as_deref());
        let is_respelled = both.is_some_and(|(before, after)| is_same_value(before, after));
        let mut value = Self { column, before, after, is_respelled, is_cut: false };
        for text in [&mut value.before, &mut value.after].into_iter().flatten() {
            value.is_cut |= text.len() > COMPARED_BYTES;
            cut(text);
        }
        value
    }
}

/// Keeps the beginning of a text, so that rows need little memory.
fn cut(text: &mut String) {
    if text.len() > COMPARED_BYTES {
        text.truncate(text.floor_char_boundary(COMPARED_BYTES));
        text.shrink_to_fit();
    }
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

#[cfg(test)]
impl ChangedRow {
    /// A changed row with these values of the column `input`.
    pub(super) fn changed(before: &str, after: &str) -> Self {
        let value =
            ChangedValue::of(Column::Input, Some(before.to_owned()), Some(after.to_owned()));
        Self { kind: DifferenceKind::Changed, key: None, values: vec![value], others: Vec::new() }
    }
}
