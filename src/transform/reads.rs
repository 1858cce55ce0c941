//! The paths of values that an expression reads, from its syntax tree. What is unclear has no path.

use jaq_core::{
    load::parse::{BinaryOp, Term},
    path::Part,
};

use super::{
    columns::literal,
    paths::{PathStep, ValuePath},
};

/// Most steps of a path, and most paths of an expression.
const MOST: usize = 64;

/// A path in a field of the row that an expression reads. Its last step is a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadPath {
    pub(super) path: ValuePath,
    /// The paths that the expression reads if this one has no value: `.b` of `.a // .b`, and the other way round.
    pub(super) others: Vec<ValuePath>,
}

/// Returns the paths that a term reads, each once. A path that is read only under a condition is left out, and so is a
/// field of the row itself.
pub(super) fn paths_read(term: &Term<&str>) -> Vec<ReadPath> {
    let mut walk = PathWalk { found: Vec::new(), is_muted: false };
    walk.term(term, &[Vec::new()]);
    walk.found
}

/// The steps from the row to a value.
type Steps = Vec<PathStep>;

struct PathWalk {
    found: Vec<ReadPath>,
    /// Whether paths are followed, but not added.
    is_muted: bool,
}

impl PathWalk {
    /// Walks a term whose input can be the values at these places. Returns the places of its outputs that are known.
    fn term(&mut self, term: &Term<&str>, inputs: &[Steps]) -> Vec<Steps> {
        match term {
            Term::Id => inputs.to_vec(),
            Term::Path(start, path) => self.path(start, &path.0, inputs),
            Term::Label(_, term) => self.term(term, inputs),
            Term::TryCatch(term, _) => self.term(term, inputs),
            Term::Call(name, arguments) => self.call(name, arguments, inputs),
            Term::BinOp(left, op, right) => self.operation(left, op, right, inputs),
            Term::IfThenElse(branches, otherwise) => {
                let mut outputs = Vec::new();
                for (condition, then) in branches {
                    self.term(condition, inputs);
                    outputs.extend(self.muted(then, inputs));
                }
                outputs.extend(match otherwise {
                    Some(otherwise) => self.muted(otherwise, inputs),
                    None => inputs.to_vec(),
                });
                outputs
            }
            Term::Neg(term) | Term::Arr(Some(term)) => self.value(term, inputs),
            Term::Obj(entries) => {
                for (key, value) in entries {
                    match value {
                        Some(value) => drop(self.term(value, inputs)),
                        // `{topic}` is `{topic: .topic}`.
                        None => drop(self.index(key, inputs)),
                    }
                }
                Vec::new()
            }
            Term::Fold(_, items, _, terms) => {
                self.term(items, inputs);
                terms.first().map_or(Vec::new(), |start| self.value(start, inputs))
            }
            Term::Str(_, parts) => {
                for part in parts {
                    if let jaq_core::load::lex::StrPart::Term(term) = part {
                        self.term(term, inputs);
                    }
                }
                Vec::new()
            }
            // A definition can replace a function whose arguments are known.
            Term::Def(..) => Vec::new(),
            Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) | Term::Arr(None) => {
                Vec::new()
            }
        }
    }

    /// Walks a term whose outputs are used, but have no place.
    fn value(&mut self, term: &Term<&str>, inputs: &[Steps]) -> Vec<Steps> {
        self.term(term, inputs);
        Vec::new()
    }

    /// Walks a term that is evaluated only under a condition.
    fn muted(&mut self, term: &Term<&str>, inputs: &[Steps]) -> Vec<Steps> {
        let before = std::mem::replace(&mut self.is_muted, true);
        let outputs = self.term(term, inputs);
        self.is_muted = before;
        outputs
    }

    fn path<O>(
        &mut self,
        start: &Term<&str>,
        parts: &[(Part<Term<&str>>, O)],
        inputs: &[Steps],
    ) -> Vec<Steps> {
        let mut places = self.term(start, inputs);
        for (part, _) in parts {
            places = match part {
                Part::Range(None, None) => with_step(&places, &PathStep::Each),
                Part::Index(index) => {
                    // The index is a term over the input of the whole path.
                    self.term(index, inputs);
                    self.index(index, &places)
                }
                Part::Range(..) => Vec::new(),
            };
        }
        places
    }

    /// Follows an index from these places, and adds the paths.
    fn index(&mut self, index: &Term<&str>, places: &[Steps]) -> Vec<Steps> {
        let step = match index {
            Term::Str(None, parts) => literal(parts).map(PathStep::Key),
            Term::Num(digits) => digits.parse().ok().map(PathStep::Item),
            _ => None,
        };
        let Some(step) = step else { return Vec::new() };
        let places = with_step(places, &step);
        if matches!(step, PathStep::Key(_)) {
            places.iter().for_each(|steps| self.add(steps));
        }
        places
    }

    fn add(&mut self, steps: &[PathStep]) {
        let Some((PathStep::Key(field), steps)) = steps.split_first() else { return };
        let path = ValuePath { field: field.clone(), steps: steps.to_vec() };
        let is_known = self.found.iter().any(|found| found.path == path);
        if !self.is_muted && !steps.is_empty() && !is_known && self.found.len() < MOST {
            self.found.push(ReadPath { path, others: Vec::new() });
        }
    }

    fn call(&mut self, name: &str, arguments: &[Term<&str>], inputs: &[Steps]) -> Vec<Steps> {
        match (name, arguments) {
            ("select", [condition]) => {
                self.term(condition, inputs);
                inputs.to_vec()
            }
            ("first" | "last", [term]) => self.term(term, inputs),
            ("isempty", [term]) => self.value(term, inputs),
            ("limit" | "skip" | "nth", [number, term]) => {
                self.term(number, inputs);
                self.term(term, inputs)
            }
            ("any" | "all", [items, condition]) => {
                let items = self.term(items, inputs);
                self.value(condition, &items)
            }
            (
                "any" | "all" | "map" | "sort_by" | "group_by" | "unique_by" | "min_by" | "max_by",
                [term],
            ) => self.value(term, &with_step(inputs, &PathStep::Each)),
            // Whether an argument gets the input is unknown.
            _ => Vec::new(),
        }
    }

    fn operation(
        &mut self,
        left: &Term<&str>,
        op: &BinaryOp<&str>,
        right: &Term<&str>,
        inputs: &[Steps],
    ) -> Vec<Steps> {
        match op {
            BinaryOp::Pipe(None) => {
                let outputs = self.term(left, inputs);
                self.term(right, &outputs)
            }
            BinaryOp::Pipe(Some(_)) => {
                self.term(left, inputs);
                self.term(right, inputs)
            }
            BinaryOp::Comma => [self.term(left, inputs), self.term(right, inputs)].concat(),
            BinaryOp::Alt => {
                let start = self.found.len();
                let outputs = self.term(left, inputs);
                let middle = self.found.len();
                let outputs = [outputs, self.term(right, inputs)].concat();
                self.pair(start, middle);
                outputs
            }
            BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
                self.term(left, inputs);
                self.value(right, inputs)
            }
            // A value that is assigned need not be there.
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                Vec::new()
            }
        }
    }

    /// Says that the paths from `middle` on are read instead of those from `start` on.
    fn pair(&mut self, start: usize, middle: usize) {
        let paths = |found: &[ReadPath]| found.iter().map(|it| it.path.clone()).collect::<Vec<_>>();
        let (left, right) = (paths(&self.found[start..middle]), paths(&self.found[middle..]));
        for (index, found) in self.found.iter_mut().enumerate().skip(start) {
            found.others.extend_from_slice(if index < middle { &right } else { &left });
        }
    }
}

/// Returns the places of the parts of the values at these places.
fn with_step(places: &[Steps], step: &PathStep) -> Vec<Steps> {
    let short = places.iter().filter(|steps| steps.len() < MOST).take(MOST);
    short.map(|steps| [&steps[..], std::slice::from_ref(step)].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;

    /// Returns the paths that an expression reads, each with those that it can read instead.
    fn read(text: &str) -> String {
        let expression = Expression::compile("where", text).unwrap();
        let all = expression.paths().iter().map(|it| {
            let others: Vec<_> = it.others.iter().map(ToString::to_string).collect();
            let joined = if others.is_empty() { "" } else { " or " };
            format!("{}{joined}{}", it.path, others.join(" "))
        });
        all.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn paths_are_followed_through_terms() {
        for (text, expected) in [
            (".persona == \"x\" and .input", ""),
            (".input.messages", ".input.messages"),
            (".input.messages | length > 1", ".input.messages"),
            (".input | .messages[0].role == 1", ".input.messages, .input.messages[0].role"),
            (".input.m[].n?", ".input.m, .input.m[].n"),
            (".tags[\"a b\"].c", ".tags.\"a b\", .tags.\"a b\".c"),
            ("any(.input.m[]; .role == \"user\")", ".input.m, .input.m[].role"),
            (".input.m | any(.role == 1)", ".input.m, .input.m[].role"),
            (".input.m | map(select(.a) | .b) | .[0].c", ".input.m, .input.m[].a, .input.m[].b"),
            (
                "[.input.m[] | {role, x: .y.z}] | length",
                ".input.m, .input.m[].role, .input.m[].y, .input.m[].y.z",
            ),
            (".tags.a // .tags.b", ".tags.a or .tags.b, .tags.b or .tags.a"),
            ("(.tags.a // 1) == .tags.c", ".tags.a, .tags.c"),
            ("if .tags.a then .tags.b else .input end | .x", ".tags.a, .tags.b.x, .input.x"),
            (".tags as $t | .input.a == $t.b", ".input.a"),
            ("reduce .input.m[] as $m (.tags.n; . + $m.x)", ".input.m, .tags.n"),
            (".meta.source.kind", ".meta.source, .meta.source.kind"),
            ("\"\\(.tags.a)\" == \"1\"", ".tags.a"),
            (".input[.tags.a] == 1", ".tags.a"),
            // Unclear, or not there yet.
            (".input | to_entries[] | .key", ""),
            (".input | has(\"a\")", ""),
            ("(.input.a = 1) | .input.b", ""),
            ("def map(f): f; .input | map(.a)", ""),
            (".input[1:].a", ""),
            ("..|.a?", ""),
            (".input | with_entries(.value.a)", ""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn number_of_paths_is_bounded() {
        let many: Vec<_> = (0..200).map(|number| format!(".tags.a{number}")).collect();
        assert_eq!(read(&many.join(" or ")).split(", ").count(), 64);
        let deep = format!(".tags{} == 1", ".a".repeat(200));
        assert_eq!(read(&deep).split(", ").count(), 63);
    }
}
