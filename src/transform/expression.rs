//! An expression of the language: checked, compiled, and run over one row.

use std::{fmt, ops::ControlFlow, sync::atomic::AtomicBool, thread};

use jaq_core::{
    Compiler, Ctx, Filter, ValT as _, Vars,
    compile::Undefined,
    load::{
        Arena, File, Lexer, Loader, Parser, lex,
        parse::{self, Def, Term},
    },
};

use super::{
    budget::{EvaluationBounds, EvaluationEnd, STACK, StackBase, bounded},
    columns::{FieldsRead, fields_read},
    evaluator::{Fence, Fenced},
    fence::{self, ExpressionRefusal},
    natives, row_value,
    value::JqValue,
};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// Largest expression, in bytes: 16 KiB.
const LARGEST: usize = 16 << 10;

/// Largest text of an evaluation error in a message, in characters.
const MOST_SHOWN: usize = 300;

/// A compiled expression. It can be shared by threads.
pub(super) struct Expression {
    /// The option that gave it, for messages.
    option: &'static str,
    text: String,
    filter: Filter<Fenced>,
    fields: FieldsRead,
    /// What its evaluation on one row may use.
    bounds: EvaluationBounds,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("text", &self.text).finish_non_exhaustive()
    }
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
    /// Compiles an expression whose outputs are used only for their truth. `option` names the option that gave it.
    ///
    /// # Errors
    /// [`Error::Expression`] when the expression is not valid.
    pub(super) fn compile(option: &'static str, text: &str) -> Result<Self> {
        if text.len() > LARGEST {
            let why = format!("it has {} bytes, and the limit is 16 KiB", text.len());
            return Err(Error::invalid("expression", shortened(text, 40), why));
        }
        let compile = || build(text).map_err(|refusal| refused(option, text, &refusal));
        // Nested expressions are parsed by recursion.
        let compiled = thread::scope(|scope| {
            let thread = thread::Builder::new().name("compile".to_owned()).stack_size(STACK);
            let thread = thread.spawn_scoped(scope, compile).map_err(Error::no_thread)?;
            thread.join().map_err(|payload| {
                Error::panicked("an expression", crate::error::panics::message(&*payload))
            })?
        });
        let (filter, fields) = compiled?;
        let bounds = EvaluationBounds::STANDARD;
        Ok(Self { option, text: text.to_owned(), filter, fields, bounds })
    }

    pub(super) fn option(&self) -> &'static str {
        self.option
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

    #[cfg(test)]
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
    fn outputs(
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
                    Ok(error) => shortened_display(&error),
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

/// Parses, checks and compiles an expression.
fn build(text: &str) -> Result<(Filter<Fenced>, FieldsRead), ExpressionRefusal<'_>> {
    /// A name that no expression can have.
    const ROW: &str = "!row";
    let term = parse(text)?;
    fence::check(&term)?;
    let fields = fields_read(&term, true);
    if let FieldsRead::Named(names) = &fields
        && names.contains("additional_properties")
    {
        let part = text.find("additional_properties").map_or(text, |at| &text[at..at + 21]);
        let why = "name an unknown field itself, such as .source_trace_id".to_owned();
        return Err(ExpressionRefusal { part, why });
    }
    let row = Def { name: ROW, args: Vec::new(), body: term };
    let arena = Arena::default();
    // The name of the definition cannot be written, so a definition with a name that can be written calls it.
    let main = "expression";
    let entry = Def { name: main, args: Vec::new(), body: Term::Call(ROW, Vec::new()) };
    let loader = Loader::new(fence::prelude().chain([row, entry]));
    let modules = loader.load(&arena, File { code: main, path: () });
    let modules = modules
        .map_err(|_| ExpressionRefusal { part: text, why: "it cannot be loaded".to_owned() })?;
    Compiler::default()
        .with_funs(natives::functions())
        .compile(modules)
        .map(|filter| (filter, fields))
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

fn parse(text: &str) -> Result<Term<&str>, ExpressionRefusal<'_>> {
    let end = &text[text.len()..];
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        let (expected, found) = errors.into_iter().next().unwrap_or((lex::Expect::Token, text));
        let why = match expected {
            lex::Expect::Token => "this is not part of the language".to_owned(),
            lex::Expect::Delim(open) => format!("the closing pair of {open} is missing"),
            other => format!("expected {}", other.as_str()),
        };
        // The rest of the text: show its first character.
        let first = found.chars().next().map_or(0, char::len_utf8);
        ExpressionRefusal { part: &found[..first], why }
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let first = errors.into_iter().next();
        let (expected, found) = first.unwrap_or((parse::Expect::Term, None));
        let part = found.map_or(end, |token| token.0);
        let expected = expected.as_str();
        let why = match part {
            "" => format!("expected {expected}, but it ends here"),
            _ if expected == "nothing" => "the expression should end before this".to_owned(),
            _ => format!("expected {expected}"),
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

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Formats an error that can contain values of any size. Formatting ends when the text is long enough.
fn shortened_display(error: &impl fmt::Display) -> String {
    struct Limited(String);
    impl fmt::Write for Limited {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().take(MOST_SHOWN + 1));
            if self.0.len() > MOST_SHOWN { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut limited = Limited(String::new());
    let _ = fmt::Write::write_fmt(&mut limited, format_args!("{error}"));
    shortened(&limited.0, MOST_SHOWN)
}
