//! Rewrites the syntax tree of an expression, so that the evaluator computes what jq computes.
//!
//! The evaluator updates values without paths, goes on with every result of an update in a fold, and evaluates the left
//! operand of an operator first. The new terms call functions and bind variables whose names cannot be written.

use jaq_core::{
    load::{
        lex::{StrPart, Tok, Token},
        parse::{BinaryOp, Def, Pattern, Term},
    },
    path::{Opt, Part, Path},
};

/// `UPDATE(paths; change)`: the function of `|=`.
pub(super) const UPDATE: &str = "!update";
/// `ASSIGN(paths; $value)`: the function of `=`.
pub(super) const ASSIGN: &str = "!assign";
/// The function of `..`.
pub(super) const RECURSE: &str = "!recurse";
/// `LAST(f)`: the last result, or null if there is none.
pub(super) const LAST: &str = "!last";

/// A variable for the value on the right side.
const RIGHT: &str = "$!right";
/// Variables for the parts of a path or of a text that have several results.
const PARTS: [&str; 8] = ["$!1", "$!2", "$!3", "$!4", "$!5", "$!6", "$!7", "$!8"];

/// Functions without arguments that have one result.
#[rustfmt::skip]
const SINGLE: [&str; 34] = [
    "add", "all", "any", "ascii_downcase", "ascii_upcase", "ceil", "false", "first", "flatten", "floor", "from_entries",
    "fromjson", "keys", "last", "length", "max", "min", "nan", "not", "null", "reverse", "round", "sort", "to_entries", "tojson",
    "tonumber", "tostring", "transpose", "trim", "true", "type", "unique", "utf8bytelength", "infinite",
];

type TextPart<'s> = StrPart<&'s str, Term<&'s str>>;

/// Rewrites a term and the terms in it.
pub(super) fn rewritten<'s>(term: Term<&'s str>, tokens: &[Token<&'s str>]) -> Term<&'s str> {
    let has_definitions = has_definitions(tokens);
    Rewriter { has_definitions }.term(term)
}

/// Rewrites the body of a definition.
pub(super) fn definition(mut definition: Def<&str>) -> Def<&str> {
    definition.body = Rewriter { has_definitions: true }.term(definition.body);
    definition
}

fn has_definitions(tokens: &[Token<&str>]) -> bool {
    tokens.iter().any(|token| token.0 == "def" || has_definitions_in(&token.1))
}

fn has_definitions_in(token: &Tok<&str>) -> bool {
    match token {
        Tok::Block(tokens) => has_definitions(tokens),
        Tok::Str(parts) => parts.iter().any(
            |part| matches!(part, StrPart::Term(Token(_, token)) if has_definitions_in(token)),
        ),
        _ => false,
    }
}

/// `value as $name | term`.
fn bound<'s>(value: Term<&'s str>, name: &'s str, term: Term<&'s str>) -> Term<&'s str> {
    let bind = BinaryOp::Pipe(Some(Pattern::Var(name)));
    Term::BinOp(Box::new(value), bind, Box::new(term))
}

struct Rewriter {
    /// Whether the expression has definitions, which can replace functions.
    has_definitions: bool,
}

impl Rewriter {
    fn term<'s>(&self, term: Term<&'s str>) -> Term<&'s str> {
        match term {
            Term::Recurse => Term::Call(RECURSE, Vec::new()),
            Term::Str(format, parts) => self.text(format, parts),
            Term::Arr(items) => Term::Arr(items.map(|term| self.boxed(*term))),
            Term::Obj(entries) => {
                let entry = |(key, value): (_, Option<_>)| {
                    (self.term(key), value.map(|term| self.term(term)))
                };
                Term::Obj(entries.into_iter().map(entry).collect())
            }
            Term::Neg(term) => Term::Neg(self.boxed(*term)),
            Term::Label(name, term) => Term::Label(name, self.boxed(*term)),
            Term::BinOp(left, op, right) => self.operation(self.term(*left), op, self.term(*right)),
            Term::Fold(name, items, pattern, terms) => {
                self.fold(name, self.boxed(*items), self.pattern(pattern), terms)
            }
            Term::TryCatch(term, catch) => {
                Term::TryCatch(self.boxed(*term), catch.map(|term| self.boxed(*term)))
            }
            Term::IfThenElse(branches, otherwise) => {
                let branch = |(condition, then)| (self.term(condition), self.term(then));
                Term::IfThenElse(
                    branches.into_iter().map(branch).collect(),
                    otherwise.map(|term| self.boxed(*term)),
                )
            }
            Term::Def(mut definitions, term) => {
                for definition in &mut definitions {
                    definition.body = self.term(std::mem::take(&mut definition.body));
                }
                Term::Def(definitions, self.boxed(*term))
            }
            Term::Call(name, arguments) => {
                Term::Call(name, arguments.into_iter().map(|term| self.term(term)).collect())
            }
            Term::Path(start, path) => self.path_term(self.term(*start), path),
            Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => term,
        }
    }

    fn boxed<'s>(&self, term: Term<&'s str>) -> Box<Term<&'s str>> {
        Box::new(self.term(term))
    }

    fn pattern<'s>(&self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(_) => pattern,
            Pattern::Arr(items) => {
                Pattern::Arr(items.into_iter().map(|item| self.pattern(item)).collect())
            }
            Pattern::Obj(entries) => {
                let entry = |(key, value)| (self.term(key), self.pattern(value));
                Pattern::Obj(entries.into_iter().map(entry).collect())
            }
        }
    }

    /// `left` and `right` are already rewritten.
    fn operation<'s>(
        &self,
        left: Term<&'s str>,
        op: BinaryOp<&'s str>,
        right: Term<&'s str>,
    ) -> Term<&'s str> {
        let binary = |left, op, right| Term::BinOp(Box::new(left), op, Box::new(right));
        // Both operators change the value at each path, with one value of the right side after the other.
        let update = |op: BinaryOp<&'s str>, left, right| {
            let change = Term::BinOp(Box::new(Term::Id), op, Box::new(Term::Var(RIGHT)));
            bound(right, RIGHT, Term::Call(UPDATE, vec![left, change]))
        };
        match op {
            BinaryOp::Update => Term::Call(UPDATE, vec![left, right]),
            BinaryOp::Assign => {
                bound(right, RIGHT, Term::Call(ASSIGN, vec![left, Term::Var(RIGHT)]))
            }
            BinaryOp::UpdateMath(op) => update(BinaryOp::Math(op), left, right),
            BinaryOp::UpdateAlt => update(BinaryOp::Alt, left, right),
            // The results of the right operand are the outer loop.
            BinaryOp::Math(_) | BinaryOp::Cmp(_)
                if !self.is_single(&left) && !self.is_single(&right) =>
            {
                bound(right, RIGHT, binary(left, op, Term::Var(RIGHT)))
            }
            BinaryOp::Pipe(Some(pattern)) => {
                binary(left, BinaryOp::Pipe(Some(self.pattern(pattern))), right)
            }
            op => binary(left, op, right),
        }
    }

    /// An update with several results goes on with the last one, and one without results with null.
    fn fold<'s>(
        &self,
        name: &'s str,
        items: Box<Term<&'s str>>,
        pattern: Pattern<&'s str>,
        terms: Vec<Term<&'s str>>,
    ) -> Term<&'s str> {
        let mut terms: Vec<_> = terms.into_iter().map(|term| self.term(term)).collect();
        if let Some(update) = terms.get_mut(1).filter(|update| !self.is_single(update)) {
            if name == "reduce" {
                *update = Term::Call(LAST, vec![std::mem::take(update)]);
            } else {
                // The state is the array of all results, of which the next round sees the last one.
                let pipe = |left, right| {
                    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
                };
                let array = |term| Term::Arr(Some(Box::new(term)));
                let last = (Part::Index(Term::Neg(Box::new(Term::Num("1")))), Opt::Essential);
                let last = Term::Path(Box::new(Term::Id), Path(vec![last]));
                *update = array(pipe(last, std::mem::take(update)));
                let each = Path(vec![(Part::Range(None, None), Opt::Essential)]);
                let each = Term::Path(Box::new(Term::Id), each);
                match terms.get_mut(2) {
                    Some(output) => *output = pipe(each, std::mem::take(output)),
                    None => terms.push(each),
                }
                if let Some(start) = terms.first_mut() {
                    *start = pipe(std::mem::take(start), array(Term::Id));
                }
            }
        }
        Term::Fold(name, items, pattern, terms)
    }

    /// The results of the last part of a text are the outer loop.
    fn text<'s>(&self, format: Option<&'s str>, parts: Vec<TextPart<'s>>) -> Term<&'s str> {
        let mut bindings = Vec::new();
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|part| match part {
                StrPart::Term(term) => StrPart::Term(self.term(term)),
                other => other,
            })
            .collect();
        let is_several =
            |part: &&mut TextPart<'s>| matches!(part, StrPart::Term(term) if !self.is_single(term));
        let several: Vec<_> = parts.iter_mut().filter(is_several).collect();
        if several.len() > 1 {
            for (part, name) in several.into_iter().zip(PARTS) {
                if let StrPart::Term(term) = part {
                    bindings.push((std::mem::replace(term, Term::Var(name)), name));
                }
            }
        }
        let text = Term::Str(format, parts);
        bindings.into_iter().fold(text, |text, (value, name)| bound(value, name, text))
    }

    /// The results of the last index are the outer loop, and those of the start the inner one.
    fn path_term<'s>(&self, start: Term<&'s str>, path: Path<Term<&'s str>>) -> Term<&'s str> {
        let mut parts: Vec<_> =
            path.0.into_iter().map(|(part, opt)| (self.part(part), opt)).collect();
        let is_iteration = |part: &Part<_>| matches!(part, Part::Range(None, None));
        let several = parts.iter().map(|(part, _)| match part {
            Part::Index(index) => usize::from(!self.is_single(index)),
            Part::Range(from, to) => {
                [from, to].into_iter().flatten().filter(|bound| !self.is_single(bound)).count()
            }
        });
        let several: usize = several.sum();
        let iterates = !self.is_single(&start) || parts.iter().any(|(part, _)| is_iteration(part));
        let mut bindings = Vec::new();
        if several > 1 || several == 1 && iterates {
            let mut names = PARTS.into_iter();
            let mut bind = |term: &mut Term<&'s str>| {
                if !self.is_single(term)
                    && let Some(name) = names.next()
                {
                    bindings.push((std::mem::replace(term, Term::Var(name)), name));
                }
            };
            for (part, _) in &mut parts {
                match part {
                    Part::Index(index) => bind(index),
                    // The first bound is the outer loop.
                    Part::Range(from, to) => [to, from].into_iter().flatten().for_each(&mut bind),
                }
            }
        }
        let path = Term::Path(Box::new(start), Path(parts));
        bindings.into_iter().fold(path, |path, (value, name)| bound(value, name, path))
    }

    fn part<'s>(&self, part: Part<Term<&'s str>>) -> Part<Term<&'s str>> {
        match part {
            Part::Index(index) => Part::Index(self.term(index)),
            Part::Range(from, to) => {
                Part::Range(from.map(|term| self.term(term)), to.map(|term| self.term(term)))
            }
        }
    }

    /// Whether a term has one result at most, as far as its form says.
    fn is_single(&self, term: &Term<&str>) -> bool {
        match term {
            Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) | Term::Break(_) => true,
            Term::Str(_, parts) => parts
                .iter()
                .all(|part| !matches!(part, StrPart::Term(term) if !self.is_single(term))),
            Term::Obj(entries) => entries.iter().all(|(key, value)| {
                self.is_single(key) && value.as_ref().is_none_or(|term| self.is_single(term))
            }),
            Term::Neg(term) | Term::TryCatch(term, None) => self.is_single(term),
            Term::BinOp(left, op, right) => match op {
                BinaryOp::Comma | BinaryOp::Alt => false,
                _ => self.is_single(left) && self.is_single(right),
            },
            Term::IfThenElse(branches, otherwise) => {
                let mut branches = branches.iter();
                branches.all(|(condition, then)| self.is_single(condition) && self.is_single(then))
                    && otherwise.as_ref().is_none_or(|term| self.is_single(term))
            }
            Term::Call(name, arguments) if self.has_definitions => match arguments.as_slice() {
                [_] => *name == LAST,
                [_, right] => *name == ASSIGN && self.is_single(right) || *name == UPDATE,
                _ => false,
            },
            Term::Call(name, arguments) => match arguments.as_slice() {
                [] => SINGLE.contains(name),
                [_] => matches!(
                    *name,
                    "map" | "map_values" | "sort_by" | "group_by" | "any" | "all" | LAST
                ),
                [_, right] => *name == ASSIGN && self.is_single(right) || *name == UPDATE,
                _ => false,
            },
            Term::Path(start, path) => {
                let is_one = |part: &Part<Term<&str>>| match part {
                    Part::Index(index) => self.is_single(index),
                    Part::Range(None, None) => false,
                    Part::Range(from, to) => {
                        [from, to].into_iter().flatten().all(|term| self.is_single(term))
                    }
                };
                self.is_single(start) && path.0.iter().all(|(part, _)| is_one(part))
            }
            Term::Recurse
            | Term::Label(..)
            | Term::Fold(..)
            | Term::TryCatch(_, Some(_))
            | Term::Def(..) => false,
        }
    }
}
