//! The longest run of rows without a value.

/// The runs of nulls in rows that follow each other. Those of the next rows join to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NullRuns {
    /// Number of rows, and the number of the first one, from 1.
    rows: u64,
    first: u64,
    /// Number of nulls at the begin and at the end of the rows.
    leading: u64,
    trailing: u64,
    longest: NullRun,
}

/// A run of nulls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NullRun {
    pub(crate) rows: u64,
    /// Number of its first row, from 1.
    pub(crate) first: u64,
}

impl NullRuns {
    /// Adds the next row.
    pub(crate) fn add(&mut self, is_null: bool, row: u64) {
        let nulls = u64::from(is_null);
        let longest = NullRun { rows: nulls, first: row };
        self.join(Self { rows: 1, first: row, leading: nulls, trailing: nulls, longest });
    }

    /// Adds the rows that follow.
    pub(crate) fn join(&mut self, next: Self) {
        if self.rows == 0 {
            *self = next;
            return;
        }
        let first = self.first + self.rows - self.trailing;
        let across = NullRun { rows: self.trailing + next.leading, first };
        for run in [across, next.longest] {
            if run.rows > self.longest.rows {
                self.longest = run;
            }
        }
        if self.leading == self.rows {
            self.leading += next.leading;
        }
        self.trailing = match next.trailing == next.rows {
            true => self.trailing + next.rows,
            false => next.trailing,
        };
        self.rows += next.rows;
    }

    /// Returns the longest run, the first one of several.
    pub(crate) fn longest(&self) -> NullRun {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(nulls: &[bool], first: u64) -> NullRuns {
        let mut runs = NullRuns::default();
        (first..).zip(nulls).for_each(|(row, is_null)| runs.add(*is_null, row));
        runs
    }

    /// Every row of up to ten, cut at every place.
    #[test]
    fn longest_run_does_not_depend_on_the_batches() {
        for bits in 0..1_u32 << 10 {
            let nulls: Vec<bool> = (0..10).map(|bit| bits >> bit & 1 == 1).collect();
            let mut expected = NullRun::default();
            for start in 0..10 {
                let rows = nulls[start..].iter().take_while(|it| **it).count() as u64;
                if rows > expected.rows {
                    expected = NullRun { rows, first: start as u64 + 1 };
                }
            }
            for cut in 0..=10 {
                let mut joined = runs(&nulls[..cut], 1);
                joined.join(runs(&nulls[cut..], cut as u64 + 1));
                let found = joined.longest();
                assert_eq!(found.rows, expected.rows, "{nulls:?} {cut}");
                assert!(found.rows == 0 || found.first == expected.first, "{nulls:?} {cut}");
            }
        }
    }
}
