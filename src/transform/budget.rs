//! Bounds the evaluation of an expression: steps, bytes, nesting, stack, and a request to stop.
//!
//! The evaluator asks its data for the lookup table before every step, and every operation on a value comes here, too.
//! When a bound is reached, [`end`] unwinds the stack with a private payload, which [`bounded`] catches. `try` of the
//! language cannot catch it, and no panic hook sees it. The counters belong to the thread, because the operators of
//! values get nothing but their operands.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::error::panics::message;

/// What one evaluation may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct EvaluationBounds {
    /// Steps. One more is allowed for each byte of the values that it reads, up to [`MOST_STEPS`].
    pub(super) steps: u64,
    /// Bytes of the values that it parses, copies and builds, together. Memory that becomes free does not count, so a
    /// loop that copies a text of one megabyte reaches 256 MiB after 256 rounds. The memory can be twice as much,
    /// because texts, arrays and objects double when they grow.
    pub(super) bytes: u64,
}

impl EvaluationBounds {
    pub(super) const STANDARD: Self = Self { steps: 1_000_000, bytes: 256 << 20 };
}

/// Most steps of one evaluation. The evaluator needs up to 100 bytes of memory for a step.
pub(super) const MOST_STEPS: u64 = 5_000_000;
/// Deepest nesting of a value, as in jq. Comparing, printing and freeing a value recurse to its depth.
pub(super) const DEPTH: u32 = 10_000;
/// Bytes of stack that evaluation may use: 256 MiB. Half of [`STACK`], because the evaluator does not count
/// the steps that compare, print and free nested values.
const FRAMES: usize = 256 << 20;
/// Stack of a thread that evaluates: 512 MiB. It is only reserved: the system gives memory when it is used.
pub(super) const STACK: usize = 512 << 20;

/// Why an evaluation was ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EvaluationEnd {
    /// It needs too many steps.
    Steps,
    /// It needs too many bytes.
    Bytes,
    /// It builds a value that is nested too deeply.
    Depth,
    /// It uses too much of the stack.
    Stack,
    /// Another thread asked for the stop.
    Asked,
    /// It makes a text of a value that JSON does not have.
    NotJson(String),
    /// The evaluator panicked.
    Panicked(String),
}

/// The rest of the budget of the evaluation on this thread.
struct BudgetLeft {
    steps: Cell<u64>,
    bytes: Cell<u64>,
}

thread_local! {
    static LEFT: BudgetLeft = const { BudgetLeft { steps: Cell::new(0), bytes: Cell::new(0) } };
}

/// Runs an evaluation with a new budget until its end, or until a bound or a panic ends it.
pub(super) fn bounded<T>(
    bounds: EvaluationBounds,
    evaluation: impl FnOnce() -> T,
) -> Result<T, EvaluationEnd> {
    LEFT.with(|left| {
        left.steps.set(bounds.steps);
        left.bytes.set(bounds.bytes);
    });
    catch_unwind(AssertUnwindSafe(evaluation)).map_err(|payload| {
        match payload.downcast::<EvaluationEnd>() {
            Ok(end) => *end,
            Err(payload) => EvaluationEnd::Panicked(message(&*payload).to_owned()),
        }
    })
}

/// Ends the evaluation of this thread.
pub(super) fn end(why: EvaluationEnd) -> ! {
    resume_unwind(Box::new(why))
}

/// Allows more steps, because the evaluation reads values of this many bytes.
pub(super) fn read(bytes: usize) {
    LEFT.with(|left| {
        let steps = left.steps.get().saturating_add(bytes as u64);
        left.steps.set(steps.min(MOST_STEPS));
    });
}

/// Counts a step.
pub(super) fn step() {
    steps(1);
}

/// Counts the steps of an operation that takes longer than one.
pub(super) fn steps(count: usize) {
    LEFT.with(|left| match left.steps.get().checked_sub(count as u64) {
        Some(steps) => left.steps.set(steps),
        None => end(EvaluationEnd::Steps),
    });
}

/// Counts bytes before they are copied.
pub(super) fn copy(bytes: usize) {
    LEFT.with(|left| match left.bytes.get().checked_sub(bytes as u64) {
        Some(bytes) => left.bytes.set(bytes),
        None => end(EvaluationEnd::Bytes),
    });
}

/// The place on the stack where an evaluation begins.
#[derive(Clone, Copy)]
pub(super) struct StackBase(usize);

impl StackBase {
    /// Returns the place of the calling function.
    pub(super) fn here() -> Self {
        Self(stack_address())
    }

    /// Ends the evaluation if it has used too much of the stack since this place.
    #[inline]
    pub(super) fn check(self) {
        if stack_address().abs_diff(self.0) > FRAMES {
            end(EvaluationEnd::Stack);
        }
    }
}

/// Returns the address of a variable on the stack of this thread.
#[inline(always)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}
