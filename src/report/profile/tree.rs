//! The tree of the keys of a JSON column: in how many rows each key occurs, and with which types. It also finds the turns
//! of conversations.
//!
//! A node counts values and rows. Trees of different rows join to the tree of all rows, in any order. An object with more
//! than 512 different keys is used as a map: the nodes below it are dropped, but turns are found there, too. Keys are cut
//! after 64 bytes.

pub(crate) mod few;

use std::collections::HashMap;

use self::few::FewValues;

use crate::nested::{JsonCursor, JsonKind, MalformedJson, RawString};

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
/// Members that make an object with a role a turn of a conversation.
const CONTENTS: [&str; 4] = ["content", "tool_calls", "parts", "text"];

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
    first_rows: [u64; ValueKind::ALL.len()],
    /// The values that are no arrays or objects.
    pub(crate) few: FewValues,
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
    pub(crate) node: TreeNode,
}

/// The tree of a column.
#[derive(Debug, Default)]
pub(crate) struct JsonTree {
    pub(crate) root: TreeNode,
    nodes: usize,
    /// Whether there were too many nodes. Then only the values of the column are counted.
    pub(crate) is_overfull: bool,
}

/// What a value of a row has in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowContent {
    /// Number of turns of conversations.
    pub(crate) turns: u64,
    /// Bytes of strings without white space around them.
    pub(crate) bytes: usize,
    /// Whether there is a letter or a digit in the strings.
    pub(crate) has_words: bool,
    /// Whether there is a number or a boolean, or something that was not looked at.
    pub(crate) has_others: bool,
    /// Whether a value has another type than all values at its place in the rows before.
    pub(crate) has_new_kind: bool,
}

struct TreeScan<'a, 'r> {
    cursor: JsonCursor<'a>,
    row: u64,
    content: RowContent,
    /// Number of nodes that were added.
    added: usize,
    on_role: &'r mut dyn FnMut(&str),
}

impl TreeScan<'_, '_> {
    /// Passes a value that is not looked at. Nothing but brackets and white space is no content.
    fn skip(&mut self) -> Result<(), MalformedJson> {
        let text = self.cursor.skip()?;
        self.content.has_others |= text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        Ok(())
    }

    /// Looks for turns and content in a value that the tree has no node for.
    fn look(&mut self, depth: usize) -> Result<(), MalformedJson> {
        match self.cursor.kind()? {
            JsonKind::Null => drop(self.cursor.scalar()?),
            JsonKind::Bool | JsonKind::Number => {
                self.cursor.scalar()?;
                self.content.has_others = true;
            }
            JsonKind::String => {
                let string = self.cursor.string()?;
                self.content.add(&string.value().unwrap_or(string.text.into()));
            }
            JsonKind::Array | JsonKind::Object if depth >= DEPTH => self.skip()?,
            JsonKind::Array => {
                self.cursor.enter();
                while self.cursor.has_more()? {
                    self.look(depth + 1)?;
                }
            }
            JsonKind::Object => {
                self.cursor.enter();
                let mut turn = TurnMembers::default();
                while self.cursor.has_more()? {
                    let key = self.cursor.key()?;
                    turn.see(&key, &self.cursor)?;
                    self.look(depth + 1)?;
                }
                self.end_of_object(turn);
            }
        }
        Ok(())
    }

    /// Counts an object that is a turn.
    fn end_of_object(&mut self, turn: TurnMembers<'_>) {
        if let Some(role) = turn.role.filter(|_| turn.has_content) {
            self.content.turns += 1;
            (self.on_role)(&role.value().unwrap_or(role.text.into()));
        }
    }
}

/// The token of a string that no text can hold. It has quotes, so it is not the name of another key.
fn token_of(string: RawString<'_>) -> String {
    format!("\"{}\"", string.text)
}

impl RowContent {
    fn add(&mut self, text: &str) {
        self.bytes += text.trim().len();
        self.has_words |= text.chars().any(char::is_alphanumeric);
    }
}

/// The members that make an object a turn.
#[derive(Default)]
struct TurnMembers<'a> {
    role: Option<RawString<'a>>,
    has_content: bool,
}

impl<'a> TurnMembers<'a> {
    /// Sees a key. The cursor is at its value.
    fn see(&mut self, key: &RawString<'_>, cursor: &JsonCursor<'a>) -> Result<(), MalformedJson> {
        let unescaped = if key.has_escapes { key.value() } else { None };
        let name = unescaped.as_deref().unwrap_or(key.text);
        if name == "role" && cursor.clone().kind()? == JsonKind::String {
            self.role = Some(cursor.clone().string()?);
        }
        self.has_content |= CONTENTS.contains(&name);
        Ok(())
    }
}

impl JsonTree {
    /// Adds the value of a row, whose number is from 1. `on_role` is called with the role of each turn.
    pub(crate) fn add(
        &mut self,
        text: &str,
        row: u64,
        on_role: &mut dyn FnMut(&str),
    ) -> Result<RowContent, MalformedJson> {
        let content = RowContent::default();
        let mut scan = TreeScan { cursor: JsonCursor::new(text), row, content, added: 0, on_role };
        // A full tree still counts the values of the column itself.
        let depth = if self.is_overfull { DEPTH } else { 0 };
        self.root.add(&mut scan, depth)?;
        let TreeScan { cursor, content, added, .. } = scan;
        cursor.end()?;
        self.nodes += added;
        self.bound();
        Ok(content)
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.is_overfull |= other.is_overfull;
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

impl TreeNode {
    /// Returns how many values have each type, without the types that do not occur.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (ValueKind, u64)> {
        let all = ValueKind::ALL.into_iter().zip(self.kinds);
        all.filter(|(_, values)| *values > 0)
    }

    /// Returns the first row with a value of a type, from 1; 0 if there is none.
    pub(crate) fn first_row(&self, kind: ValueKind) -> u64 {
        self.first_rows[kind as usize]
    }

    fn see(&mut self, kind: ValueKind, scan: &mut TreeScan<'_, '_>) {
        let count = &mut self.kinds[kind as usize];
        if *count == 0 {
            self.first_rows[kind as usize] = scan.row;
            scan.content.has_new_kind |= self.values > 1;
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
                self.few.add("null", false);
            }
            JsonKind::Bool => {
                let token = scan.cursor.scalar()?;
                scan.content.has_others = true;
                self.see(ValueKind::Boolean, scan);
                self.few.add(token, false);
            }
            JsonKind::Number => {
                let token = scan.cursor.scalar()?;
                scan.content.has_others = true;
                let is_integer = token.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                self.see(if is_integer { ValueKind::Integer } else { ValueKind::Number }, scan);
                self.few.add(token, false);
            }
            JsonKind::String => {
                let string = scan.cursor.string()?;
                self.see(ValueKind::String, scan);
                match string.value() {
                    Some(value) => {
                        scan.content.add(&value);
                        self.few.add(&value, true);
                    }
                    // Half of a surrogate pair is no text, and not the text that looks like it.
                    None => {
                        scan.content.add(string.text);
                        self.few.add(&token_of(string), false);
                    }
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

    fn elements(&mut self, scan: &mut TreeScan<'_, '_>, depth: usize) -> Result<(), MalformedJson> {
        while scan.cursor.has_more()? {
            if self.item.is_none() {
                scan.added += 1;
            }
            self.item.get_or_insert_default().add(scan, depth + 1)?;
        }
        Ok(())
    }

    fn object(&mut self, scan: &mut TreeScan<'_, '_>, depth: usize) -> Result<(), MalformedJson> {
        let (mut turn, mut place) = (TurnMembers::default(), 0);
        while scan.cursor.has_more()? {
            let key = scan.cursor.key()?;
            turn.see(&key, &scan.cursor)?;
            match self.member(key, scan, place) {
                Some(member) => member.node.add(scan, depth + 1)?,
                None => scan.look(depth + 1)?,
            }
            place += 1;
        }
        scan.end_of_object(turn);
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
        let first = (scan.row, place);
        self.push(TreeMember { name: (*name).into(), first, node: Self::default() });
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
        self.values += other.values;
        self.rows += other.rows;
        self.kinds.iter_mut().zip(other.kinds).for_each(|(own, other)| *own += other);
        for (own, other) in self.first_rows.iter_mut().zip(other.first_rows) {
            *own = if *own == 0 || other == 0 { (*own).max(other) } else { (*own).min(other) };
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
        for member in other.members {
            match self.find(&member.name) {
                Some(place) => {
                    let own = &mut self.members[place];
                    own.first = own.first.min(member.first);
                    own.node.join(member.node);
                }
                None => self.push(member),
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
