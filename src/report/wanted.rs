//! The rows that figures and remarks name. The page shows them if they were kept.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    profile::{
        ColumnProfile, Profile, ValueProfile,
        nulls::{NullRun, NullRuns},
        odd_places::{OddPlace, alike, rarer_row},
        tree::texts::Tally,
    },
    sample::ShownWhy,
};
use crate::batch::Column;

/// Most examples of what differs at places of JSON columns.
const MOST_PLACES: usize = 24;
/// Shortest run of rows without a value that is named: 20 rows.
const LONG_RUN: u64 = 20;

/// What remarks are about, in addition to the profile.
pub(super) struct NamedRows<'a> {
    pub(super) odd: &'a [OddPlace],
    pub(super) nulls: &'a [NullRuns],
    /// What is wrong with the order.
    pub(super) orders: Vec<Tally>,
}

/// Returns the rows, each with the reason.
pub(super) fn wanted_rows(
    profile: &Profile,
    NamedRows { odd, nulls, orders }: NamedRows<'_>,
) -> BTreeMap<u64, BTreeSet<ShownWhy>> {
    let mut wanted = BTreeMap::<u64, BTreeSet<ShownWhy>>::new();
    let mut want = |row: u64, why: ShownWhy| {
        if row > 0 {
            wanted.entry(row).or_default().insert(why);
        }
    };
    for column in &profile.columns {
        let [shortest, longest] = [&column.lengths.shortest, &column.lengths.longest];
        // Values of one length have no shortest one.
        let (Some(shortest), Some(longest)) = (shortest, longest) else { continue };
        if shortest.length < longest.length {
            want(shortest.row, ShownWhy::Shortest);
            want(longest.row, ShownWhy::Longest);
        }
    }
    let turns = &profile.turns;
    let outputs = [profile.outputs.empty, profile.outputs.wordless, profile.outputs.echoes];
    let whole = outputs.into_iter().chain(orders);
    let ends = turns.rare_ends().into_iter().map(|(_, tally)| tally);
    let empty = turns.empty.sorted().into_iter().map(|(_, tally)| tally);
    let tallies = whole.chain(ends).chain(empty).chain(turns.rarely_without());
    tallies.for_each(|tally| want(tally.row, ShownWhy::Odd));
    odd.iter().take(MOST_PLACES).for_each(|it| want(it.row, ShownWhy::Odd));
    for column in &profile.columns {
        let Some(firsts) = &column.firsts else { continue };
        if let ValueProfile::Text(common) | ValueProfile::Tags(_, common) = &column.values {
            let top = common.top(usize::MAX);
            for group in alike(top.iter().map(|(text, count)| (&**text, *count))) {
                want(rarer_row(&group, |text| firsts.get(text)), ShownWhy::Odd);
            }
        }
    }
    for (place, column) in profile.columns.iter().enumerate() {
        if let Some(run) = long_null_run(profile, nulls, place) {
            want(run.first, ShownWhy::Odd);
        }
        if matches!(column.api, Some(Column::Input | Column::ExpectedOutput))
            && has_some(profile, column)
        {
            want(column.first_null, ShownWhy::Odd);
        }
    }
    wanted
}

fn has_some(profile: &Profile, column: &ColumnProfile) -> bool {
    column.nulls < profile.rows
}

/// Returns a long run of rows in which the column with this place is null, if most of its nulls are in it.
pub(super) fn long_null_run(
    profile: &Profile,
    nulls: &[NullRuns],
    place: usize,
) -> Option<NullRun> {
    let column = profile.columns.get(place).filter(|it| has_some(profile, it))?;
    let run = nulls.get(place)?.longest();
    (run.rows >= LONG_RUN && run.rows * 2 >= column.nulls).then_some(run)
}
