//! The conversations in the inputs: their turns by role, how they end, and turns without content.

use super::{
    figures::{CommonValues, Lengths},
    odd_places::is_rare,
    tree::{SeenTurn, texts::Tally},
};
use crate::error::Result;

/// Most roles that are counted one by one: 32. A dataset has a handful.
const MOST_ROLES: usize = 32;

/// The conversations in the inputs.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) roles: CommonValues,
    /// Turns of each input that has one.
    pub(crate) turns: Lengths,
    /// Turns without text, by their role.
    pub(crate) empty: RoleTallies,
    /// Inputs by the role of their last turn.
    pub(crate) last: RoleTallies,
    /// Inputs without a turn.
    pub(crate) without: Tally,
    /// The role of the last turn of a row.
    last_role: String,
}

/// A number of each role, with the first row.
#[derive(Debug, Default)]
pub(crate) struct RoleTallies {
    all: Vec<(Box<str>, Tally)>,
    /// Whether there are too many roles. Then none is counted.
    is_overfull: bool,
}

impl Turns {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            roles: CommonValues::new()?,
            turns: Lengths::new()?,
            empty: RoleTallies::default(),
            last: RoleTallies::default(),
            without: Tally::default(),
            last_role: String::new(),
        })
    }

    /// Adds a turn of a row. Returns whether it is the first empty one of its role.
    pub(crate) fn add(&mut self, turn: SeenTurn<'_>, row: u64) -> bool {
        self.roles.add(turn.role);
        self.last_role.clear();
        self.last_role.push_str(turn.role);
        turn.is_empty && self.empty.add(turn.role, row)
    }

    /// Ends an input with this number of turns. Returns whether it is the first one that ends like this.
    pub(crate) fn end(&mut self, turns: u64, row: u64, id: &str) -> bool {
        if turns == 0 {
            return self.without.add(row);
        }
        self.turns.add(turns, row, id);
        self.last.add(&self.last_role, row)
    }

    /// Returns the rare roles with which inputs end.
    pub(crate) fn rare_ends(&self) -> Vec<(&str, Tally)> {
        let mut all = self.last.sorted();
        all.retain(|(_, tally)| is_rare(tally.count, self.turns.count()));
        all
    }

    /// Returns the inputs without a turn, if almost all others have one.
    pub(crate) fn rarely_without(&self) -> Option<Tally> {
        let all = self.turns.count() + self.without.count;
        Some(self.without).filter(|tally| is_rare(tally.count, all))
    }

    pub(crate) fn join(&mut self, other: Self) -> Result<()> {
        self.roles.join(&other.roles);
        self.empty.join(other.empty);
        self.last.join(other.last);
        self.without.join(other.without);
        self.turns.join(other.turns)
    }
}

impl RoleTallies {
    fn add(&mut self, role: &str, row: u64) -> bool {
        self.of(role).is_some_and(|tally| tally.add(row))
    }

    /// Returns the tally of a role; `None` if there are too many.
    fn of(&mut self, role: &str) -> Option<&mut Tally> {
        if self.is_overfull {
            return None;
        }
        let place = match self.all.iter().position(|(own, _)| **own == *role) {
            Some(place) => place,
            None if self.all.len() < MOST_ROLES => {
                self.all.push((role.into(), Tally::default()));
                self.all.len() - 1
            }
            None => {
                (self.all, self.is_overfull) = (Vec::new(), true);
                return None;
            }
        };
        self.all.get_mut(place).map(|(_, tally)| tally)
    }

    fn join(&mut self, other: Self) {
        if other.is_overfull {
            (self.all, self.is_overfull) = (Vec::new(), true);
        }
        for (role, tally) in other.all {
            if let Some(own) = self.of(&role) {
                own.join(tally);
            }
        }
    }

    /// Returns the roles with their numbers, the most common first.
    pub(crate) fn sorted(&self) -> Vec<(&str, Tally)> {
        let mut all: Vec<_> = self.all.iter().map(|(role, tally)| (&**role, *tally)).collect();
        all.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(b.0)));
        all
    }
}
