//! Bounds the evaluation of an expression: steps, stack, copied bytes, and a request to stop.
//!
//! The evaluator asks its data for the lookup table before every step. [`Fence`] counts these calls. When a bound is
//! reached, it unwinds the stack with a private payload, which [`bounded`] catches. `try` of the language cannot
//! catch it, and no panic hook sees it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use jaq_core::{DataT, Lut, data::HasLut};
use jaq_json::Val;

use crate::error::{Error, panics::message};

/// Steps of one evaluation. One more is allowed for each byte of the values that it reads.
pub(super) const STEPS: u64 = 1_000_000;
/// Bytes that one evaluation may copy to grow strings and arrays: 256 MiB. A loop that appends to a text copies the
/// text each time, so that a result of one megabyte can cost hundreds.
pub(super) const COPIED: u64 = 256 << 20;
/// Bytes of stack that evaluation may use: 256 MiB. Half of [`STACK`], because the evaluator does not count
/// the steps that compare, print and drop nested values.
const DEPTH: usize = 256 << 20;
/// Stack of a thread that evaluates: 512 MiB. It is only reserved: the system gives memory when it is used.
pub(super) const STACK: usize = 512 << 20;

/// The bound that stopped an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Steps,
    Copies,
    Stack,
    /// Another thread asked for the stop.
    Asked,
}

/// The budget of one evaluation.
pub(super) struct StepBudget<'a> {
    steps: Cell<u64>,
    copied: Cell<u64>,
    /// Address of a variable on the stack at the start of the evaluation.
    base: usize,
    stop: &'a AtomicBool,
}

impl<'a> StepBudget<'a> {
    /// Creates the budget for an evaluation that reads values of this many bytes. It begins in the calling function.
    pub(super) fn new(bytes: usize, stop: &'a AtomicBool) -> Self {
        let steps = Cell::new(STEPS.saturating_add(bytes as u64));
        Self { steps, copied: Cell::new(COPIED), base: stack_address(), stop }
    }

    /// Counts bytes before they are copied.
    pub(super) fn copy(&self, bytes: usize) {
        match self.copied.get().checked_sub(bytes as u64) {
            Some(left) => self.copied.set(left),
            None => unwind(Bound::Copies),
        }
    }

    fn step(&self) {
        match self.steps.get().checked_sub(1) {
            Some(left) => self.steps.set(left),
            None => unwind(Bound::Steps),
        }
        if stack_address().abs_diff(self.base) > DEPTH {
            unwind(Bound::Stack);
        }
        if self.stop.load(Relaxed) {
            unwind(Bound::Asked);
        }
    }
}

/// Runs an evaluation until its end or until a bound stops it.
///
/// # Errors
/// [`Error::panicked`] when the evaluator panics.
pub(super) fn bounded<T>(evaluation: impl FnOnce() -> T) -> Result<Result<T, Bound>, Error> {
    match catch_unwind(AssertUnwindSafe(evaluation)) {
        Ok(done) => Ok(Ok(done)),
        Err(payload) => match payload.downcast_ref::<Bound>() {
            Some(bound) => Ok(Err(*bound)),
            None => Err(Error::panicked("an expression", message(&*payload))),
        },
    }
}

fn unwind(bound: Bound) -> ! {
    resume_unwind(Box::new(bound))
}

/// Returns the address of a variable on the stack of this thread.
#[inline(always)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The data type of the evaluator: JSON values, and a fence.
pub(super) struct Fenced;

impl DataT for Fenced {
    type V<'a> = Val;
    type Data<'a> = Fence<'a>;
}

/// The lookup table of the evaluator, which counts its steps.
#[derive(Clone, Copy)]
pub(super) struct Fence<'a> {
    pub(super) lut: &'a Lut<Fenced>,
    pub(super) budget: &'a StepBudget<'a>,
}

impl<'a> HasLut<'a, Fenced> for Fence<'a> {
    fn lut(&self) -> &'a Lut<Fenced> {
        self.budget.step();
        self.lut
    }
}
