//! Replaces values in a computed column of a source, which expressions do not see as a field of the row.

use super::{
    edits::{EditedField, NotJson, Replacement, RowEditor},
    places::{PathSet, PathTree},
    pseudonyms::PseudonymKey,
};

impl RowEditor {
    /// Returns what the paths replace in a column of this name. Its values are those of an unknown field with this name.
    pub(super) fn of_column(&self, name: &str) -> ColumnEdit<'_> {
        let hashed = self.pseudonyms.as_ref();
        ColumnEdit {
            mask: self.mask.unknown.key(name),
            pseudonyms: hashed.and_then(|(trees, key)| Some((trees.unknown.key(name)?, key))),
        }
    }
}

/// What replacements do to the values of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnEdit<'e> {
    mask: Option<&'e PathTree>,
    pseudonyms: Option<(&'e PathTree, &'e PseudonymKey)>,
}

impl ColumnEdit<'_> {
    /// Whether no path leads into the column.
    pub(super) fn is_empty(&self) -> bool {
        self.mask.is_none() && self.pseudonyms.is_none()
    }

    /// Returns the paths of the mask that replace the whole value.
    pub(crate) fn masked(&self) -> PathSet {
        self.mask.map(PathTree::ends).unwrap_or_default()
    }

    /// Replaces values in JSON text, or in a plain one. Returns the text with its replacements, and the paths that led to
    /// a value.
    ///
    /// # Errors
    /// The text is not JSON.
    pub(crate) fn edit(
        &self,
        text: &str,
        is_json: bool,
    ) -> Result<(Option<String>, PathSet), NotJson> {
        let (mut edited, mut paths) = (EditedField::default(), PathSet::default());
        let with = self.mask.map(|tree| (tree, Replacement::Null)).into_iter();
        let hashed = self.pseudonyms.map(|(tree, key)| (tree, Replacement::Pseudonym(key)));
        for (tree, with) in with.chain(hashed) {
            if is_json {
                paths.join(edited.edit(tree, Some(text), with)?);
            } else if !tree.ends().is_empty() && edited.of(Some(text)).is_some() {
                edited = match with {
                    Replacement::Null => EditedField::Null,
                    Replacement::Pseudonym(key) => EditedField::Text(key.of_string(text)),
                };
                paths.join(tree.ends());
            }
        }
        Ok((edited.of(Some(text)).map(str::to_owned), paths))
    }
}
