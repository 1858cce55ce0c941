//! Refuses expressions that the parser reads in another way than jq: operators without parentheses.
//!
//! The check reads the tokens, because the syntax tree does not have the parentheses.

use jaq_core::load::lex::{StrPart, Tok, Token};

use super::fence::ExpressionRefusal;

/// Checks the operators of an expression, and those in its brackets.
pub(super) fn check<'s>(tokens: &[Token<&'s str>]) -> Result<(), ExpressionRefusal<'s>> {
    let mut open = vec![Operators::default()];
    for token in tokens {
        inner(token)?;
        match token.1 {
            Tok::Word | Tok::Sym => step(token.0, &mut open)?,
            Tok::Var | Tok::Fmt | Tok::Num | Tok::Str(_) | Tok::Block(_) => {}
        }
    }
    Ok(())
}

fn inner<'s>(token: &Token<&'s str>) -> Result<(), ExpressionRefusal<'s>> {
    match &token.1 {
        Tok::Block(tokens) => check(tokens),
        Tok::Str(parts) => parts.iter().try_for_each(|part| match part {
            StrPart::Term(token) => inner(token),
            StrPart::Str(_) | StrPart::Char(_) => Ok(()),
        }),
        _ => Ok(()),
    }
}

/// The operators since the last one that binds less.
#[derive(Default)]
struct Operators<'s> {
    comparison: Option<&'s str>,
    assignment: Option<&'s str>,
    alternative: Option<&'s str>,
    /// A multiplication or division.
    product: bool,
    /// The last operator that binds more than `,`.
    last: Option<&'s str>,
    /// Number of `reduce` and `foreach` whose `as` comes next.
    folds: usize,
}

fn step<'s>(word: &'s str, open: &mut Vec<Operators<'s>>) -> Result<(), ExpressionRefusal<'s>> {
    let refused = |why: String| Err(ExpressionRefusal { part: word, why });
    if word == "if" {
        open.push(Operators::default());
        return Ok(());
    }
    if word == "end" && open.len() > 1 {
        open.pop();
        return Ok(());
    }
    let Some(seen) = open.last_mut() else { return Ok(()) };
    match word {
        "|" | "," | ";" | ":" | "then" | "elif" | "else" => *seen = Operators::default(),
        "reduce" | "foreach" => seen.folds += 1,
        "as" if seen.folds > 0 => seen.folds -= 1,
        "as" => {
            if let Some(before) = seen.last {
                return refused(format!(
                    "write parentheses: A {before} (B as $x | C), or (A {before} B) as $x | C"
                ));
            }
        }
        "and" | "or" => {
            (seen.comparison, seen.product, seen.last) = (None, false, Some(word));
        }
        "//" => {
            if let Some(assignment) = seen.assignment {
                return refused(format!("write parentheses: A {assignment} (B // C)"));
            }
            let alternative = Some(word);
            *seen = Operators {
                alternative,
                last: alternative,
                folds: seen.folds,
                ..Operators::default()
            };
        }
        "=" | "|=" | "+=" | "-=" | "*=" | "/=" | "%=" | "//=" => {
            if seen.alternative.is_some() {
                return refused(format!("write parentheses: A // (B {word} C)"));
            }
            if seen.assignment.is_some() {
                return refused(format!("assign one after the other: A {word} C | B {word} C"));
            }
            let assignment = Some(word);
            *seen = Operators {
                assignment,
                last: assignment,
                folds: seen.folds,
                ..Operators::default()
            };
        }
        "==" | "!=" | "<" | "<=" | ">" | ">=" => {
            if seen.comparison.is_some() {
                return refused(
                    "comparisons cannot be chained: write A < B and B < C, or parentheses"
                        .to_owned(),
                );
            }
            (seen.comparison, seen.product, seen.last) = (Some(word), false, Some(word));
        }
        "+" | "-" => (seen.product, seen.last) = (false, Some(word)),
        "*" | "/" => (seen.product, seen.last) = (true, Some(word)),
        "%" => {
            if seen.product {
                return refused("write parentheses: (A * B) % C, or A * (B % C)".to_owned());
            }
            seen.last = Some(word);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jaq_core::load::Lexer;

    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        check(&Lexer::new(text).lex().unwrap()).map_err(|refusal| refusal.why)
    }

    #[test]
    fn operators_without_parentheses_are_refused() {
        for (text, why) in [
            (".a and .b as $x | $x", "A and (B as $x | C), or (A and B) as $x | C"),
            ("-1 as $x | $x", "A - (B as $x"),
            ("[.a + .b as $x | $x]", "A + (B as $x"),
            (".a // .b as $x | $x", "A // (B as $x"),
            ("0 < .x < 1", "comparisons cannot be chained"),
            (".a == .b != .c", "comparisons cannot be chained"),
            ("\"\\(1 < 2 < 3)\"", "comparisons cannot be chained"),
            ("0 < if . then 1 end < 2", "comparisons cannot be chained"),
            (".a = .b // 1", "A = (B // C)"),
            (".a // .b |= 1", "A // (B |= C)"),
            (".a = .b = 1", "assign one after the other"),
            ("5 * 3 % 2", "(A * B) % C"),
            ("6 / 3 % 2 == 1", "(A * B) % C"),
            ("reduce .[] as $x (0; 1 < $x < 2)", "comparisons cannot be chained"),
        ] {
            let refused = checked(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn operators_that_read_as_in_jq_are_allowed() {
        for text in [
            "(.a and .b) as $x | $x",
            ".a and (.b as $x | $x)",
            ".a as $x | .b as $y | $x and $y",
            ".a, .b as $x | $x",
            "1 + reduce .[] as $x (0; . + $x)",
            "0 < .x and .x < 1",
            "(0 < .x) == true",
            "if .a < 1 then .b < 2 elif .c > 1 then 3 else .d == 4 end",
            ".a // .b // 1",
            ".a = (.b // 1) | .c = 2",
            "{a: 1 < 2, b: 2 < 3}",
            "any(.a < 1; .b < 2)",
            "5 % 3 * 2",
            "5 * 3 + 7 % 2",
            ".[1 < 2] < 3",
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }
}
