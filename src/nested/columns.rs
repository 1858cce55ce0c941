//! Collects what the values of several JSON columns are, within one bound of memory, and whether each path that the
//! caller named leads to a value.
//!
//! All columns share the bound. If there are too many nodes, the column with the most of them gives up its tree and
//! stays JSON text. This depends on the rows only.

use super::{
    cursor::MalformedJson,
    infer::{InferredColumn, InferredNode, MOST_NODES},
    paths::{NestPath, NestStep},
    resolve::{NestRules, resolve},
    types::NestedField,
};
use crate::{
    error::{Error, Result},
    text::similar,
};

/// A path that has led to no value yet, and its option.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unmatched {
    option: &'static str,
    path: NestPath,
}

/// What the values of JSON columns are, as far as they were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InferredColumns {
    columns: Vec<(String, InferredColumn)>,
    /// Most nodes of all columns.
    most: usize,
    nodes: usize,
    rows: u64,
    /// The paths of the caller that have led to no value yet.
    unmatched: Vec<Unmatched>,
}

impl InferredColumns {
    /// Starts with columns of these names, and with the paths that the rules name.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>, rules: &NestRules) -> Self {
        let columns = names.into_iter().map(|name| (name.to_owned(), InferredColumn::default()));
        let paths = |option, paths: &[NestPath]| {
            let of = move |path: &NestPath| Unmatched { option, path: path.clone() };
            paths.iter().map(of).collect::<Vec<_>>()
        };
        let mut unmatched = paths("nest", &rules.nest);
        unmatched.extend(paths("text", &rules.text));
        let mut found = Self {
            columns: columns.collect(),
            // Each column of the output needs a node, and the objects around it need some, too.
            most: MOST_NODES.max(rules.most_columns.saturating_mul(2)),
            nodes: 0,
            rows: 0,
            unmatched,
        };
        found.match_columns();
        found
    }

    /// Starts with columns that are known before the first row.
    pub(super) fn expected(columns: Vec<(String, InferredColumn)>) -> Self {
        let nodes = columns.iter().map(|(_, column)| column.nodes()).sum();
        Self { columns, most: MOST_NODES + nodes, nodes, rows: 0, unmatched: Vec::new() }
    }

    /// Returns the names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the index of a column. If there is no such column yet, adds it.
    pub(crate) fn index_of(&mut self, name: &str) -> usize {
        let index = self.names().position(|own| own == name);
        index.unwrap_or_else(|| {
            self.columns.push((name.to_owned(), InferredColumn::default()));
            self.match_columns();
            self.columns.len() - 1
        })
    }

    /// A path of a column itself leads to something, even if the column has no value.
    fn match_columns(&mut self) {
        let Self { columns, unmatched, .. } = self;
        unmatched.retain(|it| {
            let is_column = columns.iter().any(|(name, _)| name == it.path.column());
            !(it.path.is_of_column() && is_column)
        });
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns what the values of a column are.
    pub(super) fn root(&self, name: &str) -> Option<&InferredNode> {
        self.columns.iter().find(|(own, _)| own == name).map(|(_, column)| &column.root)
    }

    /// Adds rows that have passed.
    pub(crate) fn count_rows(&mut self, rows: usize) {
        self.rows += rows as u64;
    }

    /// Adds the value of a row to the column with this index. `row` is its number, from 1.
    pub(crate) fn add(
        &mut self,
        index: usize,
        text: &str,
        row: u64,
    ) -> std::result::Result<(), MalformedJson> {
        let Some((name, column)) = self.columns.get_mut(index) else { return Ok(()) };
        let before = column.nodes();
        column.add(text, row, self.most)?;
        self.nodes = self.nodes + column.nodes() - before;
        if !self.unmatched.is_empty() {
            let is_open = |it: &Unmatched| it.path.column() != name || !it.path.leads_into(text);
            self.unmatched.retain(is_open);
        }
        self.bound();
        Ok(())
    }

    /// Adds what was seen in other rows of the same columns.
    pub(crate) fn join(&mut self, other: Self) {
        self.rows += other.rows;
        self.unmatched.retain(|path| other.unmatched.contains(path));
        for ((_, column), (_, state)) in self.columns.iter_mut().zip(other.columns) {
            column.join(state, self.most);
        }
        self.nodes = self.columns.iter().map(|(_, column)| column.nodes()).sum();
        self.bound();
    }

    /// Drops the trees of the largest columns, until few enough nodes are left. Of equal columns, drops the first.
    fn bound(&mut self) {
        while self.nodes > self.most {
            let Some(most) = self.columns.iter().map(|(_, column)| column.nodes()).max() else {
                return;
            };
            let largest = self.columns.iter_mut().find(|(_, column)| column.nodes() == most);
            largest.into_iter().for_each(|(_, column)| column.give_up());
            self.nodes -= most;
        }
    }

    /// Decides the types. `others` is the number of columns of the output that hold no JSON.
    pub(crate) fn resolve(&self, others: usize, rules: &NestRules) -> Vec<NestedField> {
        resolve(&self.columns, others, rules)
    }

    /// Returns the error of the first path that led to no value of any row, also not in these other rows.
    fn first_unmatched(&self, other: Option<&Self>) -> Option<Error> {
        let is_open = |it: &&Unmatched| other.is_none_or(|other| other.unmatched.contains(it));
        // Without a row, no value can have another form than the caller wants.
        let Unmatched { option, path } =
            self.unmatched.iter().find(is_open).filter(|_| self.rows > 0)?;
        let column = self.columns.iter().find(|(name, _)| name == path.column());
        let meant = match column {
            Some((_, column)) => meant(path, &column.root),
            None => similar(path.column(), self.names()).map(|name| path.with_name(0, name)),
        };
        let meant = meant.map(|path| path.to_string());
        Some(Error::UnmatchedNode { option, path: path.to_string(), rows: self.rows, meant })
    }

    /// Refuses a path that led to no value of any row.
    ///
    /// # Errors
    /// [`Error::UnmatchedNode`] for the first such path.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_with(None)
    }

    /// Refuses a path that led to no value of any row, also not in the rows of another export.
    ///
    /// # Errors
    /// [`Error::UnmatchedNode`] for the first such path.
    pub(crate) fn check_with(&self, other: Option<&Self>) -> Result<()> {
        self.first_unmatched(other).map_or(Ok(()), Err)
    }
}

/// Returns the path with the name that was probably meant instead of the first one that is not below this node of its
/// column.
fn meant(path: &NestPath, column: &InferredNode) -> Option<NestPath> {
    let mut node = column;
    for (place, step) in path.steps() {
        let NestStep::Member(name) = step else {
            node = &node.item.as_deref()?.node;
            continue;
        };
        match node.members.iter().find(|member| *member.name == **name) {
            Some(member) => node = &member.node,
            None => {
                let known = node.members.iter().map(|it| &*it.name);
                return Some(path.with_name(place, similar(name, known)?));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(nest: &[&str], text: &[&str]) -> NestRules {
        let parsed = |paths: &[&str]| paths.iter().map(|it| it.parse().unwrap()).collect();
        NestRules { nest: parsed(nest), text: parsed(text), ..NestRules::default() }
    }

    fn seen(rows: &[&str], rules: &NestRules) -> InferredColumns {
        let mut columns = InferredColumns::new(["input", "tags"], rules);
        for (row, text) in (1..).zip(rows) {
            columns.add(0, text, row).unwrap();
        }
        columns.count_rows(rows.len());
        columns
    }

    #[test]
    fn paths_without_a_value_are_found() {
        let rows = [r#"{"scores":{"a":1},"list":[[{"x":null}],[]]}"#, r#""text""#];
        for path in [
            ".input",
            ".input.scores.a",
            ".input.list[]",
            ".input.list[][].x",
            ".tags",
            ".input.list",
        ] {
            assert!(seen(&rows, &rules(&[path], &[])).check().is_ok(), "{path}");
            assert!(seen(&rows, &rules(&[], &[path])).check().is_ok(), "{path}");
        }
        let mut told = String::new();
        for path in [
            ".input.scors",
            ".input.scores[]",
            ".input.list[].x",
            ".input.list[][].X.y",
            ".tags.a",
            ".input.quite_different",
            ".inptu.scores",
        ] {
            told += &format!("{}\n", seen(&rows, &rules(&[], &[path])).check().unwrap_err());
        }
        insta::assert_snapshot!(told, @r#"
        `text` ".input.scors" matches no value in 2 rows: did you mean .input.scores?
        `text` ".input.scores[]" matches no value in 2 rows
        `text` ".input.list[].x" matches no value in 2 rows
        `text` ".input.list[][].X.y" matches no value in 2 rows: did you mean .input.list[][].x.y?
        `text` ".tags.a" matches no value in 2 rows
        `text` ".input.quite_different" matches no value in 2 rows
        `text` ".inptu.scores" matches no value in 2 rows: did you mean .input.scores?
        "#);
        assert!(seen(&[], &rules(&[".input.a"], &[])).check().is_ok());
    }

    #[test]
    fn path_below_a_dropped_tree_is_found() {
        let members: Vec<_> = (0..600).map(|n| format!(r#""k{n}":{{"v":1}}"#)).collect();
        let row = format!("{{{}}}", members.join(","));
        assert!(seen(&[&row], &rules(&[], &[".input.k599.v"])).check().is_ok());
        assert!(seen(&[&row], &rules(&[], &[".input.k600.v"])).check().is_err());
    }

    /// An object with this many members, each of which has this many members.
    fn square(first: &str, count: usize, inner: usize) -> String {
        let inner = (0..inner).map(|n| format!(r#""m{n}":1"#)).collect::<Vec<_>>().join(",");
        let members = (0..count).map(|n| format!(r#""{first}{n}":{{{inner}}}"#));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn columns_share_the_bound_of_nodes() {
        let mut columns = InferredColumns::new(["a", "b"], &NestRules::default());
        columns.add(0, &square("a", 300, 60), 1).unwrap();
        columns.add(1, &square("b", 200, 50), 1).unwrap();
        assert!(columns.columns.iter().all(|(_, column)| !column.is_overfull));
        columns.add(1, &square("c", 200, 50), 2).unwrap();
        // The larger one gives up.
        assert!(!columns.columns[0].1.is_overfull && columns.columns[1].1.is_overfull);
        assert_eq!(columns.nodes, columns.columns[0].1.nodes());
        let types = columns.resolve(0, &NestRules::default());
        let expected = r#"{"name":"b","type":"json","why":"too many different members"}"#;
        assert_eq!(serde_json::to_string(&types[1]).unwrap(), expected);
        // Long names count more.
        let mut columns = InferredColumns::new(["a"], &NestRules::default());
        columns.add(0, &square(&"long".repeat(5_000), 500, 1), 1).unwrap();
        assert!(columns.columns[0].1.is_overfull);
        // Columns that the caller wants have room.
        let rules = NestRules { most_columns: 100_000, ..NestRules::default() };
        let mut columns = InferredColumns::new(["a"], &rules);
        columns.add(0, &square("a", 500, 200), 1).unwrap();
        assert!(!columns.columns[0].1.is_overfull);
    }

    #[test]
    fn a_row_cannot_take_more_nodes_than_there_are() {
        // 250,000 nodes.
        let row = square("a", 500, 500);
        let mut column = InferredColumn::default();
        column.add(&row, 1, MOST_NODES).unwrap();
        assert!(column.is_overfull && column.nodes() == 0);
        // A dropped tree frees its nodes.
        let row = format!(r#"{{"x":{},"y":{}}}"#, square("a", 600, 40), square("b", 600, 40));
        let mut column = InferredColumn::default();
        column.add(&row, 1, MOST_NODES).unwrap();
        assert!(!column.is_overfull);
        assert_eq!(column.nodes(), column.root.count());
    }
}
