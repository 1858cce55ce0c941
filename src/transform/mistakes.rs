//! Refuses mistakes that an expression would make on every row: conditions that hold always, such as literals and
//! assignments that are meant as comparisons, and literals that are not regular expressions.
//!
//! A truth is asked of the whole condition, of the operands of `and` and `or`, of the condition of `if`, of the
//! arguments of functions such as `select`, and of the input of `not`.

use std::{convert::Infallible, ops::Range};

use jaq_core::load::{
    lex::{StrPart, Tok, Token},
    parse::{BinaryOp, Def, Term},
};

use super::{columns, fence::ExpressionRefusal, regexes, terms::children};

/// Functions whose last argument is a condition, with their number of arguments.
const ASKING: [(&str, usize); 9] = [
    ("all", 1),
    ("all", 2),
    ("any", 1),
    ("any", 2),
    ("paths", 1),
    ("recurse", 2),
    ("select", 1),
    ("until", 2),
    ("while", 2),
];

/// Checks an expression. `is_condition` says that the whole expression is one.
pub(super) fn check<'s>(
    text: &'s str,
    term: &Term<&'s str>,
    tokens: &[Token<&'s str>],
    is_condition: bool,
) -> Result<(), ExpressionRefusal<'s>> {
    let places = Places { text, tokens };
    let mut walk = MistakeWalk { places, own: Vec::new() };
    if is_condition {
        if matches!(term, Term::Id) {
            let why = "every row is true: compare a field, such as .persona != null".to_owned();
            return Err(ExpressionRefusal { part: text.trim(), why });
        }
        walk.asked(term)?;
    }
    walk.term(term)
}

struct MistakeWalk<'s, 't> {
    places: Places<'s, 't>,
    /// Functions that the expression defines.
    own: Vec<(&'s str, usize)>,
}

impl<'s> MistakeWalk<'s, '_> {
    /// Checks the conditions and the regular expressions in a term.
    fn term(&mut self, term: &Term<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        match term {
            Term::BinOp(left, BinaryOp::And | BinaryOp::Or, right) => {
                self.asked(left)?;
                self.asked(right)?;
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right)
                if is_not(right) && self.is_builtin("not", 0) =>
            {
                self.asked(left)?;
            }
            Term::IfThenElse(branches, _) => {
                branches.iter().try_for_each(|(condition, _)| self.asked(condition))?;
            }
            Term::Def(definitions, term) => {
                let before = self.own.len();
                for Def { name, args, body } in definitions {
                    self.own.push((*name, args.len()));
                    self.term(body)?;
                }
                self.term(term)?;
                self.own.truncate(before);
                return Ok(());
            }
            Term::Call(name, arguments) => {
                if ASKING.contains(&(*name, arguments.len()))
                    && self.is_builtin(name, arguments.len())
                    && let Some(condition) = match *name {
                        "until" | "while" => arguments.first(),
                        _ => arguments.last(),
                    }
                {
                    self.asked(condition)?;
                }
                self.regex(name, arguments)?;
            }
            _ => {}
        }
        children(term, &mut |term| self.term(term))
    }

    /// Compiles a regular expression if it and its flags are literals.
    fn regex(
        &self,
        name: &'s str,
        arguments: &[Term<&'s str>],
    ) -> Result<(), ExpressionRefusal<'s>> {
        let (regex, flags) = match (name, arguments) {
            ("test" | "match" | "capture" | "scan" | "splits", [regex]) => (regex, None),
            ("test" | "match" | "capture" | "scan" | "splits" | "split", [regex, flags]) => {
                (regex, Some(flags))
            }
            ("sub" | "gsub", [regex, _]) => (regex, None),
            ("sub" | "gsub", [regex, _, flags]) => (regex, Some(flags)),
            _ => return Ok(()),
        };
        let text = |term: &Term<&'s str>| match term {
            Term::Str(None, parts) => columns::literal(parts),
            _ => None,
        };
        let flags_text = match flags {
            None => Some(String::new()),
            Some(Term::Call("null", _)) => Some(String::new()),
            Some(flags) => text(flags),
        };
        let (Some(regex_text), Some(flags_text)) = (text(regex), flags_text) else { return Ok(()) };
        if !self.is_builtin(name, arguments.len()) {
            return Ok(());
        }
        regexes::built(&regex_text, &flags_text).map(drop).map_err(|(why, is_of_flags)| {
            let wrong = flags.filter(|_| is_of_flags).unwrap_or(regex);
            ExpressionRefusal { part: self.places.literal(wrong), why }
        })
    }

    fn is_builtin(&self, name: &'s str, arity: usize) -> bool {
        !self.own.contains(&(name, arity))
    }

    /// Checks a term that is used as a truth: none of its results is a literal or comes from an assignment.
    fn asked(&self, term: &Term<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
        let (kind, instead) = match term {
            Term::Num(_) => ("a number", ": compare it with =="),
            Term::Str(..) => ("a string", ": compare it with =="),
            Term::Arr(_) => ("an array", ": use any(...), or compare its length"),
            Term::Obj(_) => ("an object", ": compare it with =="),
            Term::Neg(_) => ("a number", ": compare it with =="),
            Term::Label(_, term) | Term::Def(_, term) | Term::TryCatch(term, _) => {
                return self.asked(term);
            }
            Term::BinOp(left, op, right) => {
                return match op {
                    BinaryOp::Assign
                    | BinaryOp::Update
                    | BinaryOp::UpdateMath(_)
                    | BinaryOp::UpdateAlt => {
                        let part = self.places.assignment(left, right);
                        let why =
                            format!("{part} assigns, so it holds for every row: compare with ==");
                        Err(ExpressionRefusal { part, why })
                    }
                    BinaryOp::Pipe(_) => self.asked(right),
                    BinaryOp::Comma | BinaryOp::Alt => {
                        self.asked(left)?;
                        self.asked(right)
                    }
                    // `and` and `or` ask their operands themselves.
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Math(_) | BinaryOp::Cmp(_) => Ok(()),
                };
            }
            Term::IfThenElse(branches, otherwise) => {
                let Some(otherwise) = otherwise else { return Ok(()) };
                // A condition can choose a constant, but not if every branch holds always.
                let branches = branches.iter().map(|(_, then)| then);
                let mut checked = branches.chain([&**otherwise]).map(|branch| self.asked(branch));
                let refused = checked.next().unwrap_or(Ok(()));
                return if checked.all(|checked| checked.is_err()) { refused } else { Ok(()) };
            }
            _ => return Ok(()),
        };
        let why = format!("{kind} holds for every row{instead}");
        Err(ExpressionRefusal { part: self.places.literal(term), why })
    }
}

fn is_not(term: &Term<&str>) -> bool {
    match term {
        Term::Call(name, arguments) => *name == "not" && arguments.is_empty(),
        Term::BinOp(left, BinaryOp::Pipe(None), _) => is_not(left),
        _ => false,
    }
}

/// Where the parts of a term are in the text.
struct Places<'s, 't> {
    text: &'s str,
    tokens: &'t [Token<&'s str>],
}

impl<'s> Places<'s, '_> {
    /// Returns the operator of an assignment.
    fn assignment(&self, left: &Term<&'s str>, right: &Term<&'s str>) -> &'s str {
        let mut operators = Vec::new();
        each(self.tokens, &mut |token| {
            let is_other = matches!(token.0, "==" | "!=" | "<=" | ">=");
            if matches!(token.1, Tok::Sym) && token.0.ends_with('=') && !is_other {
                operators.push(token.0);
            }
        });
        let at = |operator: &&&'s str| self.range(operator).start;
        let found = match (self.of(left), self.of(right)) {
            (Some(left), _) => operators.iter().find(|it| at(it) >= left.end),
            (None, Some(right)) => operators.iter().rev().find(|it| at(it) < right.start),
            (None, None) => None,
        };
        found.or_else(|| operators.first()).copied().unwrap_or(self.text)
    }

    /// Returns the text of a literal, with its quotes or brackets.
    fn literal(&self, term: &Term<&'s str>) -> &'s str {
        if let Term::Num(digits) = term {
            return digits;
        }
        let open = match term {
            Term::Arr(_) => '[',
            Term::Obj(_) => '{',
            _ => '"',
        };
        let content = self.of(term);
        let mut found = None;
        each(self.tokens, &mut |token| {
            let range = self.range(token.0);
            let is_around =
                |content: &Range<usize>| range.start <= content.start && content.end <= range.end;
            // The last one is the innermost.
            if token.0.starts_with(open) && content.as_ref().is_none_or(is_around) {
                found = Some(token.0);
            }
        });
        found.unwrap_or(self.text)
    }

    /// Returns the range of the names and literals of a term.
    fn of(&self, term: &Term<&'s str>) -> Option<Range<usize>> {
        let mut whole: Option<Range<usize>> = None;
        parts(term, &mut |part| {
            let range = self.range(part);
            whole = Some(match &whole {
                Some(whole) => whole.start.min(range.start)..whole.end.max(range.end),
                None => range,
            });
        });
        whole
    }

    fn range(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        start..start + part.len()
    }
}

/// Visits the tokens in their order, also those in brackets and strings.
fn each<'t, 's>(tokens: &'t [Token<&'s str>], visit: &mut impl FnMut(&'t Token<&'s str>)) {
    for token in tokens {
        visit(token);
        match &token.1 {
            Tok::Block(tokens) => each(tokens, visit),
            Tok::Str(parts) => {
                for part in parts {
                    if let StrPart::Term(token) = part {
                        each(std::slice::from_ref(token), visit);
                    }
                }
            }
            Tok::Word | Tok::Var | Tok::Fmt | Tok::Num | Tok::Sym => {}
        }
    }
}

/// Visits the names and the literals of a term and of the terms in it.
fn parts<'s>(term: &Term<&'s str>, visit: &mut dyn FnMut(&'s str)) {
    match term {
        Term::Num(part) | Term::Var(part) | Term::Break(part) => visit(part),
        Term::Str(format, texts) => {
            format.iter().for_each(|format| visit(format));
            for text in texts {
                if let StrPart::Str(text) = text {
                    visit(text);
                }
            }
        }
        Term::Label(name, _) | Term::Fold(name, ..) | Term::Call(name, _) => visit(name),
        Term::Def(definitions, _) => {
            definitions.iter().for_each(|definition| visit(definition.name));
        }
        _ => {}
    }
    let Ok(()) = children(term, &mut |term| {
        parts(term, visit);
        Ok::<_, Infallible>(())
    });
}
