//! What an expression may contain: an allow-list of functions, and no recursive definitions.
//!
//! The check reads the syntax tree that the user wrote.

use jaq_core::load::{
    self,
    parse::{Def, Term},
};

use super::{rewrite, row_value::FIELDS, terms::children};

/// The functions of the language that an expression may call. None reads the clock, the environment, other input or
/// files.
#[rustfmt::skip]
const ALLOWED: [&str; 113] = [
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
];

/// Functions that only definitions of the libraries call. They are not written in the language.
#[rustfmt::skip]
const INTERNAL: [&str; 12] = [
    "capture_of_match", "error_empty", "escape_sh", "key_values", "limit_", "matches", "max_by_or_empty", "min_by_or_empty", "path_value", "skip_",
    "split_", "split_matches",
];

/// Definitions of the libraries that need a function which is not allowed, or that an own function replaces.
#[rustfmt::skip]
const DROPPED: [(&str, usize); 49] = [
    ("stderr", 0), ("debug", 0), ("debug", 1), ("halt", 0), ("halt_error", 0), ("halt_error", 1), ("logb", 0),
    ("significand", 0), ("pow10", 0), ("drem", 2), ("nexttoward", 2), ("scalb", 2), ("gamma", 0), ("todate", 0),
    ("fromdate", 0), ("@html", 0), ("@htmld", 0), ("@uri", 0), ("@urid", 0), ("@base64", 0), ("@base64d", 0),
    ("add", 0), ("capture_of_match", 0), ("join", 1), ("test", 2), ("nan", 0), ("infinite", 0), ("isnan", 0),
    ("isinfinite", 0), ("isnormal", 0), ("flatten", 0), ("flatten", 1), ("setpath", 2), ("delpaths", 1), ("walk", 1),
    ("map_values", 1), ("del", 1), ("combinations", 0), ("combinations", 1), ("transpose", 0), ("pick", 1), ("nth", 2), ("paths", 0),
    ("sub", 3), ("scan_", 2), ("scan", 1), ("scan", 2),
    ("from_entries", 0), ("tonumber", 0),
];

/// Definitions that those of the libraries use.
const FIRST: &str = r#"
def limit($n; f): if $n < 0 then "limit needs a number from 0 on" | error_empty else limit_($n; f) end;
def skip($n; f): if $n < 0 then "skip needs a number from 0 on" | error_empty else skip_($n; f) end;
"#;

/// Definitions of jq that the libraries do not have, or that have other results there.
const ADDED: &str = r#"
def IN(values): any(values == .; .);
def IN(from; values): any(from == values; .);
def nth($n; f): if $n < 0 then error("nth needs a number from 0 on") else first(skip_($n; f)) end;
def recurse: ..;
def paths: path(..) | select(length > 0);
def map_values(f): .[] |= f;
def del(f): delpaths([path(f)]);
def pick(f): . as $top | reduce path(f) as $path (null; setpath($path; $top | getpath($path)));
def combinations: if length == 0 then [] else .[0][] as $x | (.[1:] | combinations) as $rest | [$x] + $rest end;
def combinations($n): . as $items | [range($n)] | map($items) | combinations;
def transpose: if . == [] then [] else [range(0; map(length) | max) as $i | [.[][$i]]] end;
def scan(re; flags): matches(re; "g" + flags)[] | [.[].string] | if length > 1 then .[1:] else .[0] end;
def scan(re): scan(re; "");
def @sh: [if isarray then .[] end
  | if isstring then "'\(escape_sh)'" elif isarray or isobject then error("\(tojson) cannot be quoted for a shell")
    else "\(.)" end] | join(" ");
"#;

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

/// Returns the definitions of the libraries that an expression can use.
pub(super) fn prelude<'s>() -> Vec<Def<&'s str>> {
    let parsed = |text| load::parse(text, |parser| parser.defs()).unwrap_or_default();
    let own = |text| parsed(text).into_iter().map(rewrite::definition);
    let is_kept = |def: &Def<&'static str>| !DROPPED.contains(&(def.name, def.args.len()));
    let libraries = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    own(FIRST).chain(libraries.filter(is_kept)).chain(own(ADDED)).collect()
}

/// The names that an expression may call.
#[cfg(test)]
pub(super) fn callable() -> &'static [&'static str] {
    &ALLOWED
}

/// Whether the libraries' function of this name is kept.
pub(super) fn is_native_allowed(name: &str) -> bool {
    ALLOWED.contains(&name) || INTERNAL.contains(&name)
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
                self.inner(term)
            }
            Term::Var(name) if LEFT_OUT.iter().any(|(names, _)| names.contains(name)) => {
                Err(left_out(name))
            }
            Term::Str(format, _) => {
                format.iter().try_for_each(|format| self.call(format, 0))?;
                self.inner(term)
            }
            Term::Fold(name, ..) if !matches!(*name, "reduce" | "foreach") => {
                Err(ExpressionRefusal { part: name, why: format!("there is no {name}") })
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
            _ => self.inner(term),
        }
    }

    fn inner(&mut self, term: &Term<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        children(term, &mut |term| self.term(term))
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
            None if ALLOWED.contains(&name) => Ok(()),
            None => Err(ExpressionRefusal { part: name, why: unknown_name(name) }),
        }
    }
}

fn left_out<'s>(name: &'s str) -> ExpressionRefusal<'s> {
    let mut reasons = LEFT_OUT.iter().filter(|(names, _)| names.contains(&name));
    let why = reasons.next().map_or("", |(_, why)| why);
    ExpressionRefusal { part: name, why: format!("{name} is not allowed: {why}") }
}

/// The text for a function that does not exist, with what was probably meant.
fn unknown_name(name: &str) -> String {
    /// A name with a typing error usually has more.
    const SIMILAR: f64 = 0.87;
    let other = match name {
        "None" | "NULL" | "Null" | "nil" => Some("null".to_owned()),
        "True" | "TRUE" => Some("true".to_owned()),
        "False" | "FALSE" => Some("false".to_owned()),
        "len" | "count" | "size" => Some("length".to_owned()),
        "lower" => Some("ascii_downcase".to_owned()),
        "upper" => Some("ascii_upcase".to_owned()),
        field if FIELDS.contains(&field) => Some(format!(".{field}")),
        _ if name.len() < 4 => None,
        _ => {
            let likeness = |known: &&str| strsim::jaro_winkler(name, known);
            let known = ALLOWED.iter().map(|known| (likeness(known), *known));
            let nearest = known.max_by(|(a, _), (b, _)| a.total_cmp(b));
            nearest.filter(|(likeness, _)| *likeness > SIMILAR).map(|(_, name)| name.to_owned())
        }
    };
    match other {
        Some(other) => format!("there is no function {name}: did you mean {other}?"),
        None => format!(
            "there is no function {name}; a text has double quotes, a field a dot before it"
        ),
    }
}

/// The text for a function that does not exist with this number of arguments.
pub(super) fn unknown(name: &str, arity: usize) -> String {
    match arity {
        0 if ALLOWED.contains(&name) => format!("the function {name} needs arguments"),
        0 => unknown_name(name),
        1 => format!("there is no function {name} with 1 argument"),
        arity => format!("there is no function {name} with {arity} arguments"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jaq_core::{data::JustLut, native::Fun};
    use jaq_json::Val;

    use super::*;
    use crate::transform::{evaluator::Fenced, natives};

    /// Functions of the libraries that are left out, because no expression needs them.
    const NOT_KEPT: [&str; 4] = ["explode", "halt", "implode", "tobytes"];
    /// Definitions of the libraries that only other definitions call.
    const HELPERS: [&str; 1] = ["totype"];

    #[test]
    fn each_function_of_the_libraries_has_its_place() {
        let name = |(name, ..): Fun<Fenced>| name;
        let natives: BTreeSet<&str> = jaq_core::funs()
            .chain(jaq_std::base_funs())
            .map(name)
            .chain(jaq_json::funs::<JustLut<Val>>().map(|(name, ..)| name))
            .collect();
        for name in &natives {
            let places = [&ALLOWED[..], &INTERNAL, &NOT_KEPT].map(|names| names.contains(name));
            assert_eq!(places.iter().filter(|is_in| **is_in).count(), 1, "{name}");
        }
        let functions = natives::functions();
        let definitions = || jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        for definition in definitions() {
            let (name, arity) = (definition.name, definition.args.len());
            let is_dropped = DROPPED.contains(&(name, arity));
            let is_kept = ALLOWED.contains(&name) || HELPERS.contains(&name);
            // An own function or definition replaces one that is dropped and allowed.
            let is_own = functions.iter().any(|(own, ..)| *own == name)
                || prelude().iter().any(|it| (it.name, it.args.len()) == (name, arity));
            assert!(if is_dropped { !is_kept || is_own } else { is_kept }, "{name}/{arity}");
        }
        for name in ALLOWED {
            let is_defined = prelude().iter().any(|definition| definition.name == name);
            assert!(is_defined || functions.iter().any(|(own, ..)| *own == name), "{name}");
        }
        for name in INTERNAL {
            assert!(functions.iter().any(|(own, ..)| *own == name), "{name}");
        }
        for (name, arity) in DROPPED {
            assert!(definitions().any(|it| (it.name, it.args.len()) == (name, arity)), "{name}");
        }
        for name in NOT_KEPT {
            assert!(natives.contains(name), "{name}");
        }
    }
}
