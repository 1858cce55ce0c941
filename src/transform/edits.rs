//! Replaces the values at some paths of a row. All other bytes of the row stay as they are.

use super::{
    options::Transform,
    paths::ValuePath,
    places::{PathSet, PathTree},
};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// The JSON text in place of a masked value.
const NULL: &str = "null";

/// The replacements of a transformation, compiled.
#[derive(Debug)]
pub(super) struct RowEditor {
    /// The paths of all replacements, in the order of the options.
    paths: Vec<ReplacedPath>,
    mask: FieldTrees,
}

/// A path whose values are replaced, and the option that gave it.
#[derive(Debug)]
struct ReplacedPath {
    option: &'static str,
    /// The path in its shortest form.
    path: String,
}

/// The fields of a row that have paths.
#[derive(Debug, Default)]
struct FieldTrees {
    input: PathTree,
    expected_output: PathTree,
    persona: PathTree,
    tags: PathTree,
    /// The paths from the object of the unknown fields.
    unknown: PathTree,
}

/// A row with the replacements that were made in it.
#[derive(Debug, Default)]
pub(crate) struct EditedRow {
    input: EditedField,
    expected_output: EditedField,
    persona: EditedField,
    tags: EditedField,
    additional_properties: EditedField,
    paths: PathSet,
    added: usize,
}

#[derive(Debug, Default)]
enum EditedField {
    #[default]
    Same,
    Null,
    Text(String),
}

impl EditedField {
    fn of<'a>(&'a self, before: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Same => before,
            Self::Null => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl EditedRow {
    /// Returns the row with the replacements.
    pub(crate) fn of<'a>(&'a self, row: Row<'a>) -> Row<'a> {
        Row {
            input: self.input.of(row.input),
            expected_output: self.expected_output.of(row.expected_output),
            persona: self.persona.of(row.persona),
            tags: self.tags.of(row.tags),
            additional_properties: self.additional_properties.of(row.additional_properties),
            ..row
        }
    }

    /// Replaces values of a field by null.
    fn masked(&mut self, tree: &PathTree, field: Option<&str>) -> EditedField {
        let Some(text) = field.filter(|_| !tree.is_empty()) else { return EditedField::Same };
        let (places, found) = tree.find(text);
        if found.is_empty() {
            return EditedField::Same;
        }
        self.paths.join(found);
        if !tree.ends().is_empty() {
            return EditedField::Null;
        }
        let mut changed = String::with_capacity(text.len() + NULL.len() * places.len());
        let mut at = 0;
        for place in places {
            changed.push_str(&text[at..place.start]);
            changed.push_str(NULL);
            at = place.end;
        }
        changed.push_str(&text[at..]);
        self.added += changed.len().saturating_sub(text.len());
        EditedField::Text(changed)
    }

    /// Returns the bytes that the replacements add to the row.
    pub(super) fn added(&self) -> usize {
        self.added
    }

    /// Returns the paths that led to a value.
    pub(super) fn paths(&self) -> PathSet {
        self.paths
    }
}

impl RowEditor {
    /// Checks the paths; `None` if there are none.
    ///
    /// # Errors
    /// [`Error::Expression`] or [`Error::Usage`] for a wrong path.
    pub(super) fn compile(options: &Transform) -> Result<Option<Self>> {
        let mask = ValuePath::parse_all("mask", &options.mask)?;
        let replaced = |path: &ValuePath| ReplacedPath { option: "mask", path: path.to_string() };
        let paths: Vec<_> = mask.iter().map(replaced).collect();
        let editor = Self { mask: FieldTrees::of(&mask), paths };
        Ok((!editor.paths.is_empty()).then_some(editor))
    }

    /// Returns the number of paths.
    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns the option of the first path, and the path.
    pub(super) fn first(&self) -> (&'static str, String) {
        self.paths.first().map_or(("mask", String::new()), |it| (it.option, it.path.clone()))
    }

    /// Returns the paths of the mask.
    pub(super) fn masked(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.path.as_str())
    }

    /// Refuses a path that has replaced no value. `replaced` has a number of rows for each path, and `rows` is the
    /// number of all rows that were kept.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] for the first such path.
    pub(super) fn check(&self, rows: u64, replaced: &[u64]) -> Result<()> {
        let is_unused = |number: usize| replaced.get(number).is_none_or(|rows| *rows == 0);
        let mut unused = self.paths.iter().enumerate().filter(|(number, _)| is_unused(*number));
        match unused.next() {
            // Without a row, no value can have stayed.
            Some((_, path)) if rows > 0 => Err(Error::UnmatchedPath {
                option: path.option,
                path: path.path.clone(),
                rows,
                // An export whose files are not yet published sets this to false.
                delivered: true,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the row with its replacements; `None` if no path leads to a value.
    pub(super) fn edited(&self, row: &Row<'_>) -> Option<Box<EditedRow>> {
        let mut edited = EditedRow::default();
        edited.input = edited.masked(&self.mask.input, row.input);
        edited.expected_output = edited.masked(&self.mask.expected_output, row.expected_output);
        edited.tags = edited.masked(&self.mask.tags, row.tags);
        edited.additional_properties = edited.masked(&self.mask.unknown, row.additional_properties);
        // The persona is not JSON text, and no path leads into it.
        if row.persona.is_some() && !self.mask.persona.is_empty() {
            edited.persona = EditedField::Null;
            edited.paths.join(self.mask.persona.ends());
        }
        (!edited.paths.is_empty()).then(|| Box::new(edited))
    }
}

impl FieldTrees {
    /// `paths` are numbered in their order.
    fn of(paths: &[ValuePath]) -> Self {
        let mut trees = Self::default();
        for (number, path) in paths.iter().enumerate() {
            let tree = match path.field.as_str() {
                "input" => &mut trees.input,
                "expected_output" => &mut trees.expected_output,
                "persona" => &mut trees.persona,
                "tags" => &mut trees.tags,
                other => trees.unknown.of_key(other),
            };
            tree.insert(&path.steps, number);
        }
        trees
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::ROW, *};

    fn editor(paths: &str) -> RowEditor {
        RowEditor::compile(&Transform::new().mask(paths)).unwrap().unwrap()
    }

    #[test]
    fn masked_values_become_null_and_other_bytes_stay() {
        const HOSTILE: Row<'static> = Row {
            input: Some(r#"{ "m" : [ {"n":"a", "x":1e400} , {"n": {}} ] , "b":"\ud800"}"#),
            expected_output: Some("[1,2]"),
            tags: Some(r#"{"email":"x","\u0065mail":"y","a":12345678901234567890.10,"a":1}"#),
            additional_properties: Some(r#"{"trace":"t","other":[ 1 ],"trace":null}"#),
            ..ROW
        };
        let edited = editor(".input.m[].n, .persona, .expected_output, .tags.email, .trace")
            .edited(&HOSTILE)
            .unwrap();
        let row = edited.of(HOSTILE);
        assert_eq!(
            row.input,
            Some(r#"{ "m" : [ {"n":null, "x":1e400} , {"n": null} ] , "b":"\ud800"}"#)
        );
        assert_eq!((row.persona, row.expected_output), (None, None));
        let tags = r#"{"email":null,"\u0065mail":null,"a":12345678901234567890.10,"a":1}"#;
        assert_eq!(row.tags, Some(tags));
        let unknown = r#"{"trace":null,"other":[ 1 ],"trace":null}"#;
        assert_eq!(row.additional_properties, Some(unknown));
        assert_eq!((row.id, row.order), (ROW.id, ROW.order));
        assert_eq!(edited.paths().iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn row_without_a_match_is_not_edited() {
        let none = editor(".input.missing, .expected_output, .tags[0], .nothing");
        assert!(none.edited(&ROW).is_none());
        // A null is no value.
        let null = Row { input: Some("[null]"), persona: None, ..ROW };
        assert!(editor(".input[0], .persona").edited(&null).is_none());
    }

    #[test]
    fn paths_without_a_match_are_named() {
        let paths = editor(".persona, .tags.emial");
        let error = paths.check(1000, &[3, 0]).unwrap_err();
        assert_eq!(error.to_string(), "`mask` \".tags.emial\" matches no value in 1,000 rows");
        assert_eq!(error.exit_code(), 65);
        assert!(paths.check(1000, &[3, 1]).is_ok() && paths.check(0, &[0, 0]).is_ok());
        assert!(paths.check(1, &[]).is_err());
    }
}
