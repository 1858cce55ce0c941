//! Which computed columns of earlier transformations can have values that `mask` or `pseudonymise` replaces now.

use super::{
    columns::FieldsRead, computed::ComputedColumnRecord, expression::Expression, paths::ValuePath,
    shaper::Shaper,
};
use crate::batch::Column;

/// A column that was computed from values at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EarlierColumn {
    pub(crate) name: String,
    pub(crate) expression: String,
    /// The option of the path.
    pub(crate) option: &'static str,
    /// The path, as it was given.
    pub(crate) path: String,
}

/// A path whose values are replaced, or a field that was computed from them.
struct TaintedPath {
    path: ValuePath,
    option: &'static str,
    /// The path, as it was given.
    given: String,
}

impl Shaper {
    /// Returns the columns that were computed from values that are replaced now, and are not replaced themselves.
    /// `earlier` are the columns of each earlier transformation, the first one first.
    pub(crate) fn held_by<'a>(
        &self,
        earlier: impl Iterator<Item = &'a [ComputedColumnRecord]>,
    ) -> Vec<EarlierColumn> {
        let tainted = self.replaced().map(|(option, path)| {
            let (path, given) = (path.clone(), path.to_string());
            TaintedPath { path, option, given }
        });
        let mut tainted: Vec<_> = tainted.collect();
        let mut held: Vec<EarlierColumn> = Vec::new();
        if tainted.is_empty() {
            return held;
        }
        for columns in earlier {
            let mut fields = Vec::new();
            for ComputedColumnRecord { name, expression, .. } in columns {
                // A later column replaces an earlier one with its name.
                held.retain(|it| it.name != *name);
                let Some(from) = read_of(expression, &tainted) else { continue };
                let (option, path) = (from.option, from.given.clone());
                let (name, expression) = (name.clone(), expression.clone());
                // The next transformation sees it as a field of the row.
                if name.parse::<Column>().is_ok() {
                    let (path, given) = (ValuePath::of_field(&name), path.clone());
                    fields.push(TaintedPath { path, option, given });
                }
                held.push(EarlierColumn { name, expression, option, path });
            }
            tainted.extend(fields);
        }
        let is_whole = |name: &str| self.replaced().any(|(_, it)| *it == ValuePath::of_field(name));
        held.retain(|it| !is_whole(&it.name));
        held
    }
}

/// Returns the first of the paths whose values an expression can return or use.
fn read_of<'t>(expression: &str, tainted: &'t [TaintedPath]) -> Option<&'t TaintedPath> {
    let texts = [expression.to_owned()];
    // The path of a value says more than the fields that an expression reads.
    if let Ok(paths) = ValuePath::parse_all("column", &texts) {
        return tainted.iter().find(|it| paths.iter().any(|path| path.overlaps(&it.path)));
    }
    let compiled = Expression::compile_values("column", &texts).ok();
    let fields = compiled.as_ref().and_then(|compiled| compiled.first()).map(Expression::fields);
    tainted.iter().find(|it| match fields {
        Some(FieldsRead::Named(names)) => names.contains(&it.path.field),
        // Another version of the language, or the whole row.
        Some(FieldsRead::All) | None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::ColumnType, transform::Transform};

    fn record(column: &str) -> ComputedColumnRecord {
        let (name, expression) = column.split_once('=').unwrap();
        let (name, expression) = (name.to_owned(), expression.to_owned());
        ComputedColumnRecord { name, column_type: ColumnType::String, expression }
    }

    fn held(mask: &str, earlier: &[&[&str]]) -> Vec<String> {
        let shaper = Shaper::compile(&Transform::new().mask(mask)).unwrap().unwrap();
        let earlier: Vec<Vec<_>> =
            earlier.iter().map(|columns| columns.iter().map(|it| record(it)).collect()).collect();
        let held = shaper.held_by(earlier.iter().map(Vec::as_slice));
        held.into_iter().map(|it| format!("{} {}", it.name, it.path)).collect()
    }

    #[test]
    fn columns_from_replaced_values_are_found() {
        for (mask, earlier, expected) in [
            (".persona", &[&["user=.persona"][..]][..], &["user .persona"][..]),
            (".persona, .user", &[&["user=.persona"]], &[]),
            (".persona, .user.x", &[&["user=.persona"]], &["user .persona"]),
            (".persona", &[&["user=.tags.user"]], &[]),
            // Paths of other values in the same field.
            (
                ".tags.email",
                &[&["topic=.tags.topic", "e=.tags.email?", "all=.tags"]],
                &["e .tags.email", "all .tags.email"],
            ),
            (".tags.a.b", &[&["x=.tags.a.b.c", "y=.tags.a.c"]], &["x .tags.a.b"]),
            (
                ".input.m[].n",
                &[&["x=.input.m[0].n", "y=.input.m[1]", "z=.input.m[-1].o"]],
                &["x .input.m[].n", "y .input.m[].n"],
            ),
            // Any other expression reads its fields.
            (
                ".tags.email",
                &[&["x=.tags | keys | length", "y=.persona // .id"]],
                &["x .tags.email"],
            ),
            (
                ".persona",
                &[&["x=tojson", "y=[.id] | tojson", "z=not jq |"]],
                &["x .persona", "z .persona"],
            ),
            // A column can be computed from one that was computed.
            (
                ".tags.user",
                &[&["persona=.tags.user"], &["x=.persona"]],
                &["persona .tags.user", "x .tags.user"],
            ),
            (".tags.user", &[&["persona=.tags.user", "x=.persona"]], &["persona .tags.user"]),
            (".persona", &[&["user=.persona"], &["user=.id"]], &[]),
        ] {
            assert_eq!(held(mask, earlier), expected, "{mask} {earlier:?}");
        }
    }
}
