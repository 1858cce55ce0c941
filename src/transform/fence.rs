//! What an expression may contain: an allow-list of functions, no recursive definitions, bounded operators.
//!
//! The check reads the syntax tree that the user wrote. The rewriting then makes every operation that can allocate or
//! repeat without a step one that counts: `[f]` becomes `[f | .]`, so that each element costs a step, and `l + r` becomes
//! a call of an own function.

use jaq_core::{
    load::{
        self,
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    ops::Math,
    path::{Opt, Part, Path},
};

use super::natives::{ADD, DIVIDE, MULTIPLY, TEXT};

/// The functions of the language that an expression may call. None reads the clock, the environment, other input or
/// files.
#[rustfmt::skip]
const ALLOWED: [&str; 124] = [
    "@json", "@sh", "@text", "IN", "abs", "add", "all", "any", "arrays", "ascii_downcase", "ascii_upcase", "booleans",
    "bsearch", "capture", "ceil", "combinations", "contains", "del", "delpaths", "empty", "endswith", "error",
    "false", "finites", "first", "flatten", "floor", "from_entries", "fromjson", "getpath", "group_by", "gsub",
    "has", "in", "index", "indices", "infinite", "inside", "isarray", "isboolean", "isempty", "isfinite",
    "isinfinite", "isnan", "isnormal", "isnumber", "isobject", "isstring", "iterables", "join", "keys",
    "keys_unsorted", "last", "length", "limit", "ltrim", "ltrimstr", "map", "map_values", "match", "max", "max_by",
    "min", "min_by", "nan", "normals", "not", "nth", "null", "nulls", "numbers", "objects", "path", "paths", "pick",
    "range", "recurse", "repeat", "reverse", "rindex", "round", "rtrim", "rtrimstr", "scalars", "scan", "select",
    "setpath", "skip", "sort", "sort_by", "split", "splits", "startswith", "strings", "sub", "test", "to_entries",
    "toboolean", "tojson", "tonumber", "tostring", "transpose", "trim", "true", "type", "unique", "unique_by",
    "until", "utf8bytelength", "values", "walk", "while", "with_entries",
    // Names that only definitions of the libraries call.
    "!empty", "!row", "error_empty", "escape_sh", "key_values", "matches", "max_by_or_empty", "min_by_or_empty",
    "path_value", "split_", "split_matches",
];

/// Number of names at the end of [`ALLOWED`] that an expression must not call.
const INTERNAL: usize = 11;

/// Definitions of the libraries that need a function which is not allowed, or that an own function replaces.
#[rustfmt::skip]
const DROPPED: [(&str, usize); 25] = [
    ("stderr", 0), ("debug", 0), ("debug", 1), ("halt", 0), ("halt_error", 0), ("halt_error", 1), ("logb", 0),
    ("significand", 0), ("pow10", 0), ("drem", 2), ("nexttoward", 2), ("scalb", 2), ("gamma", 0), ("todate", 0),
    ("fromdate", 0), ("@html", 0), ("@htmld", 0), ("@uri", 0), ("@urid", 0), ("@base64", 0), ("@base64d", 0),
    ("add", 0), ("join", 1), ("tostring", 0), ("test", 2),
];

/// Definitions in place of those of the libraries, which copy the result so far for each part of it.
const REPLACED: &str = r#"
def add(f): [f] | add;
def sub(re; f; flags):
  def handle: if isarray then capture_of_match | last(f) end;
  [split_matches(re; flags)[] | handle] | add;
def from_entries: [.[] | {(.key): .value}] | add // {};
"#;

/// Definitions of jq that the libraries do not have.
const ADDED: &str = "
def IN(values): any(values == .; .);
def IN(from; values): any(from == values; .);
";

/// Functions of jq that are left out on purpose, each with the reason.
const LEFT_OUT: [(&[&str], &str); 4] = [
    (
        &["now", "localtime", "strflocaltime", "mktime", "gmtime"],
        "it depends on the time or the machine",
    ),
    (&["env", "$ENV", "$__prog_args", "input_filename"], "it reads the environment"),
    (
        &["input", "inputs", "import", "include", "get_search_list"],
        "an expression sees one row and no files",
    ),
    (&["debug", "stderr", "halt", "halt_error", "input_line_number"], "it acts outside the row"),
];

/// What is wrong with an expression, and the part of it that is wrong.
#[derive(Debug)]
pub(super) struct ExpressionRefusal<'s> {
    pub(super) part: &'s str,
    pub(super) why: String,
}

/// Returns the definitions of the libraries that an expression can use, rewritten.
pub(super) fn prelude<'s>() -> impl Iterator<Item = Def<&'s str>> {
    let replaced = load::parse(REPLACED, |parser| parser.defs()).unwrap_or_default();
    let added = load::parse(ADDED, |parser| parser.defs()).unwrap_or_default();
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(added);
    let is_kept = |def: &Def<&'static str>| !DROPPED.contains(&(def.name, def.args.len()));
    defs.filter(is_kept).map(move |def| -> Def<&'s str> {
        let is_same = |other: &&Def<&'static str>| {
            other.name == def.name && other.args.len() == def.args.len()
        };
        let own = replaced.iter().find(is_same).cloned();
        rewrite_def(own.unwrap_or(def))
    })
}

/// The names that an expression may call.
#[cfg(test)]
pub(super) fn callable() -> &'static [&'static str] {
    &ALLOWED[..ALLOWED.len() - INTERNAL]
}

/// Whether the libraries' function of this name is kept.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name)
}

/// Checks that an expression calls only allowed functions, and that no definition calls itself.
pub(super) fn check<'s>(term: &Term<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
    NameScope { names: Vec::new() }.term(term)
}

/// The definitions and arguments that a place of the expression sees, the innermost last.
struct NameScope<'s> {
    names: Vec<ScopedName<'s>>,
}

struct ScopedName<'s> {
    name: &'s str,
    arity: usize,
    /// Whether the place is inside this definition, so that a call would be recursion.
    is_open: bool,
}

impl<'s> NameScope<'s> {
    fn term(&mut self, term: &Term<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        match term {
            Term::Call(name, arguments) => {
                self.call(name, arguments.len())?;
                arguments.iter().try_for_each(|argument| self.term(argument))
            }
            Term::Var(name) if LEFT_OUT.iter().any(|(names, _)| names.contains(name)) => {
                Err(left_out(name))
            }
            Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => Ok(()),
            Term::Str(format, parts) => {
                format.iter().try_for_each(|format| self.call(format, 0))?;
                parts.iter().try_for_each(|part| match part {
                    StrPart::Term(term) => self.term(term),
                    StrPart::Str(_) | StrPart::Char(_) => Ok(()),
                })
            }
            Term::Arr(items) => items.iter().try_for_each(|items| self.term(items)),
            Term::Obj(entries) => entries.iter().try_for_each(|(key, value)| {
                self.term(key)?;
                value.iter().try_for_each(|value| self.term(value))
            }),
            Term::Neg(term) | Term::Label(_, term) => self.term(term),
            Term::BinOp(left, op, right) => {
                self.term(left)?;
                if let BinaryOp::Pipe(Some(pattern)) = op {
                    self.pattern(pattern)?;
                }
                self.term(right)
            }
            Term::Fold(name, items, pattern, terms) => {
                if !matches!(*name, "reduce" | "foreach") {
                    return Err(ExpressionRefusal {
                        part: name,
                        why: format!("there is no {name}"),
                    });
                }
                self.term(items)?;
                self.pattern(pattern)?;
                terms.iter().try_for_each(|term| self.term(term))
            }
            Term::TryCatch(term, catch) => {
                self.term(term)?;
                catch.iter().try_for_each(|catch| self.term(catch))
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.term(condition)?;
                    self.term(then)?;
                }
                otherwise.iter().try_for_each(|term| self.term(term))
            }
            Term::Def(definitions, term) => {
                let before = self.names.len();
                for definition in definitions {
                    self.definition(definition)?;
                }
                self.term(term)?;
                self.names.truncate(before);
                Ok(())
            }
            Term::Path(start, path) => {
                self.term(start)?;
                path.0.iter().try_for_each(|(part, _)| match part {
                    Part::Index(index) => self.term(index),
                    Part::Range(from, to) => {
                        [from, to].into_iter().flatten().try_for_each(|bound| self.term(bound))
                    }
                })
            }
        }
    }

    fn pattern(&mut self, pattern: &Pattern<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        match pattern {
            Pattern::Var(_) => Ok(()),
            Pattern::Arr(items) => items.iter().try_for_each(|item| self.pattern(item)),
            Pattern::Obj(entries) => entries.iter().try_for_each(|(key, value)| {
                self.term(key)?;
                self.pattern(value)
            }),
        }
    }

    fn definition(&mut self, definition: &Def<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        let Def { name, args, body } = definition;
        let at = self.names.len();
        self.names.push(ScopedName { name, arity: args.len(), is_open: true });
        // An argument `$x` can be called as `x`, too.
        let name = |arg: &&'s str| arg.strip_prefix('$').unwrap_or(arg);
        let arguments =
            args.iter().map(|arg| ScopedName { name: name(arg), arity: 0, is_open: false });
        self.names.extend(arguments);
        self.term(body)?;
        self.names.truncate(at + 1);
        if let Some(own) = self.names.last_mut() {
            own.is_open = false;
        }
        Ok(())
    }

    fn call(&self, name: &'s str, arity: usize) -> Result<(), ExpressionRefusal<'s>> {
        let own = self.names.iter().rev().find(|it| it.name == name && it.arity == arity);
        match own {
            Some(ScopedName { is_open: true, .. }) => {
                let why = "a definition must not call itself: it could run forever".to_owned();
                Err(ExpressionRefusal { part: name, why })
            }
            Some(_) => Ok(()),
            None if LEFT_OUT.iter().any(|(names, _)| names.contains(&name)) => Err(left_out(name)),
            None if ALLOWED[..ALLOWED.len() - INTERNAL].contains(&name) => Ok(()),
            None => {
                Err(ExpressionRefusal { part: name, why: format!("there is no function {name}") })
            }
        }
    }
}

fn left_out<'s>(name: &'s str) -> ExpressionRefusal<'s> {
    let mut reasons = LEFT_OUT.iter().filter(|(names, _)| names.contains(&name));
    let why = reasons.next().map_or("", |(_, why)| why);
    ExpressionRefusal { part: name, why: format!("{name} is not allowed: {why}") }
}

/// The text for a function that does not exist with this number of arguments.
pub(super) fn unknown(name: &str, arity: usize) -> String {
    match arity {
        0 if is_allowed(name) => format!("the function {name} needs arguments"),
        0 => format!("there is no function {name}"),
        1 => format!("there is no function {name} with 1 argument"),
        arity => format!("there is no function {name} with {arity} arguments"),
    }
}

fn rewrite_def(def: Def<&str>) -> Def<&str> {
    Def { body: rewrite(def.body), ..def }
}

/// Replaces operations that allocate or repeat without a step.
pub(super) fn rewrite<'s>(term: Term<&'s str>) -> Term<&'s str> {
    let boxed = |term: Box<Term<&'s str>>| Box::new(rewrite(*term));
    match term {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => term,
        Term::Recurse => counted(term),
        Term::Str(format, parts) => string(format, parts),
        Term::Arr(items) => Term::Arr(items.map(|items| Box::new(counted(rewrite(*items))))),
        Term::Obj(entries) => Term::Obj(
            entries.into_iter().map(|(key, value)| (rewrite(key), value.map(rewrite))).collect(),
        ),
        Term::Neg(term) => Term::Neg(boxed(term)),
        Term::Label(name, term) => Term::Label(name, boxed(term)),
        Term::BinOp(left, op, right) => operation(rewrite(*left), op, rewrite(*right)),
        Term::Fold(name, items, pattern, terms) => Term::Fold(
            name,
            boxed(items),
            rewrite_pattern(pattern),
            terms.into_iter().map(rewrite).collect(),
        ),
        Term::TryCatch(term, catch) => Term::TryCatch(boxed(term), catch.map(boxed)),
        Term::IfThenElse(branches, otherwise) => Term::IfThenElse(
            branches.into_iter().map(|(when, then)| (rewrite(when), rewrite(then))).collect(),
            otherwise.map(boxed),
        ),
        Term::Def(definitions, term) => {
            Term::Def(definitions.into_iter().map(rewrite_def).collect(), boxed(term))
        }
        Term::Call(name, arguments) => {
            let is_range = name == "range" && arguments.len() == 3;
            let call = Term::Call(name, arguments.into_iter().map(rewrite).collect());
            if is_range { counted(call) } else { call }
        }
        Term::Path(start, path) => {
            let is_all = |(part, _): &(Part<_>, Opt)| matches!(part, Part::Range(None, None));
            // One iteration costs no more than the array. Nested ones can repeat shared arrays.
            let repeats = path.0.iter().filter(|part| is_all(part)).count() > 1;
            let parts = path.0.into_iter().map(|(part, opt)| {
                let part = match part {
                    Part::Index(index) => Part::Index(rewrite(index)),
                    Part::Range(from, to) => Part::Range(from.map(rewrite), to.map(rewrite)),
                };
                (part, opt)
            });
            let path = Term::Path(boxed(start), Path(parts.collect()));
            if repeats { counted(path) } else { path }
        }
    }
}

fn rewrite_pattern(pattern: Pattern<&str>) -> Pattern<&str> {
    match pattern {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(rewrite_pattern).collect()),
        Pattern::Obj(entries) => Pattern::Obj(
            entries
                .into_iter()
                .map(|(key, value)| (rewrite(key), rewrite_pattern(value)))
                .collect(),
        ),
    }
}

/// Makes each output of a term cost a step.
fn counted(term: Term<&str>) -> Term<&str> {
    pipe(term, None, Term::Id)
}

fn pipe<'s>(
    left: Term<&'s str>,
    pattern: Option<Pattern<&'s str>>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(pattern), Box::new(right))
}

/// The own function of an operator that can allocate.
fn own_operator(op: Math) -> Option<&'static str> {
    match op {
        Math::Add => Some(ADD),
        Math::Mul => Some(MULTIPLY),
        Math::Div => Some(DIVIDE),
        Math::Sub | Math::Rem => None,
    }
}

fn operation<'s>(
    left: Term<&'s str>,
    op: BinaryOp<&'s str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    /// A name that no expression can have.
    const VALUE: &str = "$!value";
    match op {
        BinaryOp::Math(math) if let Some(own) = own_operator(math) => {
            Term::Call(own, vec![left, right])
        }
        // `l += r` is `r as $value | l |= . + $value`.
        BinaryOp::UpdateMath(math) if let Some(own) = own_operator(math) => {
            let update = Term::Call(own, vec![Term::Id, Term::Var(VALUE)]);
            let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(update));
            pipe(right, Some(Pattern::Var(VALUE)), update)
        }
        BinaryOp::Pipe(Some(pattern)) => pipe(left, Some(rewrite_pattern(pattern)), right),
        op => Term::BinOp(Box::new(left), op, Box::new(right)),
    }
}

/// Rewrites a string with interpolation to a sum of its parts. Other strings stay as they are.
fn string<'s>(
    format: Option<&'s str>,
    parts: Vec<StrPart<&'s str, Term<&'s str>>>,
) -> Term<&'s str> {
    if !parts.iter().any(|part| matches!(part, StrPart::Term(_))) {
        return Term::Str(None, parts);
    }
    let format = format.filter(|format| *format != "@text").unwrap_or(TEXT);
    let terms = parts.into_iter().map(|part| match part {
        StrPart::Term(term) => pipe(rewrite(term), None, Term::Call(format, Vec::new())),
        part => Term::Str(None, vec![part]),
    });
    // Like the library: the last part varies slowest.
    let sum = |sum: Term<&'s str>, part| Term::Call(ADD, vec![part, sum]);
    terms.rev().reduce(sum).unwrap_or(Term::Str(None, Vec::new()))
}
