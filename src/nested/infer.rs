//! Collects what the values of a JSON column are, row by row.
//!
//! A state is a tree: each node has the first row of everything that was seen there, and the members that objects had.
//! States of consecutive rows join to the state of all rows, in whatever order they are joined. The kinds of values
//! only grow, and the limits count the joined tree.

use std::collections::HashMap;

use super::{
    cursor::{JsonCursor, JsonKind, MalformedJson, RawString, Read},
    given::DEPTH,
    number::{NumberKind, number_kind},
};

/// Most members of an object that become columns.
pub(super) const MOST_KEYS: usize = 512;
/// Most nodes of the tree of a column. Bounds memory, when objects in objects are used as maps.
const MOST_NODES: usize = 1 << 16;
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
    index: HashMap<Box<str>, usize>,
    pub(super) has_too_many: bool,
    /// The elements of arrays.
    pub(super) item: Option<Box<InferredNode>>,
}

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
}

impl Default for InferredNode {
    fn default() -> Self {
        Self {
            first: [NEVER; SIGHTS],
            objects: 0,
            members: Vec::new(),
            index: HashMap::new(),
            has_too_many: false,
            item: None,
        }
    }
}

impl InferredColumn {
    /// Starts with a tree that was not seen in rows.
    pub(super) fn with_root(root: InferredNode) -> Self {
        Self { nodes: root.count(), root, is_overfull: false }
    }
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
    /// Number of nodes that were added.
    added: usize,
}

impl InferredColumn {
    /// Adds the value of a row. `row` is its number, from 1.
    pub(crate) fn add(&mut self, text: &str, row: u64) -> Result<(), MalformedJson> {
        let mut scan = RowScan { cursor: JsonCursor::new(text), row, added: 0 };
        if self.is_overfull {
            scan.cursor.skip()?;
        } else {
            scan.value(&mut self.root, 0)?;
        }
        scan.cursor.end()?;
        self.nodes += scan.added;
        self.bound();
        Ok(())
    }

    /// Adds what was seen in other rows of the column.
    pub(crate) fn join(&mut self, other: Self) {
        self.is_overfull |= other.is_overfull;
        self.root.join(other.root);
        self.nodes = self.root.count();
        self.bound();
    }

    fn bound(&mut self) {
        if self.nodes > MOST_NODES {
            // Nodes with too many members drop what is below them.
            self.nodes = self.root.count();
        }
        if self.is_overfull || self.nodes > MOST_NODES {
            *self = Self { root: InferredNode::default(), nodes: 0, is_overfull: true };
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

    fn count(&self) -> usize {
        let members = self.members.iter().map(|member| 1 + member.node.count()).sum::<usize>();
        members + self.item.as_ref().map_or(0, |item| 1 + item.count())
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
        self.index = self.names();
    }

    fn names(&self) -> HashMap<Box<str>, usize> {
        self.members.iter().enumerate().map(|(place, it)| (it.name.clone(), place)).collect()
    }

    /// Finds a member. `guess` is its likely place.
    #[inline]
    fn place(&self, name: &str, guess: usize) -> Option<usize> {
        if self.members.get(guess).is_some_and(|it| *it.name == *name) {
            return Some(guess);
        }
        if self.members.len() >= INDEXED {
            return self.index.get(name).copied();
        }
        self.members.iter().position(|it| *it.name == *name)
    }

    pub(super) fn push(&mut self, member: Member) -> usize {
        let place = self.members.len();
        if place >= INDEXED {
            self.index.insert(member.name.clone(), place);
        }
        self.members.push(member);
        if place + 1 == INDEXED {
            self.index = self.names();
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
                self.added += 1;
            }
            self.value(node.item.get_or_insert_default(), depth)?;
        }
        Ok(())
    }

    fn object(&mut self, node: &mut InferredNode, depth: usize) -> Read<()> {
        node.objects += 1;
        let mut guess = 0;
        self.cursor.enter();
        while self.cursor.has_more()? {
            let at = self.cursor.position();
            let key = self.cursor.key()?;
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
                    self.added += 1;
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
                node.bound();
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
        node.bound();
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
        column.add(&object(100_000, "1"), 1).unwrap();
        assert_eq!(column.root.members.len(), MOST_KEYS + 1);
        assert!(column.root.members.capacity() < 4 * MOST_KEYS);
        assert!(column.root.has_too_many && !column.is_overfull);
        // What follows is read, too.
        assert!(column.add("{\"k\":1", 2).is_err());
        let broken = object(1_000, "1").replace("\"k900\":1", "\"k900\":x");
        assert!(InferredColumn::default().add(&broken, 1).is_err());
        let mut column = InferredColumn::default();
        column.add(&object(400, &object(400, "1")), 1).unwrap();
        assert!(column.is_overfull && column.root.members.is_empty());
    }
}
