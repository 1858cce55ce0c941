//! Types that hold every value of an export.

use arrow_array::cast::AsArray;

use super::{Batches, ReadOptions};
use crate::{
    batch::{ColumnType, OutputColumn},
    error::{Error, Result},
    location::Location,
    nested::{NestedField, expected_columns, widened},
};

/// Reads an export, and widens these types of its JSON columns until they hold every value. Returns the same types if
/// they hold it already. JSON columns without a type get one. `others` is the number of columns that hold no JSON and
/// are not read.
///
/// # Errors
/// The same as for [`Batches`], and [`Error::Damaged`] for a value that is not JSON.
pub(crate) fn widened_types(
    place: &Location,
    options: &ReadOptions,
    types: &[NestedField],
    others: usize,
) -> Result<Vec<NestedField>> {
    let batches = Batches::open_with(place, options)?;
    let columns = batches.columns().unwrap_or_default();
    let is_json = |it: &&OutputColumn| it.column_type() == ColumnType::Json;
    let json = columns.iter().filter(is_json).map(OutputColumn::name);
    let others = others + columns.len() - json.clone().count();
    let mut inferred = expected_columns(types, json);
    let mut first_row = 1;
    for batch in batches {
        let batch = batch?;
        let names: Vec<String> = inferred.names().map(str::to_owned).collect();
        for (index, name) in names.iter().enumerate() {
            let Some(array) = batch.column_by_name(name) else { continue };
            let wrong = |row: u64| {
                let why = format!("row {row}: its {name} is not JSON");
                Error::Damaged { path: place.to_path(), why }
            };
            let texts = array.as_string_opt::<i32>().ok_or_else(|| wrong(first_row))?;
            for (row, text) in (first_row..).zip(texts) {
                let added = text.map_or(Ok(()), |text| inferred.add(index, text, row));
                added.map_err(|_| wrong(row))?;
            }
        }
        first_row += batch.num_rows() as u64;
    }
    let wider = widened(types, &inferred, others);
    // Another reason is no change for readers.
    let leaves =
        |types: &[NestedField]| -> Vec<_> { types.iter().flat_map(NestedField::leaves).collect() };
    Ok(if leaves(&wider) == leaves(types) { types.to_vec() } else { wider })
}
