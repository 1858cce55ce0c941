//! The data of the evaluator: the type of its values, and a lookup table that counts its steps.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use jaq_core::{DataT, Lut, data::HasLut};

use super::{
    budget::{self, EvaluationEnd, StackBase},
    value::JqValue,
};

/// The data type of the evaluator: values and steps that the budget counts.
pub(super) struct Fenced;

impl DataT for Fenced {
    type V<'a> = JqValue;
    type Data<'a> = Fence<'a>;
}

/// The lookup table of the evaluator. It is asked for before every step.
#[derive(Clone, Copy)]
pub(super) struct Fence<'a> {
    pub(super) lut: &'a Lut<Fenced>,
    pub(super) base: StackBase,
    pub(super) stop: &'a AtomicBool,
}

impl<'a> HasLut<'a, Fenced> for Fence<'a> {
    fn lut(&self) -> &'a Lut<Fenced> {
        budget::step();
        self.base.check();
        if self.stop.load(Relaxed) {
            budget::end(EvaluationEnd::Asked);
        }
        self.lut
    }
}
