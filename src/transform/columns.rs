//! Which fields of the row an expression reads, from its syntax tree. Anything unclear means all of them.
//!
//! The analysis follows the row itself, not its values: it asks for each term whether its input can be the whole row,
//! and whether its output can be. A row that reaches a place other than a path with a literal name is unclear.

use std::collections::BTreeSet;

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
    },
    path::Part,
};

/// The fields of the row that an expression reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldsRead {
    All,
    Named(BTreeSet<String>),
}

/// Returns the fields that a term reads. `by_truth` says that only the truth of its outputs is used, so that an
/// output that is the whole row reads nothing.
pub(super) fn fields_read(term: &Term<&str>, by_truth: bool) -> FieldsRead {
    let walk = walked(term, by_truth);
    if walk.unclear { FieldsRead::All } else { FieldsRead::Named(walk.names) }
}

/// Returns the fields of the row that a term names, also if it reads all of them.
pub(super) fn fields_named(term: &Term<&str>) -> BTreeSet<String> {
    walked(term, true).names
}

fn walked(term: &Term<&str>, by_truth: bool) -> Walk {
    let mut walk = Walk { names: BTreeSet::new(), unclear: false };
    let output_is_row = walk.term(term, true);
    walk.unclear |= output_is_row && !by_truth;
    walk
}

/// Functions whose use of the row is known.
const KNOWN: [&str; 17] = [
    "empty", "nan", "infinite", "range", "true", "false", "null", "not", "select", "first", "last",
    "isempty", "limit", "skip", "nth", "any", "all",
];

struct Walk {
    names: BTreeSet<String>,
    unclear: bool,
}

impl Walk {
    /// Walks a term whose input can be the whole row, or never is. Returns whether an output can be the row.
    fn term(&mut self, term: &Term<&str>, row: bool) -> bool {
        match term {
            Term::Id => row,
            Term::Recurse => self.value(row),
            Term::Num(_) | Term::Var(_) | Term::Break(_) => false,
            Term::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.consumed(term, row);
                    }
                }
                false
            }
            Term::Arr(items) => {
                if let Some(items) = items {
                    self.consumed(items, row);
                }
                false
            }
            Term::Obj(entries) => {
                for (key, value) in entries {
                    match (key, value) {
                        (_, Some(value)) => {
                            self.consumed(key, row);
                            self.consumed(value, row);
                        }
                        // `{persona}` is `{persona: .persona}`, and `{$x}` is `{x: $x}`.
                        (Term::Var(_), None) => {}
                        (key, None) => self.index(key, row),
                    }
                }
                false
            }
            Term::Neg(term) => self.consumed(term, row),
            Term::Label(_, term) => self.term(term, row),
            Term::TryCatch(term, catch) => {
                let output = self.term(term, row);
                if let Some(catch) = catch {
                    self.term(catch, false);
                }
                output
            }
            Term::IfThenElse(branches, otherwise) => {
                let mut output = false;
                for (condition, then) in branches {
                    self.term(condition, row);
                    output |= self.term(then, row);
                }
                // Without `else`, the input is the output.
                output | otherwise.as_ref().map_or(row, |term| self.term(term, row))
            }
            Term::Fold(_, items, pattern, terms) => {
                self.unclear |= row && has_terms(pattern);
                self.consumed(items, row);
                let Some((start, others)) = terms.split_first() else { return self.value(row) };
                let state = self.term(start, row);
                let mut output = state;
                for term in others {
                    output |= self.term(term, state);
                }
                output
            }
            // The bodies of definitions get the row only from calls, which are unclear unless they are to these names.
            Term::Def(definitions, term) => {
                let replaces = definitions.iter().any(|it| KNOWN.contains(&it.name));
                self.unclear |= row && replaces;
                self.term(term, row)
            }
            Term::Call(name, arguments) => self.call(name, arguments, row),
            Term::Path(start, path) => self.path(start, &path.0, row),
            Term::BinOp(left, op, right) => self.operation(left, op, right, row),
        }
    }

    /// Walks a term whose outputs are used as values.
    fn consumed(&mut self, term: &Term<&str>, row: bool) -> bool {
        let output = self.term(term, row);
        self.value(output)
    }

    /// The row itself is used as a value, if it is there.
    fn value(&mut self, row: bool) -> bool {
        self.unclear |= row;
        false
    }

    fn index(&mut self, index: &Term<&str>, of_row: bool) {
        match index {
            Term::Str(None, parts) if of_row => match literal(parts) {
                Some(name) => drop(self.names.insert(name)),
                None => self.unclear = true,
            },
            _ => drop(self.value(of_row)),
        }
    }

    fn path<O>(&mut self, start: &Term<&str>, parts: &[(Part<Term<&str>>, O)], row: bool) -> bool {
        let mut output = self.term(start, row);
        for (part, _) in parts {
            match part {
                Part::Index(index) => {
                    // The index is a term over the input of the whole path.
                    self.consumed(index, row);
                    self.index(index, output);
                }
                Part::Range(from, to) => {
                    for bound in [from, to].into_iter().flatten() {
                        self.consumed(bound, row);
                    }
                    self.value(output);
                }
            }
            output = false;
        }
        output
    }

    fn call(&mut self, name: &str, arguments: &[Term<&str>], row: bool) -> bool {
        match (name, arguments) {
            ("empty" | "true" | "false" | "null" | "not" | "nan" | "infinite", []) => false,
            ("range", bounds) => {
                for bound in bounds {
                    self.consumed(bound, row);
                }
                false
            }
            ("select", [condition]) => {
                self.term(condition, row);
                row
            }
            ("first" | "last" | "isempty", [term]) => self.term(term, row) && name != "isempty",
            ("limit" | "skip" | "nth", [number, term]) => {
                self.consumed(number, row);
                self.term(term, row)
            }
            ("any" | "all", [term, condition]) => {
                let items = self.term(term, row);
                self.term(condition, items);
                false
            }
            _ => {
                // Whether an argument gets the row is unknown, so what it names may be a part of another value.
                let names = self.names.clone();
                for argument in arguments {
                    self.term(argument, row);
                }
                if row {
                    self.names = names;
                }
                self.value(row)
            }
        }
    }

    fn operation(
        &mut self,
        left: &Term<&str>,
        op: &BinaryOp<&str>,
        right: &Term<&str>,
        row: bool,
    ) -> bool {
        match op {
            BinaryOp::Pipe(None) => {
                let output = self.term(left, row);
                self.term(right, output)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                self.unclear |= row && has_terms(pattern);
                self.consumed(left, row);
                self.term(right, row)
            }
            BinaryOp::Comma | BinaryOp::Alt => self.term(left, row) | self.term(right, row),
            // Only the truth of both sides is used.
            BinaryOp::Or | BinaryOp::And => {
                self.term(left, row);
                self.term(right, row);
                false
            }
            BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
                self.consumed(left, row);
                self.consumed(right, row)
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                // A field that is assigned need not be there.
                let names = self.names.clone();
                self.value(row);
                self.term(left, row);
                self.term(right, row);
                if row {
                    self.names = names;
                }
                false
            }
        }
    }
}

/// Whether a pattern has keys that are computed.
fn has_terms(pattern: &Pattern<&str>) -> bool {
    match pattern {
        Pattern::Var(_) => false,
        Pattern::Arr(items) => items.iter().any(has_terms),
        Pattern::Obj(entries) => entries.iter().any(|(key, value)| {
            let fixed = matches!(key, Term::Str(None, parts) if literal(parts).is_some());
            !fixed || has_terms(value)
        }),
    }
}

/// Returns the text of a string without interpolation.
pub(super) fn literal(parts: &[StrPart<&str, Term<&str>>]) -> Option<String> {
    parts.iter().try_fold(String::new(), |mut text, part| {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(c) => text.push(*c),
            StrPart::Term(_) => return None,
        }
        Some(text)
    })
}
