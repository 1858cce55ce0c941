//! The columns of an output: which of the API's and of the computed ones, and in which order.

use crate::{
    batch::{BatchColumn, Column, ColumnSource},
    error::{Error, Result},
    text::similar,
    transform::Shaper,
};

/// Returns the columns of the output, and where their values come from.
///
/// # Errors
/// [`Error::Invalid`] for a name that is unknown or given twice, for a computed column that is left out, and for no column.
/// [`Error::Usage`] when the caller gives both names to write and names to drop, or gives names together with a map.
pub(crate) fn output_columns(
    names: Option<&[String]>,
    drop: &[String],
    shaper: Option<&Shaper>,
) -> Result<Vec<BatchColumn>> {
    let all = Column::ALL.into_iter().map(BatchColumn::from).collect();
    output_columns_of(all, names, drop, shaper)
}

/// Returns the columns of the output like [`output_columns`], from the columns `all` of another source.
pub(crate) fn output_columns_of(
    mut all: Vec<BatchColumn>,
    names: Option<&[String]>,
    drop: &[String],
    shaper: Option<&Shaper>,
) -> Result<Vec<BatchColumn>> {
    if let Some(shaper) = shaper.filter(|shaper| shaper.maps()) {
        let Some(option) = names.map(|_| "columns").or((!drop.is_empty()).then_some("drop")) else {
            let lines = shaper.columns().enumerate();
            let lines = lines.map(|(index, column)| BatchColumn {
                column: column.clone(),
                source: ColumnSource::Computed(index),
            });
            return Ok(lines.collect());
        };
        let why = format!("`map` writes its own lines, so `{option}` has no effect");
        return Err(Error::Usage(why));
    }
    for (index, column) in shaper.into_iter().flat_map(Shaper::columns).enumerate() {
        let computed =
            BatchColumn { column: column.clone(), source: ColumnSource::Computed(index) };
        match all.iter_mut().find(|it| it.column.name() == column.name()) {
            Some(replaced) => *replaced = computed,
            None => all.push(computed),
        }
    }
    let find = |name: &String, hint: &str| {
        all.iter().position(|it| it.column.name() == name.trim()).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|it| it.column.name()).collect();
            // A field of the API that the rows do not have as a column cannot be masked either.
            let hint = if name.parse::<Column>().is_ok() { "" } else { hint };
            let meant = similar(name.trim(), known.iter().copied());
            let meant = meant.map(|meant| format!("did you mean {meant}? ")).unwrap_or_default();
            let why = format!("{meant}the columns are {}{hint}", known.join(", "));
            Error::invalid("column", name, why)
        })
    };
    let places = |names: &[String], hint: &str| {
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = find(name, hint)?;
            if places.contains(&place) {
                return Err(Error::invalid("column", name, "it is given twice"));
            }
            places.push(place);
        }
        Ok(places)
    };
    // All unknown fields of the API are in one column.
    let hint = "; `mask` makes any other field null";
    let dropped = places(drop, hint)?;
    let chosen = match names {
        None => (0..all.len()).filter(|place| !dropped.contains(place)).collect(),
        Some(_) if !dropped.is_empty() => {
            let why = "`columns` names all columns of the output, so `drop` has no effect";
            return Err(Error::Usage(why.to_owned()));
        }
        Some(names) => places(names, "")?,
    };
    let unused = (0..all.len()).find(|place| {
        matches!(all[*place].source, ColumnSource::Computed(_)) && !chosen.contains(place)
    });
    if let Some(unused) = unused {
        let why = "it is computed, but not among the columns of the output";
        return Err(Error::invalid("column", all[unused].column.name(), why));
    }
    if chosen.is_empty() {
        return Err(Error::invalid("list of columns", "", "it is empty"));
    }
    Ok(chosen.into_iter().map(|place| all[place].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::Transform;

    #[test]
    fn columns_are_chosen_by_name_and_in_order() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let transform =
            Transform::new().column("topic", None, ".tags.topic").column("persona", None, "\"x\"");
        let shaper = Shaper::compile(&transform).unwrap();
        let chosen = |columns: Option<&[&str]>, drop: &[&str]| {
            let columns = columns.map(names);
            let found = output_columns(columns.as_deref(), &names(drop), shaper.as_ref());
            let joined = |found: Vec<BatchColumn>| {
                found.iter().map(|it| it.column.name()).collect::<Vec<_>>().join(" ")
            };
            found.map(joined).map_err(|error| error.to_string())
        };
        let all = "id order input expected_output persona tags additional_properties topic";
        assert_eq!(chosen(None, &[]).unwrap(), all);
        let few = chosen(None, &["input", "id", "tags", "order", "additional_properties"]);
        assert_eq!(few.unwrap(), "expected_output persona topic");
        assert_eq!(chosen(Some(&["topic", "id", "persona"]), &[]).unwrap(), "topic id persona");
        for (columns, drop, why) in [
            (Some(&["topic"][..]), &[][..], "it is computed, but not among the columns"),
            (None, &["topic"], "it is computed, but not among the columns"),
            (Some(&["topic", "persona", "tip"]), &[], "the columns are id, order, input, "),
            (None, &["tip"], "tags, additional_properties, topic"),
            (Some(&["id", "id"]), &[], "it is given twice"),
            (Some(&["id"]), &["tags"], "so `drop` has no effect"),
            (Some(&[]), &[], "it is computed, but not among the columns"),
        ] {
            let found = chosen(columns, drop).unwrap_err();
            assert!(found.contains(why), "{columns:?} {drop:?}: {found}");
        }
        let none = output_columns(Some(&[]), &[], None).unwrap_err().to_string();
        assert!(none.contains("it is empty"), "{none}");
    }
}
