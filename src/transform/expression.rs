//! An expression of the language: checked, compiled, and run over one row.

use std::{collections::BTreeSet, fmt, ops::ControlFlow, sync::atomic::AtomicBool, thread};

use jaq_core::{
    Compiler, Ctx, Filter, ValT as _, Vars,
    compile::Undefined,
    load::{
        Arena, File, Lexer, Loader, Parser,
        lex::{self, Token},
        parse::{self, Def, Term},
    },
};

use super::{
    budget::{EvaluationBounds, EvaluationEnd, STACK, StackBase, bounded},
    columns::{FieldsRead, fields_named, fields_read},
    evaluator::{Fence, Fenced},
    fence::{self, ExpressionRefusal},
    grammar,
    json::beginning,
    mistakes, natives,
    reads::{ReadPath, paths_read},
    rewrite, row_value,
    value::{JqValue, ValueError},
};
use crate::{
    client::Row,
    error::{Error, Result, panics::message},
    text::counted,
};

/// Largest expression, in bytes: 16 KiB.
const LARGEST: usize = 16 << 10;

/// Largest text of an evaluation error in a message, in characters. It can contain values of the row, and a message
/// reaches logs.
const MOST_SHOWN: usize = 160;

/// A compiled expression. It can be shared by threads.
pub(super) struct Expression {
    /// The option that gave it, for messages.
    option: &'static str,
    text: String,
    filter: Filter<Fenced>,
    fields: FieldsRead,
    /// The fields of the row that it names.
    names: BTreeSet<String>,
    /// The paths in these fields that it reads.
    paths: Vec<ReadPath>,
    /// What its evaluation on one row may use.
    bounds: EvaluationBounds,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("text", &self.text).finish_non_exhaustive()
    }
}

/// What the outputs of an expression are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpressionUse {
    /// Their truth. An expression that always holds is refused.
    Condition,
    /// Their truth, also of an expression that always holds.
    #[cfg(test)]
    Checked,
    /// Their values.
    Value,
}

/// Why an evaluation has no result.
#[derive(Debug)]
pub(super) enum EvaluationFailure {
    /// The expression errs on this row, the same way on every machine.
    Row(String),
    /// It used too much of the stack. How much that is depends on the machine.
    Stack,
    /// Another thread asked it to stop.
    Stopped,
    /// The evaluator panicked.
    Panicked(String),
}

impl Expression {
    /// Compiles conditions. `option` names the option that gave them.
    ///
    /// # Errors
    /// [`Error::Expression`] for the first condition that is not valid, or that always holds.
    pub(super) fn compile_all(option: &'static str, texts: &[String]) -> Result<Vec<Self>> {
        Self::compile_each(option, texts, ExpressionUse::Condition)
    }

    /// Compiles expressions whose outputs are used as values.
    ///
    /// # Errors
    /// [`Error::Expression`] for the first expression that is not valid.
    pub(super) fn compile_values(option: &'static str, texts: &[String]) -> Result<Vec<Self>> {
        Self::compile_each(option, texts, ExpressionUse::Value)
    }

    fn compile_each(
        option: &'static str,
        texts: &[String],
        used_as: ExpressionUse,
    ) -> Result<Vec<Self>> {
        if let Some(text) = texts.iter().find(|text| text.len() > LARGEST) {
            let why =
                format!("it has {}, and the limit is 16 KiB", counted(text.len() as u64, "byte"));
            return Err(Error::invalid("expression", beginning(text, 40), why));
        }
        let compiled = |text: &String| Self::compiled(option, text, used_as);
        let compile = || texts.iter().map(compiled).collect();
        if texts.is_empty() { Ok(Vec::new()) } else { with_stack(compile) }
    }

    /// Compiles a condition, also one that always holds.
    #[cfg(test)]
    pub(super) fn compile(option: &'static str, text: &str) -> Result<Self> {
        with_stack(|| Self::compiled(option, text, ExpressionUse::Checked))
    }

    fn compiled(option: &'static str, text: &str, used_as: ExpressionUse) -> Result<Self> {
        match build(text, used_as) {
            Ok((filter, ExpressionReads { fields, names, paths })) => Ok(Self {
                option,
                text: text.to_owned(),
                filter,
                fields,
                names,
                paths,
                bounds: EvaluationBounds::STANDARD,
            }),
            Err(refusal) => Err(refused(option, text, &refusal)),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn option(&self) -> &'static str {
        self.option
    }

    /// Returns the fields of the row that it names.
    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Returns the paths in the fields of the row that it reads.
    pub(super) fn paths(&self) -> &[ReadPath] {
        &self.paths
    }

    /// Parses every field, also those that it does not read.
    #[cfg(test)]
    pub(super) fn reading_all(mut self) -> Self {
        self.fields = FieldsRead::All;
        self
    }

    #[cfg(test)]
    pub(super) fn within(mut self, bounds: EvaluationBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Returns all outputs for this row, printed.
    #[cfg(test)]
    pub(super) fn printed(&self, row: &Row<'_>) -> Result<Vec<String>, EvaluationFailure> {
        let mut printed = Vec::new();
        self.outputs(row, &AtomicBool::new(false), &mut |value| {
            printed.push(super::json::print(&value).unwrap_or_else(|why| why));
            ControlFlow::Continue(())
        })?;
        Ok(printed)
    }

    pub(super) fn fields(&self) -> &FieldsRead {
        &self.fields
    }

    /// Whether any output for this row is neither false nor null.
    pub(super) fn is_true(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
    ) -> Result<bool, EvaluationFailure> {
        let mut is_true = false;
        self.outputs(row, stop, &mut |value| {
            is_true = value.as_bool();
            if is_true { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(is_true)
    }

    /// Calls `take` with each output for this row until it breaks.
    pub(super) fn outputs(
        &self,
        row: &Row<'_>,
        stop: &AtomicBool,
        take: &mut dyn FnMut(JqValue) -> ControlFlow<()>,
    ) -> Result<(), EvaluationFailure> {
        let done = bounded(self.bounds, || {
            let value = row_value::of(row, &self.fields)?;
            let fence = Fence { lut: &self.filter.lut, base: StackBase::here(), stop };
            let context = Ctx::<Fenced>::new(fence, Vars::new([]));
            for output in self.filter.id.run((context, value)) {
                // An error can repeat itself forever, so the first one ends the evaluation.
                let output = output.map_err(|exception| match exception.get_err() {
                    Ok(error) => shown(error),
                    Err(_) => "it stops outside of its label".to_owned(),
                })?;
                if take(output).is_break() {
                    break;
                }
            }
            Ok(())
        });
        let failed = |why: &str| EvaluationFailure::Row(why.to_owned());
        match done {
            Ok(done) => done.map_err(EvaluationFailure::Row),
            Err(EvaluationEnd::Steps) => Err(failed("it needs too many steps")),
            Err(EvaluationEnd::Bytes) => Err(failed("it needs more than 256 MiB for values")),
            Err(EvaluationEnd::Depth) => Err(failed("a value is nested deeper than 10,000 levels")),
            Err(EvaluationEnd::NotJson(why)) => Err(EvaluationFailure::Row(why)),
            Err(EvaluationEnd::Stack) => Err(EvaluationFailure::Stack),
            Err(EvaluationEnd::Asked) => Err(EvaluationFailure::Stopped),
            Err(EvaluationEnd::Panicked(message)) => Err(EvaluationFailure::Panicked(message)),
        }
    }
}

/// Runs on a thread with a large stack: nested expressions are parsed by recursion.
fn with_stack<T: Send>(compile: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("compile".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, compile).map_err(Error::no_thread)?;
        let compiled = thread.join();
        compiled.unwrap_or_else(|payload| Err(Error::panicked("an expression", message(&*payload))))
    })
}

/// What an expression reads of a row.
struct ExpressionReads {
    fields: FieldsRead,
    names: BTreeSet<String>,
    paths: Vec<ReadPath>,
}

/// Parses, checks and compiles an expression.
fn build(
    text: &str,
    used_as: ExpressionUse,
) -> Result<(Filter<Fenced>, ExpressionReads), ExpressionRefusal<'_>> {
    /// A name that no expression can have.
    const ROW: &str = "!row";
    if text.trim().is_empty() {
        let example = match used_as {
            ExpressionUse::Value => "write an expression, such as .persona",
            _ => "write a condition, such as .persona != null",
        };
        let why = format!("it is empty: {example}");
        return Err(ExpressionRefusal { part: text, why });
    }
    let tokens = lex(text)?;
    let term = parse(text, &tokens)?;
    grammar::check(&tokens)?;
    fence::check(&term)?;
    mistakes::check(text, &term, &tokens, used_as == ExpressionUse::Condition)?;
    let fields = fields_read(&term, used_as != ExpressionUse::Value);
    let (names, paths) = (fields_named(&term), paths_read(&term));
    if let FieldsRead::Named(names) = &fields
        && names.contains("additional_properties")
    {
        const NAME: &str = "additional_properties";
        let at = text.find(".additional_properties").map(|at| at + 1).or_else(|| text.find(NAME));
        let part = at.and_then(|at| text.get(at..at + NAME.len())).unwrap_or(text);
        let why = "name an unknown field itself, such as .source_trace_id".to_owned();
        return Err(ExpressionRefusal { part, why });
    }
    let row = Def { name: ROW, args: Vec::new(), body: rewrite::rewritten(term, &tokens) };
    let arena = Arena::default();
    // The name of the definition cannot be written, so a definition with a name that can be written calls it.
    let main = "expression";
    let entry = Def { name: main, args: Vec::new(), body: Term::Call(ROW, Vec::new()) };
    let loader = Loader::new(fence::prelude().into_iter().chain([row, entry]));
    let modules = loader.load(&arena, File { code: main, path: () });
    let modules = modules
        .map_err(|_| ExpressionRefusal { part: text, why: "it cannot be loaded".to_owned() })?;
    Compiler::default()
        .with_funs(natives::functions())
        .compile(modules)
        .map(|filter| (filter, ExpressionReads { fields, names, paths }))
        .map_err(|errors| {
            let mut errors = errors.into_iter().flat_map(|(_, errors)| errors);
            let first = errors.find(|(part, _)| contains(text, part));
            let Some((part, kind)) = first else {
                return ExpressionRefusal { part: text, why: "it cannot be compiled".to_owned() };
            };
            let why = match kind {
                Undefined::Filter(arity) => fence::unknown(part, arity),
                other => format!("there is no {} {part}", other.as_str()),
            };
            ExpressionRefusal { part: &text[jaq_core::load::span(text, part)], why }
        })
}

fn lex(text: &str) -> Result<Vec<Token<&str>>, ExpressionRefusal<'_>> {
    Lexer::new(text).lex().map_err(|errors| {
        let (expected, found) = errors.into_iter().next().unwrap_or((lex::Expect::Token, text));
        // The rest of the text: show its first character.
        let first = found.chars().next();
        let why = match (expected, first) {
            // Inside of brackets, an unknown character looks like a missing bracket.
            (lex::Expect::Token | lex::Expect::Delim(_), Some(c)) if !")]}".contains(c) => {
                let instead = match c {
                    '&' => ": use and",
                    '\'' | '`' | '‘' | '’' | '“' | '”' => ": use double quotes",
                    _ => "",
                };
                // A combining character alone cannot be seen.
                let shown = if c.is_ascii() { c.to_string() } else { c.escape_debug().to_string() };
                format!("{shown} is not part of the language{instead}")
            }
            (lex::Expect::Delim(open), _) => {
                let close = match open {
                    "(" => ")",
                    "[" => "]",
                    "{" => "}",
                    other => other,
                };
                format!("the closing {close} is missing")
            }
            (lex::Expect::Digit, _) => "a digit is missing here".to_owned(),
            (lex::Expect::Ident, _) => "a name is missing here".to_owned(),
            (lex::Expect::Escape, _) => {
                let why = "a string has no such escape: in a regex, write two backslashes for each";
                why.to_owned()
            }
            (lex::Expect::Unicode, _) => "this is not the code of a character".to_owned(),
            _ => "this is not part of the language".to_owned(),
        };
        let part = match first {
            Some(first) => &found[..first.len_utf8()],
            None => end_of(text),
        };
        ExpressionRefusal { part, why }
    })
}

/// Returns the empty part after the last character that is not white space.
fn end_of(text: &str) -> &str {
    let end = text.trim_end().len();
    &text[end..end]
}

fn parse<'s>(
    text: &'s str,
    tokens: &[Token<&'s str>],
) -> Result<Term<&'s str>, ExpressionRefusal<'s>> {
    Parser::new(tokens).parse(|parser| parser.term()).map_err(|errors| {
        let first = errors.into_iter().next();
        let (expected, found) = first.unwrap_or((parse::Expect::Term, None));
        let part = found.map_or(end_of(text), |token| token.0);
        let wanted = match expected {
            parse::Expect::Just(token) => token,
            parse::Expect::Var => "a variable such as $x",
            parse::Expect::Pattern => "a variable or a pattern",
            parse::Expect::ElseOrEnd => "else or end",
            parse::Expect::CommaOrRBrack => "a comma or ]",
            parse::Expect::CommaOrRBrace => "a comma or }",
            parse::Expect::SemicolonOrRParen => "a semicolon or )",
            parse::Expect::Term => "an expression",
            parse::Expect::Key => "the name of a field",
            parse::Expect::Ident => "a name",
            parse::Expect::Arg => "the name of an argument",
            parse::Expect::Str => "a string",
            parse::Expect::Nothing => "",
            other => other.as_str(),
        };
        let why = match part {
            "||" => "|| is not part of the language: use or".to_owned(),
            "!" => "! is not part of the language: use | not".to_owned(),
            "===" => "=== is not part of the language: use ==".to_owned(),
            _ if wanted.is_empty() => "the expression should end before this".to_owned(),
            "" => format!("{wanted} is missing at the end"),
            _ => format!("{wanted} is missing here"),
        };
        ExpressionRefusal { part, why }
    })
}

/// Whether a part is a slice of the text.
fn contains(text: &str, part: &str) -> bool {
    let (start, at) = (text.as_ptr().addr(), part.as_ptr().addr());
    (start..=start + text.len()).contains(&at) && at + part.len() <= start + text.len()
}

fn refused(option: &'static str, text: &str, refusal: &ExpressionRefusal<'_>) -> Error {
    let ExpressionRefusal { part, why } = refusal;
    let start = if contains(text, part) { jaq_core::load::span(text, part).start } else { 0 };
    Error::Expression {
        option,
        expression: text.to_owned(),
        position: start,
        length: part.len(),
        why: why.clone(),
    }
}

/// Returns the message of an error, which can contain values of the row.
fn shown(error: ValueError) -> String {
    match error.into_val() {
        JqValue::Str(text) => beginning(&text, MOST_SHOWN),
        other => beginning(&other.to_string(), MOST_SHOWN),
    }
}
