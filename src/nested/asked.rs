//! Checks that each object that the caller wants as a struct is one.

use super::{
    columns::InferredColumns,
    infer::{InferredNode, Sight},
    paths::{NestPath, NestStep},
    resolve::NestRules,
    types::{NO_VALUE, NestedField, NestedType},
};
use crate::error::{Error, NestingError, Result};

impl InferredColumns {
    /// Decides the types. `others` is the number of columns of the output that hold no JSON.
    ///
    /// # Errors
    /// [`Error::UnmatchedNode`] for a path that leads to no value of any row, [`Error::Nesting`] for one of `nest` that
    /// leads to values that no struct holds.
    pub(crate) fn types(&self, others: usize, rules: &NestRules) -> Result<Vec<NestedField>> {
        self.check()?;
        let types = self.resolve(others, rules);
        match self.not_structs(&types, rules).into_iter().next() {
            None => Ok(types),
            Some((_, error)) => Err(error),
        }
    }

    /// Returns the paths of `nest` that are no struct in these types, and the error of each.
    pub(crate) fn not_structs(
        &self,
        types: &[NestedField],
        rules: &NestRules,
    ) -> Vec<(NestPath, Error)> {
        // Without a row, no value can have another form than the caller wants.
        let asked = rules.nest.iter().filter(|_| self.rows() > 0);
        asked.filter_map(|path| Some((path.clone(), self.not_struct(types, path)?))).collect()
    }

    fn not_struct(&self, types: &[NestedField], path: &NestPath) -> Option<Error> {
        let unmatched = || {
            let (option, path, rows) = ("nest", path.to_string(), self.rows());
            Some(Error::UnmatchedNode { option, path, rows, meant: None })
        };
        let mut at = NestPath::of_column(path.column());
        let Some(field) = types.iter().find(|field| field.name == path.column()) else {
            return unmatched();
        };
        let mut kind = &field.kind;
        for (_, step) in path.steps() {
            let below = match (kind, step) {
                (NestedType::List { item }, NestStep::Elements) => Some(&**item),
                (NestedType::Struct { fields }, NestStep::Member(name)) => {
                    fields.iter().find(|field| field.name == *name).map(|field| &field.kind)
                }
                _ => None,
            };
            let Some(below) = below else { break };
            (kind, at) = (below, at.below(step.clone()));
        }
        let is_it = at == *path;
        let because = match kind {
            NestedType::Struct { .. } if is_it => return None,
            NestedType::Json { why, .. } if why == NO_VALUE => return unmatched(),
            NestedType::Json { why, row } => {
                let place = if is_it { "it".to_owned() } else { at.to_string() };
                let row = row.map(|row| format!("row {row}: ")).unwrap_or_default();
                format!("{place} stays JSON text ({row}{why})")
            }
            _ if !is_it => return unmatched(),
            kind => {
                let row = self.root(path.column()).and_then(|root| first_row(root, path));
                let row = row.map(|row| format!(" (row {row})")).unwrap_or_default();
                match kind {
                    NestedType::List { .. } => {
                        format!(
                            "it is a list{row}; its elements are {}",
                            path.below(NestStep::Elements)
                        )
                    }
                    kind => format!("its type is {}{row}", kind.name()),
                }
            }
        };
        let path = path.to_string();
        Some(Box::new(NestingError::NotStruct { path, because }).into())
    }
}

/// Returns the first row with a value that is not null at this path.
fn first_row(root: &InferredNode, path: &NestPath) -> Option<u64> {
    let mut node = root;
    for (_, step) in path.steps() {
        node = match step {
            NestStep::Elements => &node.item.as_deref()?.node,
            NestStep::Member(name) => &node.members.iter().find(|it| *it.name == **name)?.node,
        };
    }
    let numbers = [Sight::Int, Sight::MinusZero, Sight::Double, Sight::LongNumber];
    let others = [Sight::Bool, Sight::String, Sight::Array, Sight::Object];
    numbers.into_iter().chain(others).filter_map(|sight| node.first(sight)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_structs_are_structs_or_errors() {
        let wide = |count: usize| {
            let members = (0..count).map(|n| format!(r#""k{n}":1"#)).collect::<Vec<_>>();
            format!("{{{}}}", members.join(","))
        };
        let rows = [
            format!(r#"{{"map":{},"none":null,"empty":{{}},"deep":{{"n":1}}}}"#, wide(512)),
            format!(r#"{{"wide":{},"list":[{{"s":"x"}}],"deep":7}}"#, wide(513)),
        ];
        let told = |path: &str, most_columns: usize| {
            let nest = vec![path.parse().unwrap()];
            let rules = NestRules { nest, most_columns, ..NestRules::default() };
            let mut columns = InferredColumns::new(["input", "tags"], &rules);
            for (row, text) in (1..).zip(&rows) {
                columns.add(0, text, row).unwrap();
            }
            columns.count_rows(rows.len());
            columns
                .types(0, &rules)
                .map_or_else(|error| error.to_string(), |_| "a struct".to_owned())
        };
        let mut all = String::new();
        for path in [
            ".input.map",
            ".input.list[]",
            ".input.wide",
            ".input.list",
            ".input.list[].s",
            ".input.map.k7",
            ".input.none",
            ".input.empty",
            ".input.deep",
            ".input.deep.n",
            ".tags",
        ] {
            all += &format!("{path}: {}\n", told(path, 1000));
        }
        all += &told(".input.map", 100);
        insta::assert_snapshot!(all, @r#"
        .input.map: a struct
        .input.list[]: a struct
        .input.wide: `nest` ".input.wide" cannot be a struct: it stays JSON text (row 2: more than 512 members)
        .input.list: `nest` ".input.list" cannot be a struct: it is a list (row 2); its elements are .input.list[]
        .input.list[].s: `nest` ".input.list[].s" cannot be a struct: its type is string (row 2)
        .input.map.k7: `nest` ".input.map.k7" cannot be a struct: .input.map stays JSON text (row 1: names that differ only in a number)
        .input.none: `nest` ".input.none" matches no value in 2 rows
        .input.empty: `nest` ".input.empty" cannot be a struct: it stays JSON text (row 1: no object has a member)
        .input.deep: `nest` ".input.deep" cannot be a struct: it stays JSON text (row 2: object and number)
        .input.deep.n: `nest` ".input.deep.n" cannot be a struct: .input.deep stays JSON text (row 2: object and number)
        .tags: `nest` ".tags" matches no value in 2 rows
        `nest` ".input.map" cannot be a struct: it stays JSON text (more columns than `max_columns`)
        "#);
        let rules = NestRules { nest: vec![".tags".parse().unwrap()], ..NestRules::default() };
        assert!(InferredColumns::new(["tags"], &rules).types(0, &rules).is_ok());
    }
}
