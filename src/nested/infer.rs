//! Collects what the values of a JSON column are, row by row.
//!
//! A state is a tree: each node has the first row of everything that was seen there, and the members that objects had.
//! States of consecutive rows join to the state of all rows, in whatever order they are joined. The kinds of values
//! only grow. The number of nodes is bounded while a row is read, so the memory of a state is bounded for any row;
//! `columns.rs` bounds all columns together.

use std::collections::HashMap;

use super::{
    cursor::{JsonCursor, JsonKind, MalformedJson, RawString, Read},
    given::DEPTH,
    number::{NumberKind, number_kind},
    text::can_be_too_long,
};

/// Most members of an object that become columns.
pub(super) const MOST_KEYS: usize = 512;
/// Most nodes of the trees of all columns. Bounds memory, when objects in objects are used as maps: a node takes about
/// 300 bytes.
pub(super) const MOST_NODES: usize = 1 << 15;
/// Bytes of a name that take as much memory as a node.
const NAME_BYTES: usize = 256;
/// From this number of members on, an index finds them.
const INDEXED: usize = 16;
/// A longer name is data.
const LONGEST_KEY: usize = 64;

/// What can be seen at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Bool,
    /// An integer.
    Int,
    /// An integer that a double may not hold.
    LargeInt,
    MinusZero,
    /// A number that a double holds, and an integer may not.
    Double,
    /// A number that no type holds.
    LongNumber,
    String,
    /// A string or a name with half of a surrogate pair.
    Surrogate,
    Array,
    Object,
    /// An array or object below the deepest level.
    Deep,
    /// An object with the same name twice.
    Duplicate,
    /// A name that looks like an id.
    IdKey,
}

const SIGHTS: usize = Sight::IdKey as usize + 1;

/// The row of something that was never seen.
const NEVER: u64 = u64::MAX;

/// A node of the tree: what the values at one path are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InferredNode {
    /// The first row of each sight, from 1.
    first: [u64; SIGHTS],
    /// Number of objects.
    pub(super) objects: u64,
    /// The members of the objects. If there were too many, the first ones by row, without their own nodes.
    pub(super) members: Vec<Member>,
    /// Places of the members by name, once there are many.
    index: Option<Box<MemberPlaces>>,
    pub(super) has_too_many: bool,
    /// The elements of arrays.
    pub(super) item: Option<Box<InferredItem>>,
}

/// The elements of the arrays at a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct InferredItem {
    pub(super) node: InferredNode,
    /// The largest number of elements that these arrays have in one row together, and the first such row.
    pub(super) most: (usize, u64),
    /// Number of elements in the row that was added last, and this row.
    latest: (usize, u64),
}

impl InferredItem {
    /// Returns elements that were not seen in rows.
    pub(super) fn expected(node: InferredNode) -> Self {
        Self { node, ..Self::default() }
    }

    #[inline]
    fn count(&mut self, row: u64) {
        if self.latest.1 != row {
            self.latest = (0, row);
        }
        self.latest.0 += 1;
        if self.latest.0 > self.most.0 {
            self.most = self.latest;
        }
    }

    fn join(&mut self, other: Self) {
        self.node.join(other.node);
        let (own, others) = (self.most, other.most);
        if others.0 > own.0 || others.0 == own.0 && others.1 < own.1 {
            self.most = others;
        }
    }
}

/// Places of the members of objects, by name. Few nodes have it, so nodes hold only its address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemberPlaces(HashMap<Box<str>, usize>);

/// A member of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Box<str>,
    /// Its first row, and its place there. It orders the columns.
    pub(super) first: (u64, usize),
    /// Number of objects with a value for it that is not null.
    pub(super) values: u64,
    /// The last object with it, as a number among those of the node. Finds names that occur twice.
    last: u64,
    pub(super) node: InferredNode,
}

/// What the values of a JSON column are, as far as they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct InferredColumn {
    pub(super) root: InferredNode,
    nodes: usize,
    /// Whether there were too many nodes. Then the tree is not kept.
    pub(super) is_overfull: bool,
    /// The first row whose value could be written as a text that is too long.
    pub(super) too_long: Option<u64>,
}

impl Default for InferredNode {
    fn default() -> Self {
        Self {
            first: [NEVER; SIGHTS],
            objects: 0,
            members: Vec::new(),
            index: None,
            has_too_many: false,
            item: None,
        }
    }
}

impl InferredColumn {
    /// Starts with a tree that was not seen in rows.
    pub(super) fn with_root(root: InferredNode) -> Self {
        Self { nodes: root.count(), root, ..Self::default() }
    }

    /// Returns the number of nodes, in which long names count as several.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Drops the tree, because there are too many nodes.
    pub(super) fn give_up(&mut self) {
        *self = Self { is_overfull: true, ..Self::default() };
    }
}

/// Returns what the node of a member counts.
fn weight(name: &str) -> usize {
    1 + name.len() / NAME_BYTES
}

impl Member {
    /// Returns the member at this place of objects that were not seen in rows.
    pub(super) fn expected(name: &str, place: usize, node: InferredNode) -> Self {
        Self { name: name.into(), first: (0, place), values: 0, last: 0, node }
    }
}

/// A row being inferred.
struct RowScan<'a> {
    cursor: JsonCursor<'a>,
    /// The number of the row, from 1.
    row: u64,
    /// Number of nodes of the column so far.
    nodes: usize,
    most: usize,
    /// Whether there are more nodes than these. The rest of the row is then only skipped.
    is_over: bool,
}

impl InferredColumn {
    /// Adds the value of a row. `row` is its number, from 1, and `most` is the largest number of nodes.
    pub(super) fn add(&mut self, text: &str, row: u64, most: usize) -> Result<(), MalformedJson> {
        let cursor = JsonCursor::new(text);
        let mut scan = RowScan { cursor, row, nodes: self.nodes, most, is_over: false };
        if self.is_overfull {
            scan.cursor.skip()?;
        } else {
            scan.value(&mut self.root, 0)?;
        }
        scan.cursor.end()?;
        if self.too_long.is_none() && can_be_too_long(text)? {
            self.too_long = Some(row);
        }
        self.nodes = scan.nodes;
        if scan.is_over {
            self.give_up();
        }
        Ok(())
    }

    /// Adds what was seen in other rows of the column.
    pub(super) fn join(&mut self, other: Self, most: usize) {
        if self.is_overfull || other.is_overfull {
            return self.give_up();
        }
        self.root.join(other.root);
        self.too_long = self.too_long.into_iter().chain(other.too_long).min();
        self.nodes = self.root.count();
        if self.nodes > most {
            self.give_up();
        }
    }
}

impl InferredNode {
    /// Returns the first row with this sight.
    pub(super) fn first(&self, sight: Sight) -> Option<u64> {
        let row = self.first[sight as usize];
        (row != NEVER).then_some(row)
    }

    #[inline]
    pub(super) fn see(&mut self, sight: Sight, row: u64) {
        let first = &mut self.first[sight as usize];
        *first = row.min(*first);
    }

    /// Returns the number of nodes below this one, in which long names count as several.
    pub(super) fn count(&self) -> usize {
        let of = |member: &Member| weight(&member.name) + member.node.count();
        let members = self.members.iter().map(of).sum::<usize>();
        members + self.item.as_ref().map_or(0, |item| 1 + item.node.count())
    }

    fn join(&mut self, other: Self) {
        for (first, row) in self.first.iter_mut().zip(other.first) {
            *first = row.min(*first);
        }
        // Later than every object of either, so that the next object differs from the last one with a member.
        self.objects += other.objects;
        match (&mut self.item, other.item) {
            (Some(item), Some(other)) => item.join(*other),
            (item, other) => *item = item.take().or(other),
        }
        for member in other.members {
            match self.place(&member.name, 0) {
                Some(place) => {
                    let own = &mut self.members[place];
                    own.first = own.first.min(member.first);
                    own.values += member.values;
                    own.node.join(member.node);
                }
                None => drop(self.push(member)),
            }
        }
        self.has_too_many |= other.has_too_many;
        self.bound();
    }

    /// Drops what is below a node with too many members. Keeps the first of them, whose rows tell which row forced it.
    fn bound(&mut self) {
        if !self.has_too_many && self.members.len() <= MOST_KEYS {
            return;
        }
        self.has_too_many = true;
        self.members.sort_by_key(|member| member.first);
        self.members.truncate(MOST_KEYS + 1);
        self.members.iter_mut().for_each(|member| member.node = Self::default());
        self.index = Some(self.names());
    }

    fn names(&self) -> Box<MemberPlaces> {
        let names = self.members.iter().enumerate();
        Box::new(MemberPlaces(names.map(|(place, it)| (it.name.clone(), place)).collect()))
    }

    /// Finds a member. `guess` is its likely place.
    #[inline]
    fn place(&self, name: &str, guess: usize) -> Option<usize> {
        if self.members.get(guess).is_some_and(|it| *it.name == *name) {
            return Some(guess);
        }
        if let Some(index) = &self.index {
            return index.0.get(name).copied();
        }
        self.members.iter().position(|it| *it.name == *name)
    }

    pub(super) fn push(&mut self, member: Member) -> usize {
        let place = self.members.len();
        if let Some(index) = &mut self.index {
            index.0.insert(member.name.clone(), place);
        }
        self.members.push(member);
        if place + 1 == INDEXED {
            self.index = Some(self.names());
        }
        place
    }
}

impl RowScan<'_> {
    fn value(&mut self, node: &mut InferredNode, depth: usize) -> Read<()> {
        let row = self.row;
        match self.cursor.kind()? {
            JsonKind::Null => {
                self.cursor.scalar()?;
            }
            JsonKind::Bool => {
                self.cursor.bool()?;
                node.see(Sight::Bool, row);
            }
            JsonKind::Number => {
                let sights: &[Sight] = match number_kind(self.cursor.scalar()?) {
                    NumberKind::Small => &[Sight::Int],
                    NumberKind::Large => &[Sight::Int, Sight::LargeInt],
                    NumberKind::MinusZero => &[Sight::MinusZero],
                    NumberKind::Double => &[Sight::Double],
                    NumberKind::Neither => &[Sight::LongNumber],
                };
                sights.iter().for_each(|sight| node.see(*sight, row));
            }
            JsonKind::String => {
                let string = self.cursor.string()?;
                node.see(Sight::String, row);
                if !is_whole(string) {
                    node.see(Sight::Surrogate, row);
                }
            }
            kind @ (JsonKind::Array | JsonKind::Object) => {
                let is_array = kind == JsonKind::Array;
                node.see(if is_array { Sight::Array } else { Sight::Object }, row);
                if depth == DEPTH {
                    node.see(Sight::Deep, row);
                    self.cursor.skip()?;
                } else if !is_array && node.has_too_many {
                    // Nothing in it changes what is known.
                    self.cursor.skip()?;
                } else if is_array {
                    self.array(node, depth + 1)?;
                } else {
                    self.object(node, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn array(&mut self, node: &mut InferredNode, depth: usize) -> Read<()> {
        self.cursor.enter();
        while self.cursor.has_more()? {
            if node.item.is_none() {
                self.count(1);
            }
            if self.is_over {
                self.cursor.skip()?;
                continue;
            }
            let item = node.item.get_or_insert_default();
            item.count(self.row);
            self.value(&mut item.node, depth)?;
        }
        Ok(())
    }

    /// Counts nodes that are added.
    #[inline]
    fn count(&mut self, nodes: usize) {
        self.nodes += nodes;
        self.is_over |= self.nodes > self.most;
    }

    fn object(&mut self, node: &mut InferredNode, depth: usize) -> Read<()> {
        node.objects += 1;
        let mut guess = 0;
        self.cursor.enter();
        while self.cursor.has_more()? {
            let at = self.cursor.position();
            let key = self.cursor.key()?;
            if self.is_over {
                return self.skip_members();
            }
            let Some(name) = key.value() else {
                node.see(Sight::Surrogate, self.row);
                self.cursor.skip()?;
                continue;
            };
            if looks_like_id(&name) {
                node.see(Sight::IdKey, self.row);
            }
            let place = match node.place(&name, guess) {
                Some(place) => place,
                None => {
                    self.count(weight(&name));
                    node.push(Member {
                        name: name.into(),
                        first: (self.row, at),
                        values: 0,
                        last: 0,
                        node: InferredNode::default(),
                    })
                }
            };
            if node.members.len() > MOST_KEYS {
                // The rest of the object changes nothing, and would need memory for each name.
                let before = node.count();
                node.bound();
                self.nodes -= before - node.count();
                return self.skip_members();
            }
            guess = place + 1;
            let objects = node.objects;
            let Some(member) = node.members.get_mut(place) else { return Err(MalformedJson) };
            if member.last == objects {
                node.see(Sight::Duplicate, self.row);
                self.cursor.skip()?;
                continue;
            }
            member.last = objects;
            member.values += u64::from(self.cursor.kind()? != JsonKind::Null);
            self.value(&mut member.node, depth)?;
        }
        Ok(())
    }

    /// Reads the value of a name, and the rest of the object.
    fn skip_members(&mut self) -> Read<()> {
        self.cursor.skip()?;
        while self.cursor.has_more()? {
            self.cursor.key()?;
            self.cursor.skip()?;
        }
        Ok(())
    }
}

/// Whether a string has no half of a surrogate pair.
fn is_whole(string: RawString<'_>) -> bool {
    // Only an escape of this form can be one.
    !string.has_escapes || !string.text.contains("\\u") || string.value().is_some()
}

/// Whether a name looks like data: an id, a number, an address.
fn looks_like_id(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let length = name.chars().count();
    length > LONGEST_KEY
        || name.contains('@')
        || digits == length && length > 0
        || length >= 8 && digits * 3 >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_does_not_grow_with_the_row() {
        let object = |count: usize, value: &str| {
            let members = (0..count).map(|n| format!("\"k{n}\":{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let mut column = InferredColumn::default();
        column.add(&object(100_000, "1"), 1, MOST_NODES).unwrap();
        assert_eq!(column.root.members.len(), MOST_KEYS + 1);
        assert!(column.root.members.capacity() < 4 * MOST_KEYS);
        assert!(column.root.has_too_many && !column.is_overfull);
        // What follows is read, too.
        assert!(column.add("{\"k\":1", 2, MOST_NODES).is_err());
        let broken = object(1_000, "1").replace("\"k900\":1", "\"k900\":x");
        assert!(InferredColumn::default().add(&broken, 1, MOST_NODES).is_err());
        let mut column = InferredColumn::default();
        column.add(&object(400, &object(400, "1")), 1, MOST_NODES).unwrap();
        assert!(column.is_overfull && column.root.members.is_empty());
    }
}
