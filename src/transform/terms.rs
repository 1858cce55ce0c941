//! The terms directly inside a term of the syntax tree, in the order of the text. It checks nothing.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
    },
    path::Part,
};

/// Calls `visit` with each term directly inside a term, until it fails. The bodies of definitions and the computed keys of
/// patterns are inside, too.
pub(super) fn children<'t, 's, E>(
    term: &'t Term<&'s str>,
    visit: &mut dyn FnMut(&'t Term<&'s str>) -> Result<(), E>,
) -> Result<(), E> {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Break(_) => Ok(()),
        Term::Str(_, parts) => parts.iter().try_for_each(|part| match part {
            StrPart::Term(term) => visit(term),
            StrPart::Str(_) | StrPart::Char(_) => Ok(()),
        }),
        Term::Arr(items) => items.iter().try_for_each(|items| visit(items)),
        Term::Obj(entries) => entries.iter().try_for_each(|(key, value)| {
            visit(key)?;
            value.iter().try_for_each(&mut *visit)
        }),
        Term::Neg(term) | Term::Label(_, term) => visit(term),
        Term::BinOp(left, op, right) => {
            visit(left)?;
            if let BinaryOp::Pipe(Some(pattern)) = op {
                keys(pattern, visit)?;
            }
            visit(right)
        }
        Term::Fold(_, items, pattern, terms) => {
            visit(items)?;
            keys(pattern, visit)?;
            terms.iter().try_for_each(visit)
        }
        Term::TryCatch(term, catch) => {
            visit(term)?;
            catch.iter().try_for_each(|catch| visit(catch))
        }
        Term::IfThenElse(branches, otherwise) => {
            for (condition, then) in branches {
                visit(condition)?;
                visit(then)?;
            }
            otherwise.iter().try_for_each(|term| visit(term))
        }
        Term::Def(definitions, term) => {
            definitions.iter().try_for_each(|definition| visit(&definition.body))?;
            visit(term)
        }
        Term::Call(_, arguments) => arguments.iter().try_for_each(visit),
        Term::Path(start, path) => {
            visit(start)?;
            path.0.iter().try_for_each(|(part, _)| match part {
                Part::Index(index) => visit(index),
                Part::Range(from, to) => [from, to].into_iter().flatten().try_for_each(&mut *visit),
            })
        }
    }
}

/// Visits the computed keys of a pattern.
fn keys<'t, 's, E>(
    pattern: &'t Pattern<&'s str>,
    visit: &mut dyn FnMut(&'t Term<&'s str>) -> Result<(), E>,
) -> Result<(), E> {
    match pattern {
        Pattern::Var(_) => Ok(()),
        Pattern::Arr(items) => items.iter().try_for_each(|item| keys(item, visit)),
        Pattern::Obj(entries) => entries.iter().try_for_each(|(key, value)| {
            visit(key)?;
            keys(value, visit)
        }),
    }
}
