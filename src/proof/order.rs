//! Checks that rows come in the requested order. It never sorts.
//!
//! A server ignores an unknown ordering, so only the rows show whether it applied the ordering.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};

use uuid::Uuid;

use super::Violation;

/// A field by which rows can be ordered, and whose order the rows show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The datapoint's `order`.
    Order,
    /// The datapoint's `id`.
    Id,
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Id => "id",
        })
    }
}

/// A row's value of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderKey {
    /// The value of `order`, which can be null.
    Order(Option<i64>),
    /// The value of `id`.
    Id(Uuid),
}

impl OrderKey {
    pub(super) fn field(self) -> Field {
        match self {
            Self::Order(_) => Field::Order,
            Self::Id(_) => Field::Id,
        }
    }

    fn is_null(self) -> bool {
        self == Self::Order(None)
    }

    /// Returns `None` for keys without an order: a null, or keys of two fields.
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Order(Some(a)), Self::Order(Some(b))) => Some(a.cmp(&b)),
            (Self::Id(a), Self::Id(b)) => Some(a.cmp(&b)),
            _ => None,
        }
    }
}

impl Display for OrderKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(Some(order)) => order.fmt(f),
            Self::Order(None) => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// Checks every row in turn. Equal values are in order. Nulls may come first or last, because databases
/// differ. They must not come at both ends or in between.
#[derive(Debug)]
pub(crate) struct OrderCheck {
    field: Field,
    descending: bool,
    nulls_first: bool,
    last: Option<OrderKey>,
}

impl OrderCheck {
    /// Makes a check that starts with the first row.
    pub(crate) fn new(field: Field, descending: bool) -> Self {
        Self { field, descending, nulls_first: false, last: None }
    }

    /// Accepts the rows from `first` to `last` unchecked, because an earlier run has checked them.
    pub(crate) fn skip(&mut self, first: (Option<i64>, Uuid), last: (Option<i64>, Uuid)) {
        self.nulls_first = self.key(first.0, first.1).is_null();
        self.last = Some(self.key(last.0, last.1));
    }

    fn key(&self, order: Option<i64>, id: Uuid) -> OrderKey {
        match self.field {
            Field::Order => OrderKey::Order(order),
            Field::Id => OrderKey::Id(id),
        }
    }

    /// Compares a row with the row before. `index` is its position in the page's `results`, from 0.
    pub(crate) fn row(
        &mut self,
        page: u64,
        index: usize,
        order: Option<i64>,
        id: Uuid,
    ) -> Result<(), Violation> {
        let key = self.key(order, id);
        let Some(before) = self.last.replace(key) else {
            self.nulls_first = key.is_null();
            return Ok(());
        };
        let in_order = match (before.is_null(), key.is_null()) {
            (true, true) => true,
            // Nulls end here, so they must have come first. In the other case they begin here.
            (true, false) => self.nulls_first,
            (false, true) => !self.nulls_first,
            (false, false) => before.compare(key).is_none_or(|ordering| match self.descending {
                true => ordering.is_ge(),
                false => ordering.is_le(),
            }),
        };
        if in_order {
            Ok(())
        } else {
            Err(Violation::OutOfOrder { page, index, key, before, descending: self.descending })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders(descending: bool, orders: &[Option<i64>]) -> Result<(), Violation> {
        let mut check = OrderCheck::new(Field::Order, descending);
        orders
            .iter()
            .enumerate()
            .try_for_each(|(index, order)| check.row(1, index, *order, Uuid::nil()))
    }

    fn out_of_order(index: usize, key: Option<i64>, before: Option<i64>) -> Result<(), Violation> {
        let (key, before) = (OrderKey::Order(key), OrderKey::Order(before));
        Err(Violation::OutOfOrder { page: 1, index, key, before, descending: false })
    }

    #[test]
    fn nulls_may_come_first_or_last() {
        for descending in [false, true] {
            let (low, high) = if descending { (9, 1) } else { (1, 9) };
            let (low, high) = (Some(low), Some(high));
            assert_eq!(orders(descending, &[None, None, low, low, high]), Ok(()));
            assert_eq!(orders(descending, &[low, high, high, None, None]), Ok(()));
            assert_eq!(orders(descending, &[None, None]), Ok(()));
            assert_eq!(orders(descending, &[]), Ok(()));
        }
    }

    #[test]
    fn nulls_at_both_ends_or_between_are_refused() {
        let both = orders(false, &[None, Some(1), Some(2), None]);
        assert_eq!(both, out_of_order(3, None, Some(2)));
        let between = orders(false, &[Some(1), None, Some(2)]);
        assert_eq!(between, out_of_order(2, Some(2), None));
    }

    #[test]
    fn first_row_is_compared_with_previous_page() {
        let mut check = OrderCheck::new(Field::Id, true);
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(check.row(1, 0, None, one), Ok(()));
        let (key, before) = (OrderKey::Id(two), OrderKey::Id(one));
        assert_eq!(
            check.row(2, 0, None, two),
            Err(Violation::OutOfOrder { page: 2, index: 0, key, before, descending: true })
        );
    }

    #[test]
    fn skipped_rows_still_constrain_later_rows() {
        let row = |order| (order, Uuid::nil());
        let after = |first, last, order| {
            let mut check = OrderCheck::new(Field::Order, false);
            check.skip(row(first), row(last));
            check.row(9, 0, order, Uuid::nil()).is_ok()
        };
        assert!(after(Some(1), Some(5), Some(5)));
        assert!(!after(Some(1), Some(5), Some(4)));
        assert!(after(None, None, Some(4)), "nulls came first");
        assert!(after(None, Some(5), Some(6)));
        assert!(!after(None, Some(5), None), "nulls at both ends");
        assert!(!after(Some(1), None, Some(6)), "nulls in between");
    }

    proptest! {
        #[test]
        fn only_sorted_rows_pass(values in prop::collection::vec(-3..3_i64, 0..8)) {
            let rows: Vec<_> = values.iter().copied().map(Some).collect();
            let ids: Vec<_> = values.iter().map(|v| Uuid::from_u128((v + 3) as u128)).collect();
            for descending in [false, true] {
                let sorted = values.is_sorted_by(|a, b| if descending { a >= b } else { a <= b });
                prop_assert_eq!(orders(descending, &rows).is_ok(), sorted);
                let mut check = OrderCheck::new(Field::Id, descending);
                let all_in_order = ids.iter().all(|id| check.row(1, 0, None, *id).is_ok());
                prop_assert_eq!(all_in_order, sorted);
            }
        }
    }
}
