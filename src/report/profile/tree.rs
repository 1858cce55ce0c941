//! The tree of the keys of a JSON column: in how many rows each key occurs, and with which types. It also finds the turns
//! of conversations.
//!
//! A node counts values and rows. Trees of different rows join to the tree of all rows, in any order. An object with more
//! than 512 different keys is used as a map: the nodes below it are dropped, but turns are found there, too. Keys are cut
//! after 64 bytes.

pub(crate) mod few;
pub(crate) mod repeated;
mod scan;
pub(crate) mod texts;

use std::collections::HashMap;

pub(crate) use self::scan::{RowContent, SeenTurn};
use self::{
    few::FewValues,
    repeated::RepeatedTexts,
    scan::{TreeScan, TurnMembers},
    texts::{OddTexts, TextSight, earlier},
};
use crate::nested::{JsonKind, MalformedJson, RawString};

/// Most keys of an object that are counted one by one.
const MOST_KEYS: usize = 512;
/// Most nodes of a tree. Bounds memory and the page, when objects in objects are used as maps.
const MOST_NODES: usize = 1 << 14;
/// From this number of keys on, an index finds them.
const INDEXED: usize = 16;
/// Longest key, in bytes. Longer ones with the same beginning count as one.
const LONGEST_KEY: usize = 64;
/// Deepest level that is looked at.
const DEPTH: usize = 48;
/// Objects with more keys than this are not searched for missing keys: it would take time for each object.
const SEARCHED_KEYS: usize = 64;
/// Objects or values at a place after which a new key or type is worth keeping the row.
const LATE: u64 = 50;
/// Places of a column where repeated texts are counted: 16, with 16 KiB each.
const MOST_REPEATED: usize = 16;

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl ValueKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Null,
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
    ];

    pub(crate) const fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// What the values at one path are.
#[derive(Debug, Default)]
pub(crate) struct TreeNode {
    /// Number of values.
    pub(crate) values: u64,
    /// Number of rows with a value.
    pub(crate) rows: u64,
    /// The last row with a value, from 1.
    last_row: u64,
    kinds: [u64; ValueKind::ALL.len()],
    /// The first row with a value of each type, from 1.
    examples: [u64; ValueKind::ALL.len()],
    /// The values that are no arrays or objects.
    pub(crate) few: FewValues,
    pub(crate) texts: OddTexts,
    /// Texts of an expected output, once there are many different ones.
    pub(crate) repeated: Option<Box<RepeatedTexts>>,
    /// Number of objects that are turns of a conversation.
    pub(crate) turns: u64,
    pub(crate) members: Vec<TreeMember>,
    /// Places of the members by name, once there are many.
    index: HashMap<Box<str>, usize>,
    /// Whether objects have too many different keys to count them.
    pub(crate) is_map: bool,
    /// The elements of arrays.
    pub(crate) item: Option<Box<TreeNode>>,
}

/// A member of objects.
#[derive(Debug)]
pub(crate) struct TreeMember {
    pub(crate) name: Box<str>,
    /// Its first row, and its place there. It orders the members.
    first: (u64, usize),
    /// Number of the last object that has it.
    last_object: u64,
    /// The first row with an object without it, from 1; 0 if there is none, or if it was not looked for.
    pub(crate) missing_row: u64,
    pub(crate) node: TreeNode,
}

/// The tree of a column.
#[derive(Debug, Default)]
pub(crate) struct JsonTree {
    pub(crate) root: TreeNode,
    nodes: usize,
    /// Whether repeated texts are counted, and at how many places they are.
    counts_repeated: bool,
    repeated: usize,
    /// Whether there were too many nodes. Then only the values of the column are counted.
    pub(crate) is_overfull: bool,
}

/// The token of a string that no text can hold. It has quotes, so it is not the name of another key.
fn token_of(string: RawString<'_>) -> String {
    format!("\"{}\"", string.text)
}

impl JsonTree {
    /// A tree that also counts repeated texts.
    pub(crate) fn with_repeated_texts() -> Self {
        Self { counts_repeated: true, ..Self::default() }
    }

    /// Adds the value of a row, whose number is from 1. `on_turn` is called with each turn.
    pub(crate) fn add(
        &mut self,
        text: &str,
        row: u64,
        on_turn: &mut dyn FnMut(SeenTurn<'_>),
    ) -> Result<RowContent, MalformedJson> {
        let room = if self.counts_repeated { MOST_REPEATED - self.repeated } else { 0 };
        let mut scan = TreeScan::new(text, row, room, on_turn);
        // A full tree still counts the values of the column itself.
        let depth = if self.is_overfull { DEPTH } else { 0 };
        self.root.add(&mut scan, depth)?;
        self.nodes += scan.added;
        self.repeated += room - scan.room;
        let content = scan.end()?;
        self.bound();
        Ok(content)
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.is_overfull |= other.is_overfull;
        self.repeated = self.repeated.max(other.repeated);
        self.root.join(other.root);
        self.nodes = self.root.count();
        self.bound();
    }

    fn bound(&mut self) {
        if self.nodes > MOST_NODES {
            // Maps drop what is below them.
            self.nodes = self.root.count();
        }
        if self.is_overfull || self.nodes > MOST_NODES {
            self.is_overfull = true;
            self.root.clear();
            self.root.item = None;
            self.nodes = 0;
        }
    }
}

impl TreeMember {
    /// Returns the first row with it, from 1.
    pub(crate) fn first_row(&self) -> u64 {
        self.first.0
    }
}

impl TreeNode {
    /// Returns how many values have each type, without the types that do not occur.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (ValueKind, u64)> {
        let all = ValueKind::ALL.into_iter().zip(self.kinds);
        all.filter(|(_, values)| *values > 0)
    }

    /// Returns the first row with a value of a type, from 1; 0 if there is none.
    pub(crate) fn first_row(&self, kind: ValueKind) -> u64 {
        self.examples[kind as usize]
    }

    fn see(&mut self, kind: ValueKind, scan: &mut TreeScan<'_, '_>) {
        let count = &mut self.kinds[kind as usize];
        if *count == 0 {
            self.examples[kind as usize] = scan.row;
            scan.content.is_new |= self.values > 1;
        }
        *count += 1;
    }

    fn add(&mut self, scan: &mut TreeScan<'_, '_>, depth: usize) -> Result<(), MalformedJson> {
        self.values += 1;
        if self.last_row != scan.row {
            (self.last_row, self.rows) = (scan.row, self.rows + 1);
        }
        match scan.cursor.kind()? {
            JsonKind::Null => {
                scan.cursor.scalar()?;
                self.see(ValueKind::Null, scan);
                self.few.add("null", false, scan.row);
            }
            JsonKind::Bool => {
                let token = scan.cursor.scalar()?;
                scan.content.others += 1;
                self.see(ValueKind::Boolean, scan);
                self.few.add(token, false, scan.row);
            }
            JsonKind::Number => {
                let token = scan.cursor.scalar()?;
                scan.content.others += 1;
                let is_integer = token.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                self.see(if is_integer { ValueKind::Integer } else { ValueKind::Number }, scan);
                self.few.add(token, false, scan.row);
            }
            JsonKind::String => {
                let string = scan.cursor.string()?;
                scan.see(&string);
                self.see(ValueKind::String, scan);
                let value = match string.has_escapes {
                    true => string.value(),
                    false => Some(string.text.into()),
                };
                let sight = scan.content.add(value.as_deref().unwrap_or(string.text));
                scan.content.is_new |= self.texts.add(sight, scan.row) && self.values > 1;
                let is_new = match &value {
                    Some(value) => self.few.add(value, true, scan.row),
                    // Half of a surrogate pair is no text, and not the text that looks like it.
                    None => self.few.add(&token_of(string), false, scan.row),
                };
                scan.content.is_new |= is_new && self.values > LATE;
                if let Some(value) = value.filter(|_| self.few.is_many()) {
                    self.count_repeated(&value, scan);
                }
            }
            kind @ (JsonKind::Array | JsonKind::Object) => {
                let is_array = kind == JsonKind::Array;
                self.see(if is_array { ValueKind::Array } else { ValueKind::Object }, scan);
                if depth >= DEPTH {
                    return scan.look(depth - DEPTH);
                }
                scan.cursor.enter();
                if is_array {
                    return self.elements(scan, depth);
                }
                self.object(scan, depth)?;
            }
        }
        Ok(())
    }

    fn count_repeated(&mut self, text: &str, scan: &mut TreeScan<'_, '_>) {
        if self.repeated.is_none() && scan.room > 0 {
            self.repeated = Some(Box::default());
            scan.room -= 1;
        }
        if let Some(repeated) = self.repeated.as_mut().filter(|_| RepeatedTexts::counts(text)) {
            scan.content.is_new |= repeated.add(text, scan.row);
        }
    }

    fn elements(&mut self, scan: &mut TreeScan<'_, '_>, depth: usize) -> Result<(), MalformedJson> {
        while scan.cursor.has_more()? {
            if self.item.is_none() {
                scan.added += 1;
            }
            self.item.get_or_insert_default().add(scan, depth + 1)?;
        }
        Ok(())
    }

    /// Returns the number of objects.
    pub(crate) fn objects(&self) -> u64 {
        self.kinds[ValueKind::Object as usize]
    }

    fn object(&mut self, scan: &mut TreeScan<'_, '_>, depth: usize) -> Result<(), MalformedJson> {
        let (mut turn, mut place, number) = (TurnMembers::default(), 0, self.objects());
        while scan.cursor.has_more()? {
            let key = scan.cursor.key()?;
            turn.see(&key, &scan.cursor)?;
            let before = scan.content;
            match self.member(key, scan, place) {
                Some(member) => {
                    member.last_object = number;
                    member.node.add(scan, depth + 1)?;
                }
                None => scan.look(depth + 1)?,
            }
            turn.pass(&key, &before, &scan.content);
            place += 1;
        }
        if place < self.members.len() && self.members.len() <= SEARCHED_KEYS {
            let missing = self.members.iter_mut();
            for member in missing.filter(|it| it.last_object != number && it.missing_row == 0) {
                member.missing_row = scan.row;
                scan.content.is_new |= member.node.values > LATE;
            }
        }
        self.turns += u64::from(scan.end_of_object(turn));
        Ok(())
    }

    /// Returns the member with this key; `None` for a map. `place` is that of the key in its object, where other objects
    /// have it, too.
    fn member(
        &mut self,
        key: RawString<'_>,
        scan: &mut TreeScan<'_, '_>,
        place: usize,
    ) -> Option<&mut TreeMember> {
        if self.is_map {
            return None;
        }
        let whole = key.value().unwrap_or_else(|| token_of(key).into());
        let name = match whole.len() > LONGEST_KEY {
            true => format!("{}…", &whole[..whole.floor_char_boundary(LONGEST_KEY)]).into(),
            false => whole,
        };
        let found = match self.members.get(place) {
            Some(member) if *member.name == *name => Some(place),
            _ => self.find(&name),
        };
        if let Some(found) = found {
            return self.members.get_mut(found);
        }
        if self.members.len() >= MOST_KEYS {
            self.clear();
            self.is_map = true;
            return None;
        }
        scan.added += 1;
        let (first, objects) = ((scan.row, place), self.objects());
        scan.content.is_new |= objects > LATE && self.members.len() < SEARCHED_KEYS;
        let missing_row = if objects > 1 { self.first_row(ValueKind::Object) } else { 0 };
        let node = Self::default();
        self.push(TreeMember { name: (*name).into(), first, last_object: 0, missing_row, node });
        self.members.last_mut()
    }

    fn find(&self, name: &str) -> Option<usize> {
        match self.members.len() < INDEXED {
            true => self.members.iter().position(|member| *member.name == *name),
            false => self.index.get(name).copied(),
        }
    }

    fn push(&mut self, member: TreeMember) {
        let place = self.members.len();
        self.members.push(member);
        if place + 1 == INDEXED {
            let names = self.members.iter().enumerate();
            self.index = names.map(|(place, member)| (member.name.clone(), place)).collect();
        } else if let Some(member) = self.members.last().filter(|_| place + 1 > INDEXED) {
            self.index.insert(member.name.clone(), place);
        }
    }

    fn clear(&mut self) {
        (self.members, self.index) = (Vec::new(), HashMap::new());
    }

    fn count(&self) -> usize {
        let members = self.members.iter().map(|member| 1 + member.node.count()).sum::<usize>();
        members + self.item.as_ref().map_or(0, |item| 1 + item.count())
    }

    /// Adds the node of other rows.
    fn join(&mut self, other: Self) {
        let first_object = |node: &Self| node.first_row(ValueKind::Object);
        let (own_object, other_object) = (first_object(self), first_object(&other));
        for member in &mut self.members {
            if other.find(&member.name).is_none() {
                member.missing_row = earlier(member.missing_row, other_object);
            }
        }
        self.turns += other.turns;
        self.texts.join(other.texts);
        match (&mut self.repeated, other.repeated) {
            (Some(own), Some(other)) => own.join(*other),
            (own, other) => *own = own.take().or(other),
        }
        self.values += other.values;
        self.rows += other.rows;
        self.kinds.iter_mut().zip(other.kinds).for_each(|(own, other)| *own += other);
        for (own, other) in self.examples.iter_mut().zip(other.examples) {
            *own = earlier(*own, other);
        }
        self.few.join(other.few);
        match (&mut self.item, other.item) {
            (Some(item), Some(other)) => item.join(*other),
            (item, other) => *item = item.take().or(other),
        }
        self.is_map |= other.is_map;
        if self.is_map {
            self.clear();
            return;
        }
        for mut member in other.members {
            match self.find(&member.name) {
                Some(place) => {
                    let own = &mut self.members[place];
                    own.first = own.first.min(member.first);
                    own.missing_row = earlier(own.missing_row, member.missing_row);
                    own.node.join(member.node);
                }
                None => {
                    member.missing_row = earlier(member.missing_row, own_object);
                    self.push(member);
                }
            }
        }
        if self.members.len() > MOST_KEYS {
            self.clear();
            self.is_map = true;
        }
    }

    /// Puts the members in the order in which they first occurred.
    pub(crate) fn sort(&mut self) {
        self.members.sort_by_key(|member| member.first);
        self.index = HashMap::new();
        self.members.iter_mut().for_each(|member| member.node.sort());
        self.item.iter_mut().for_each(|item| item.sort());
    }
}

#[cfg(test)]
mod tests;
