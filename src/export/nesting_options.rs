//! Which JSON columns become nested, and where the caller decides about their types.

use crate::{
    batch::{BatchColumn, Column, ColumnType},
    error::{Error, Result},
    nested::{NestPath, NestRules, NestedField, NestedType, RESCUED, is_readable},
    sink::{Encoding, JsonColumns},
};

/// Options for nested JSON columns.
///
/// A path looks like `.input.messages[].content`: a column, its members, and `[]` for the elements of a list.
///
/// ```
/// use overmind_export::{ExportOptions, ExportPlan, JsonColumns, NestingOptions};
///
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let nesting = NestingOptions { text: vec![".tags".to_owned()], ..NestingOptions::default() };
/// let json_columns = Some(JsonColumns::Nested);
/// let options = ExportOptions::new(dataset, "rows.parquet");
/// let plan = ExportPlan::new(ExportOptions { json_columns, nesting, ..options })?;
/// assert_eq!(plan.encoding().json_columns(), Some(JsonColumns::Nested));
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NestingOptions {
    /// The form of single JSON columns, by name; default that of all. Only for Parquet and Arrow.
    pub columns: Vec<(String, JsonColumns)>,
    /// Paths of objects that become structs although their members look like the keys of a map; default none.
    pub nest: Vec<String>,
    /// Paths that stay JSON text; default none.
    pub text: Vec<String>,
    /// The types of the JSON columns, such as those of an earlier export in [`Manifest::nested`](crate::Manifest::nested);
    /// default those that hold all values of the export. Columns that it does not name hold JSON text. A value of
    /// another type ends the export, unless `rescue` is set.
    pub schema: Option<Vec<NestedField>>,
    /// Maximum number of columns without columns in them; default 1,000. The objects with the most members stay JSON
    /// text if there are more.
    pub max_columns: Option<usize>,
    /// Whether the export has another column, `_rescued`, for values that do not fit the type of their column; default
    /// no. It is the last column and holds JSON text: an object whose names are the paths of such values in the row,
    /// such as `{".input.messages[1].content":{"text":"hi"}}`, or null if every value fits. The column of the value has
    /// null there. [`Batches`](crate::Batches) and all readers of this crate put the values back.
    pub rescue: bool,
}

/// How the types of JSON columns are chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypeChoice {
    /// Those that hold all values. The rows are written as drafts first.
    Found(NestRules),
    Given(Vec<NestedField>),
}

impl TypeChoice {
    /// Returns what decides the bytes of an output, as JSON.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Found(rules) => rules.to_json(),
            Self::Given(types) => serde_json::json!({ "types": types }),
        }
    }
}

/// Returns the encoding with the form of its JSON columns. If it is nested, also how types are chosen.
pub(crate) fn chosen_form(
    (form_of_all, asked): (Option<JsonColumns>, &NestingOptions),
    encoding: Encoding,
    columns: &[BatchColumn],
) -> Result<(Encoding, Option<TypeChoice>)> {
    let format = encoding.format();
    let is_json = |it: &&BatchColumn| it.column.column_type() == ColumnType::Json;
    let json: Vec<&str> = columns.iter().filter(is_json).map(|it| it.column.name()).collect();
    let known = || match json.as_slice() {
        [] => "the output has no JSON column".to_owned(),
        json => format!("the JSON columns are {}", json.join(", ")),
    };
    let mut forms = Vec::with_capacity(json.len());
    let is_split = !asked.columns.is_empty();
    if is_split && format.is_text() {
        return Err(Error::Usage(format!(
            "`json_columns` has one form for all columns of {format}: leave out the name of the column"
        )));
    }
    for (name, form) in &asked.columns {
        if !json.contains(&name.as_str()) {
            return Err(Error::invalid("JSON column", name, known()));
        }
        if *form == JsonColumns::Value {
            let why = "value is for JSON Lines: use text or nested";
            return Err(Error::invalid("form of a JSON column", format!("{name}={form}"), why));
        }
        if forms.iter().any(|(other, _)| *other == name) {
            return Err(Error::invalid("JSON column", name, "it is given twice"));
        }
        forms.push((name, *form));
    }
    if let Some(types) = &asked.schema {
        let (schema, rescue) = (asked.schema.clone(), asked.rescue);
        let others = NestingOptions { schema, rescue, ..NestingOptions::default() };
        if *asked != others || form_of_all.is_some_and(|form| form != JsonColumns::Nested) {
            return Err(Error::Usage(
                "`schema` gives the types of all JSON columns: leave out `nest`, `text`, `max_columns` and other \
                 `json_columns` than nested"
                    .to_owned(),
            ));
        }
        let encoding = encoding.with_json_columns(JsonColumns::Nested)?;
        require_other_names(columns)?;
        check_names(types, columns)?;
        let given = given_types(types, &json)?;
        if !is_readable(&given, columns.len() - json.len() + usize::from(asked.rescue)) {
            let why = "it has more columns and groups than readers accept";
            return Err(Error::invalid("schema", "columns", why));
        }
        return Ok((encoding, Some(TypeChoice::Given(given))));
    }
    let of_all = form_of_all.unwrap_or(JsonColumns::Text);
    let form = |name: &str| {
        let own = forms.iter().find(|(other, _)| *other == name);
        own.map_or(of_all, |(_, form)| *form)
    };
    let is_nested =
        of_all == JsonColumns::Nested || forms.iter().any(|(_, form)| *form == JsonColumns::Nested);
    if !is_nested {
        if *asked != (NestingOptions { columns: asked.columns.clone(), ..Default::default() }) {
            let given = [
                ("`nest`", !asked.nest.is_empty()),
                ("`text`", !asked.text.is_empty()),
                ("`max_columns`", asked.max_columns.is_some()),
                ("`rescue`", asked.rescue),
            ];
            let given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name);
            let given = given.collect::<Vec<_>>();
            let are = if given.len() == 1 { "is" } else { "are" };
            let given = given.join(" and ");
            let why = format!("{given} {are} for nested columns: give `json_columns nested`");
            return Err(Error::Usage(why));
        }
        let form = form_of_all.map(|form| encoding.with_json_columns(form)).transpose()?;
        return Ok((form.unwrap_or(encoding), None));
    }
    require_other_names(columns)?;
    let paths = |option: &'static str, texts: &[String]| {
        let path = |text: &String| {
            let parsed = text.parse::<NestPath>();
            let path = parsed.map_err(|error| match error {
                Error::Invalid { value, why, .. } => Error::Invalid { what: option, value, why },
                other => other,
            })?;
            match json.contains(&path.column()) && form(path.column()) == JsonColumns::Nested {
                true => Ok(path),
                false => {
                    let names = json.iter().filter(|it| form(it) == JsonColumns::Nested);
                    let names = names.copied().collect::<Vec<_>>().join(", ");
                    Err(Error::invalid(option, text, format!("the nested columns are {names}")))
                }
            }
        };
        texts.iter().map(path).collect::<Result<Vec<_>>>()
    };
    let nest = paths("path of `nest`", &asked.nest)?;
    let text = paths("path of `text`", &asked.text)?;
    let mut rules = NestRules { nest, text, most_columns: NestRules::MOST_COLUMNS };
    rules.check_paths()?;
    let as_text = json.iter().filter(|name| form(name) == JsonColumns::Text);
    rules.text.extend(as_text.map(|name| NestPath::of_column(name)));
    match asked.max_columns {
        Some(0) => {
            return Err(Error::invalid("number of columns", "0", "it must be at least 1"));
        }
        most => rules.most_columns = most.unwrap_or(NestRules::MOST_COLUMNS),
    }
    rules.check_columns(columns.len() + usize::from(asked.rescue))?;
    let encoding = encoding.with_json_columns(JsonColumns::Nested)?;
    Ok((encoding, Some(TypeChoice::Found(rules))))
}

/// Returns the types of the JSON columns of the output. Columns without a given type hold JSON text.
fn given_types(types: &[NestedField], json: &[&str]) -> Result<Vec<NestedField>> {
    let column = |name: &&str| {
        let mut own = types.iter().filter(|field| field.name == **name);
        match (own.next(), own.next()) {
            (Some(_), Some(_)) => Err(Error::invalid("schema", *name, "it has this column twice")),
            (Some(field), None) => field.check().map(|()| field.clone()),
            (None, _) => Ok(NestedField::new(*name, NestedType::not_given())),
        }
    };
    json.iter().map(column).collect()
}

/// Refuses types of columns that no row has, and other types of columns that hold no JSON.
fn check_names(types: &[NestedField], columns: &[BatchColumn]) -> Result<()> {
    for field in types.iter().filter(|field| field.name != RESCUED) {
        let own = columns.iter().find(|it| it.column.name() == field.name);
        // A column that the output leaves out can have a type.
        let left_out = || field.name.parse::<Column>().ok().map(Column::column_type);
        let Some(own) = own.map(|it| it.column.column_type()).or_else(left_out) else {
            let names = columns.iter().map(|it| it.column.name()).collect::<Vec<_>>().join(", ");
            let why = format!("the columns are {names}");
            return Err(Error::invalid("column in a schema", &*field.name, why));
        };
        if own != ColumnType::Json && own.name() != field.kind.name() {
            let why = format!("the column {} has the type {own}", field.name);
            return Err(Error::invalid("type in a schema", field.kind.name(), why));
        }
    }
    Ok(())
}

/// Refuses a column with the name of the column for values that do not fit, also if the case differs.
fn require_other_names(columns: &[BatchColumn]) -> Result<()> {
    let is_it = |it: &&BatchColumn| it.column.name().eq_ignore_ascii_case(RESCUED);
    columns.iter().find(is_it).map_or(Ok(()), |it| {
        let why = "nested exports keep values that do not fit in it: give another name";
        Err(Error::invalid("column", it.column.name(), why))
    })
}
