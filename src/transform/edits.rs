//! Replaces the values at some paths of a row. All other bytes of the row stay as they are.

use std::borrow::Cow;

use super::{
    dedupe::HashKey,
    expression::EvaluationFailure,
    missing::meant_of,
    options::Transform,
    paths::ValuePath,
    places::{PathSet, PathTree},
    pseudonyms::PseudonymKey,
};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// The replacements of a transformation, compiled.
#[derive(Debug)]
pub(super) struct RowEditor {
    /// The paths of all replacements: those of the mask, then those of the pseudonyms.
    paths: Vec<ReplacedPath>,
    pub(super) mask: FieldTrees,
    pub(super) pseudonyms: Option<(FieldTrees, PseudonymKey)>,
}

/// A path whose values are replaced, and the option that gave it.
#[derive(Debug)]
struct ReplacedPath {
    option: &'static str,
    path: ValuePath,
}

/// The fields of a row that have paths.
#[derive(Debug, Default)]
pub(super) struct FieldTrees {
    input: PathTree,
    expected_output: PathTree,
    persona: PathTree,
    tags: PathTree,
    /// The paths from the object of the unknown fields.
    pub(super) unknown: PathTree,
}

/// What takes the place of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Replacement<'k> {
    Null,
    Pseudonym(&'k PseudonymKey),
}

impl Replacement<'_> {
    /// Returns the JSON text in place of a value, which is JSON text.
    fn of(self, value: &str) -> Cow<'static, str> {
        match self {
            Self::Null => Cow::Borrowed("null"),
            Self::Pseudonym(key) => Cow::Owned(format!("\"{}\"", key.of_json(value))),
        }
    }
}

/// A text in which values were to be replaced is not JSON.
#[derive(Debug)]
pub(crate) struct NotJson;

impl From<NotJson> for EvaluationFailure {
    fn from(NotJson: NotJson) -> Self {
        Self::Row("cannot find the values: a field is not JSON".to_owned())
    }
}

/// A row with the replacements that were made in it.
#[derive(Debug, Default)]
pub(crate) struct EditedRow {
    input: EditedField,
    expected_output: EditedField,
    persona: EditedField,
    tags: EditedField,
    additional_properties: EditedField,
    /// The paths that led to a value.
    paths: PathSet,
}

#[derive(Debug, Default)]
pub(super) enum EditedField {
    #[default]
    Same,
    Null,
    Text(String),
}

impl EditedField {
    pub(super) fn of<'a>(&'a self, before: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Same => before,
            Self::Null => None,
            Self::Text(text) => Some(text),
        }
    }

    /// Replaces the values of a field at the paths. Returns the paths that led to one.
    ///
    /// # Errors
    /// The text is not JSON, so that a value at a path could stay.
    pub(super) fn edit(
        &mut self,
        tree: &PathTree,
        before: Option<&str>,
        with: Replacement<'_>,
    ) -> Result<PathSet, NotJson> {
        let Some(text) = self.of(before).filter(|_| !tree.is_empty()) else {
            return Ok(PathSet::default());
        };
        let (places, found) = tree.find(text).ok_or(NotJson)?;
        if found.is_empty() {
            return Ok(found);
        }
        let mut changed = String::with_capacity(text.len());
        let mut at = 0;
        for place in places {
            // Places in a text that is not JSON can be inside of a character.
            changed.push_str(text.get(at..place.start).ok_or(NotJson)?);
            changed.push_str(&with.of(text.get(place.clone()).ok_or(NotJson)?));
            at = place.end;
        }
        changed.push_str(text.get(at..).ok_or(NotJson)?);
        let is_null = matches!(with, Replacement::Null) && !tree.ends().is_empty();
        *self = if is_null { Self::Null } else { Self::Text(changed) };
        Ok(found)
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

    /// Replaces the values at the paths, in the row as it is after earlier replacements.
    fn edit(
        &mut self,
        trees: &FieldTrees,
        row: &Row<'_>,
        with: Replacement<'_>,
    ) -> Result<(), NotJson> {
        let unknown = row.additional_properties;
        let found = [
            self.input.edit(&trees.input, row.input, with)?,
            self.expected_output.edit(&trees.expected_output, row.expected_output, with)?,
            self.tags.edit(&trees.tags, row.tags, with)?,
            self.additional_properties.edit(&trees.unknown, unknown, with)?,
        ];
        found.into_iter().for_each(|found| self.paths.join(found));
        // The persona is not JSON text, and no path leads into it.
        if let Some(persona) = self.persona.of(row.persona).filter(|_| !trees.persona.is_empty()) {
            self.persona = match with {
                Replacement::Null => EditedField::Null,
                Replacement::Pseudonym(key) => EditedField::Text(key.of_string(persona)),
            };
            self.paths.join(trees.persona.ends());
        }
        Ok(())
    }

    /// Returns the bytes that the replacements add to the row.
    pub(super) fn added(&self, row: &Row<'_>) -> usize {
        let edited = self.of(*row);
        let fields = [
            (row.input, edited.input),
            (row.expected_output, edited.expected_output),
            (row.tags, edited.tags),
            (row.additional_properties, edited.additional_properties),
        ];
        let length = |text: Option<&str>| text.map_or(0, str::len);
        fields.iter().map(|(before, after)| length(*after).saturating_sub(length(*before))).sum()
    }

    /// Returns the paths that led to a value.
    pub(super) fn paths(&self) -> PathSet {
        self.paths
    }

    /// Adds paths that led to a value in another place than the fields of the row.
    pub(super) fn add_paths(&mut self, paths: PathSet) {
        self.paths.join(paths);
    }

    /// Counts the row for each path that led to a value. `rows` has a number for each path of the transformation.
    pub(crate) fn count_paths(&self, rows: &mut [u64]) {
        for path in self.paths.iter() {
            if let Some(rows) = rows.get_mut(path) {
                *rows += 1;
            }
        }
    }
}

impl RowEditor {
    /// Checks the paths, and reads the key of pseudonyms; `None` if there are no paths.
    ///
    /// # Errors
    /// [`Error::Expression`] or [`Error::Usage`] for a wrong path or a missing key, [`Error::ConfigurationFile`] for a
    /// key that cannot be used.
    pub(super) fn compile(options: &Transform) -> Result<Option<Self>> {
        let (mask, hashed) = Self::paths_of(options)?;
        let key = options.pseudonym_key_file.as_deref().map(PseudonymKey::read).transpose()?;
        let trees = FieldTrees::of(&hashed, mask.len());
        let replaced = |option: &'static str| {
            move |path: &ValuePath| ReplacedPath { option, path: path.clone() }
        };
        let hashed = hashed.iter().map(replaced("pseudonymise"));
        let editor = Self {
            paths: mask.iter().map(replaced("mask")).chain(hashed).collect(),
            mask: FieldTrees::of(&mask, 0),
            pseudonyms: key.map(|key| (trees, key)),
        };
        Ok((!editor.paths.is_empty()).then_some(editor))
    }

    /// Checks the options like [`compile`](Self::compile), without reading the key.
    pub(super) fn check_options(options: &Transform) -> Result<()> {
        Self::paths_of(options).map(drop)
    }

    /// Returns the paths of the mask and of the pseudonyms.
    fn paths_of(options: &Transform) -> Result<(Vec<ValuePath>, Vec<ValuePath>)> {
        let mask = ValuePath::parse_all("mask", &options.mask)?;
        let hashed = ValuePath::parse_all("pseudonymise", &options.pseudonymise)?;
        match (hashed.is_empty(), &options.pseudonym_key_file) {
            (false, None) => {
                let why = "`pseudonymise` needs `pseudonym_key_file`: make a key with openssl rand -hex 32";
                return Err(Error::Usage(why.to_owned()));
            }
            (true, Some(_)) => {
                let why = "`pseudonym_key_file` has no effect without `pseudonymise`";
                return Err(Error::Usage(why.to_owned()));
            }
            _ => {}
        }
        let is_masked = |path: &&ValuePath| mask.iter().any(|mask| path.is_within(mask));
        match hashed.iter().find(is_masked) {
            Some(path) => {
                let why = "`mask` replaces its values by null: leave one of them out";
                Err(Error::invalid("path of `pseudonymise`", path.to_string(), why))
            }
            None => Ok((mask, hashed)),
        }
    }

    /// Returns the number of paths.
    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns the option of the first path, and the path.
    pub(super) fn first(&self) -> (&'static str, String) {
        self.paths.first().map_or(("mask", String::new()), |it| (it.option, it.path.to_string()))
    }

    /// Returns the paths of an option.
    pub(super) fn paths(&self, option: &str) -> Vec<String> {
        let paths = self.paths.iter().filter(|path| path.option == option);
        paths.map(|path| path.path.to_string()).collect()
    }

    /// Returns the check value of the key of pseudonyms.
    pub(super) fn key_check(&self) -> Option<String> {
        self.pseudonyms.as_ref().map(|(_, key)| key.check().to_owned())
    }

    /// Returns a key for hashes of other values, if there is a key of pseudonyms.
    pub(super) fn hash_key(&self) -> Option<HashKey> {
        self.pseudonyms.as_ref().map(|(_, key)| key.hash_key())
    }

    /// Refuses a path that has replaced no value. `replaced` has a number of rows for each path, and `rows` is the
    /// number of all rows that were kept. `missing` is what no row gave.
    ///
    /// # Errors
    /// [`Error::UnmatchedPath`] for the first such path.
    pub(super) fn check(&self, rows: u64, replaced: &[u64], missing: &[String]) -> Result<()> {
        let is_unused = |number: usize| replaced.get(number).is_none_or(|rows| *rows == 0);
        let mut unused = self.paths.iter().enumerate().filter(|(number, _)| is_unused(*number));
        match unused.next() {
            // Without a row, no value can have stayed.
            Some((_, path)) if rows > 0 => Err(Error::UnmatchedPath {
                option: path.option,
                path: path.path.to_string(),
                rows,
                meant: meant_of(missing, path.option, &path.path.to_string())
                    .or_else(|| path.path.meant().map(|path| path.to_string())),
                // An export whose files are not yet published sets this to false.
                delivered: true,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the row with its replacements; `None` if no path leads to a value.
    ///
    /// # Errors
    /// A field of the row that is not JSON. Such a row is never written: a value could stay in it.
    pub(super) fn edited(
        &self,
        row: &Row<'_>,
    ) -> Result<Option<Box<EditedRow>>, EvaluationFailure> {
        let mut edited = EditedRow::default();
        edited.edit(&self.mask, row, Replacement::Null)?;
        if let Some((trees, key)) = &self.pseudonyms {
            edited.edit(trees, row, Replacement::Pseudonym(key))?;
        }
        Ok((!edited.paths.is_empty()).then(|| Box::new(edited)))
    }

    /// Returns the option of each path, and the path.
    pub(super) fn replaced(&self) -> impl Iterator<Item = (&'static str, &ValuePath)> {
        self.paths.iter().map(|it| (it.option, &it.path))
    }
}

impl FieldTrees {
    /// `paths` are numbered in their order, from `first`.
    fn of(paths: &[ValuePath], first: usize) -> Self {
        let mut trees = Self::default();
        for (number, path) in paths.iter().enumerate() {
            let tree = match path.field.as_str() {
                "input" => &mut trees.input,
                "expected_output" => &mut trees.expected_output,
                "persona" => &mut trees.persona,
                "tags" => &mut trees.tags,
                other => trees.unknown.of_key(other),
            };
            tree.insert(&path.steps, first + number);
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
            .unwrap()
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
        assert!(none.edited(&ROW).unwrap().is_none());
        // A null is no value.
        let null = Row { input: Some("[null]"), persona: None, ..ROW };
        assert!(editor(".input[0], .persona").edited(&null).unwrap().is_none());
    }

    #[test]
    fn text_that_is_not_json_is_never_passed_on() {
        for (path, input) in [
            (".input.a", r#"{"a"é1}"#),
            (".input.email", r#"{"email":"a"} {"email":"SECRET"}"#),
            (".input.a.b", "{\"a\"é{\"b\":1}}"),
        ] {
            let row = Row { input: Some(input), ..ROW };
            let failed = editor(path).edited(&row).unwrap_err();
            let EvaluationFailure::Row(why) = failed else { panic!("{failed:?}") };
            assert_eq!(why, "cannot find the values: a field is not JSON");
        }
    }

    #[test]
    fn pseudonyms_replace_values_after_the_mask() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let mut options = std::fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut written = options.write(true).create_new(true).open(&file).unwrap();
        let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        std::io::Write::write_all(&mut written, key.as_bytes()).unwrap();
        let transform = Transform::new()
            .mask(".tags.list[0]")
            .pseudonymise(".persona, .tags.list, .tags.topic, .input.messages[].content, .source")
            .pseudonym_key_file(&file);
        let editor = RowEditor::compile(&transform).unwrap().unwrap();
        let edited = editor.edited(&ROW).unwrap().unwrap();
        let row = edited.of(ROW);
        let key = PseudonymKey::read(&file).unwrap();
        let json = |value: &str| format!("\"{}\"", key.of_json(value));
        assert_eq!(row.persona, Some(key.of_json("\"ann\"").as_str()));
        let input = ROW.input.unwrap().replace("\"why?\"", &json("\"why?\""));
        assert_eq!(row.input.unwrap(), input.replace("\"so\"", &json("\"so\"")));
        let tags = ROW.tags.unwrap().replace("[1,2,3]", &json("[null,2,3]"));
        assert_eq!(row.tags.unwrap(), tags.replace("\"billing\"", &json("\"billing\"")));
        assert_eq!(row.additional_properties.unwrap(), format!("{{\"source\":{}}}", json("\"x\"")));
        assert_eq!(edited.paths().iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let whole = Transform::new().pseudonymise(".tags").pseudonym_key_file(&file);
        let whole = RowEditor::compile(&whole).unwrap().unwrap().edited(&ROW).unwrap().unwrap();
        assert_eq!(whole.of(ROW).tags, Some(json(ROW.tags.unwrap()).as_str()));
        assert!(!format!("{editor:?} {transform:?}").contains("0405"));
    }

    #[test]
    fn contradictory_options_are_refused() {
        let refused =
            |transform: Transform| RowEditor::compile(&transform).unwrap_err().to_string();
        let missing = refused(Transform::new().pseudonymise(".persona"));
        assert!(missing.starts_with("`pseudonymise` needs `pseudonym_key_file`: "), "{missing}");
        let needless = refused(Transform::new().mask(".tags").pseudonym_key_file("key"));
        assert_eq!(needless, "`pseudonym_key_file` has no effect without `pseudonymise`");
        let both = Transform::new().mask(".tags.user").pseudonym_key_file("key");
        let both = refused(both.pseudonymise(".tags.user.email"));
        assert!(both.contains("`mask` replaces its values by null"), "{both}");
    }

    #[test]
    fn paths_without_a_match_are_named() {
        let paths = editor(".persona, .tags.emial");
        let error = paths.check(1000, &[3, 0], &[]).unwrap_err();
        assert_eq!(error.to_string(), "`mask` \".tags.emial\" matches no value in 1,000 rows");
        assert_eq!(error.exit_code(), 65);
        assert!(paths.check(1000, &[3, 1], &[]).is_ok() && paths.check(0, &[0, 0], &[]).is_ok());
        assert!(paths.check(1, &[], &[]).is_err());
    }
}
