//! Finds the values at some paths in the text of a JSON value. Nothing is parsed but the way to them.

use std::ops::Range;

use memchr::memchr;

use super::{
    json_text::{after_space, string_end, unescape, value_end},
    paths::PathStep,
};

/// Some of at most 128 paths, by their numbers: 64 of each option.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PathSet(u128);

impl PathSet {
    /// Most paths.
    pub(super) const MOST: usize = u128::BITS as usize;

    pub(super) fn contains(self, path: usize) -> bool {
        self.0 >> path & 1 == 1
    }

    /// Whether it has all of the others.
    pub(super) fn has_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    pub(super) fn insert(&mut self, path: usize) {
        self.0 |= 1 << path;
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..u128::BITS as usize).filter(move |path| self.0 >> path & 1 == 1)
    }
}

/// Paths from one value, as a tree: paths that begin with the same steps share the nodes of these.
#[derive(Debug, Default)]
pub(super) struct PathTree {
    keys: Vec<(String, Self)>,
    items: Vec<(i64, Self)>,
    each: Option<Box<Self>>,
    /// The paths that end here.
    ends: PathSet,
}

impl PathTree {
    /// Adds a path with its number.
    pub(super) fn insert(&mut self, steps: &[PathStep], path: usize) {
        let Some((step, rest)) = steps.split_first() else { return self.ends.insert(path) };
        let next = match step {
            PathStep::Key(key) => node(&mut self.keys, key),
            PathStep::Item(place) => node(&mut self.items, place),
            PathStep::Each => self.each.get_or_insert_default(),
        };
        next.insert(rest, path);
    }

    /// Returns the node of a key, which is added if it is missing.
    pub(super) fn of_key(&mut self, key: &str) -> &mut Self {
        node(&mut self.keys, &key.to_owned())
    }

    /// Returns the node of a key; `None` if no path has it.
    pub(super) fn key(&self, key: &str) -> Option<&Self> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Whether a path leads to a part of the value.
    pub(super) fn has_steps(&self) -> bool {
        !(self.keys.is_empty() && self.items.is_empty()) || self.each.is_some()
    }

    /// Returns the paths that end here, at the whole value.
    pub(super) fn ends(&self) -> PathSet {
        self.ends
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && !self.has_steps()
    }

    /// Returns the places in a JSON text of the values at the paths, and the paths that lead to one. A null is no such
    /// value. The places are in order; a value that contains other ones is one place. `None` if more than one value is in
    /// the text, which is no JSON then: the others could have values at the paths, too.
    pub(super) fn find(&self, text: &str) -> Option<(Vec<Range<usize>>, PathSet)> {
        let mut search =
            PlaceSearch { text: text.as_bytes(), at: 0, places: Vec::new(), paths: PathSet(0) };
        search.value(&[self]);
        let is_whole = after_space(search.text, search.at) >= search.text.len();
        is_whole.then_some((search.places, search.paths))
    }
}

/// Returns the node of a step, which is added if it is missing.
fn node<'n, K: PartialEq + Clone>(nodes: &'n mut Vec<(K, PathTree)>, key: &K) -> &'n mut PathTree {
    let found = nodes.iter().position(|(other, _)| other == key);
    let index = found.unwrap_or_else(|| {
        nodes.push((key.clone(), PathTree::default()));
        nodes.len() - 1
    });
    &mut nodes[index].1
}

/// A search in a text. It recurses only along the paths.
struct PlaceSearch<'t> {
    text: &'t [u8],
    at: usize,
    places: Vec<Range<usize>>,
    paths: PathSet,
}

impl PlaceSearch<'_> {
    /// Passes the next value, and finds the places in it. The nodes are those of the value.
    fn value(&mut self, nodes: &[&PathTree]) {
        self.at = after_space(self.text, self.at);
        let (start, before) = (self.at, self.places.len());
        let has = |is_of: fn(&PathTree) -> bool| nodes.iter().any(|node| is_of(node));
        match self.text.get(start) {
            Some(b'{') if has(|it| !it.keys.is_empty() || it.each.is_some()) => self.object(nodes),
            Some(b'[') if has(|it| !it.items.is_empty() || it.each.is_some()) => self.array(nodes),
            _ => self.skip(),
        }
        self.at = self.at.min(self.text.len());
        let mut ends = PathSet::default();
        nodes.iter().for_each(|node| ends.join(node.ends));
        let is_null = self.text.get(start..self.at) == Some(b"null");
        if !ends.is_empty() && !is_null && start < self.at {
            self.paths.join(ends);
            self.places.truncate(before);
            self.places.push(start..self.at);
        }
    }

    fn object(&mut self, nodes: &[&PathTree]) {
        self.at += 1;
        let mut unescaped = Vec::new();
        while self.has_more(b'}') {
            let end = string_end(self.text, self.at);
            let mut key = self.text.get(self.at + 1..end).unwrap_or_default();
            if memchr(b'\\', key).is_some() {
                unescaped.clear();
                unescape(key, &mut unescaped);
                key = &unescaped;
            }
            // The colon.
            self.at = after_space(self.text, end + 1) + 1;
            let mut next: Vec<&PathTree> = Vec::new();
            for node in nodes {
                let found = node.keys.iter().find(|(name, _)| name.as_bytes() == key);
                next.extend(found.map(|(_, next)| next));
                next.extend(node.each.as_deref());
            }
            self.next(&next);
        }
    }

    fn array(&mut self, nodes: &[&PathTree]) {
        self.at += 1;
        let counts_back = |node: &&&PathTree| node.items.iter().any(|(place, _)| *place < 0);
        let length = match nodes.iter().find(counts_back) {
            Some(_) => self.length(),
            None => 0,
        };
        let mut index = 0;
        while self.has_more(b']') {
            let mut next: Vec<&PathTree> = Vec::new();
            for node in nodes {
                let is_here = |place: i64| match place {
                    0.. => place == index,
                    _ => place == index - length,
                };
                let found = node.items.iter().filter(|(place, _)| is_here(*place));
                next.extend(found.map(|(_, next)| next));
                next.extend(node.each.as_deref());
            }
            self.next(&next);
            index += 1;
        }
    }

    /// Returns the number of items from here to the end of the array.
    fn length(&mut self) -> i64 {
        let start = self.at;
        let mut length = 0;
        while self.has_more(b']') {
            self.skip();
            length += 1;
        }
        self.at = start;
        length
    }

    /// Whether another element follows. Passes the comma before it, or the bracket that ends the elements.
    fn has_more(&mut self, end: u8) -> bool {
        self.at = after_space(self.text, self.at);
        if self.text.get(self.at) == Some(&b',') {
            self.at = after_space(self.text, self.at + 1);
        }
        let next = self.text.get(self.at);
        let is_end = next == Some(&end);
        self.at += usize::from(is_end);
        !is_end && next.is_some()
    }

    /// Passes a part of a value. Without nodes, nothing in it is looked for.
    fn next(&mut self, nodes: &[&PathTree]) {
        if nodes.is_empty() { self.skip() } else { self.value(nodes) }
    }

    fn skip(&mut self) {
        self.at = value_end(self.text, after_space(self.text, self.at));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transform::paths::ValuePath;

    /// Returns the values at these paths from the field `x`, and the number of each path that leads to one.
    fn found<'t>(paths: &str, text: &'t str) -> (Vec<&'t str>, Vec<usize>) {
        let mut tree = PathTree::default();
        let parsed = ValuePath::parse_all("mask", &[paths.to_owned()]).unwrap();
        parsed.iter().enumerate().for_each(|(number, path)| tree.insert(&path.steps, number));
        let (places, paths) = tree.find(text).unwrap();
        let values = places.into_iter().map(|place| &text[place]).collect();
        (values, paths.iter().collect())
    }

    #[test]
    fn values_are_found_in_the_text() {
        let messages =
            r#" { "m" : [ {"n":"a","o":1} , {"n":null} , "n" , {"n" : [1, 2] } ],"n":3}"#;
        for (paths, text, values, matched) in [
            (".x", r#" {"a": [1]} "#, &[r#"{"a": [1]}"#][..], &[0][..]),
            (".x", "null", &[], &[]),
            (".x.m[].n", messages, &["\"a\"", "[1, 2]"], &[0]),
            (".x.m[0].n,.x.m[-1].n[1],.x.m[9],.x.m[-5]", messages, &["\"a\"", "2"], &[0, 1]),
            (".x[].n,.x.n", messages, &["3"], &[1]),
            (".x[]", r#"{"a":1,"b":null,"c":"x"}"#, &["1", "\"x\""], &[0]),
            (".x[].e,.x[][1]", r#"[{"e":true},[1,false]]"#, &["true", "false"], &[0, 1]),
            // A key can be repeated, and can have escapes.
            (".x.email", r#"{"email":1,"\u0065mail":2,"e\u006Dail":3}"#, &["1", "2", "3"], &[0]),
            (r#".x."\"\\é""#, r#"{"\"\\\u00e9":1,"\"\\é":2}"#, &["1", "2"], &[0]),
            (".x.a", r#"{"\ud800":1,"a":"\ud800"}"#, &[r#""\ud800""#], &[0]),
            // A value that contains other ones is one place, and all paths count.
            (
                ".x.a.b,.x.a",
                r#"{"a":{"b":1},"a":{"b":null}}"#,
                &[r#"{"b":1}"#, r#"{"b":null}"#],
                &[0, 1],
            ),
            (".x.a,.x[],.x.a[]", r#"{"a":[1],"b":2}"#, &["[1]", "2"], &[0, 1, 2]),
            // Text in strings is no structure.
            (".x.a", r#"{"b":"{\"a\":1}","c":["a",{"a":2}],"a":"}"}"#, &["\"}\""], &[0]),
            (".x.a", r#""a""#, &[], &[]),
            (".x.a", "[]", &[], &[]),
            (".x[0]", "{}", &[], &[]),
            (".x[0]", r#"{"0":1}"#, &[], &[]),
            (".x.a", "", &[], &[]),
        ] {
            assert_eq!(found(paths, text), (values.to_vec(), matched.to_vec()), "{paths} {text}");
        }
    }

    #[test]
    fn deep_values_are_passed_without_recursion() {
        let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let text = format!(r#"{{"deep":{deep},"a":{deep}}}"#);
        assert_eq!(found(".x.a,.x.a[0][0]", &text).0, [deep.as_str()]);
    }

    proptest! {
        #[test]
        fn search_in_any_text_ends(text in r#"[\[\]{}",:a1\\ud8 n]{0,40}"#) {
            let mut tree = PathTree::default();
            let paths = [".x.a,.x[],.x[0].a,.x[-1]".to_owned()];
            let paths = ValuePath::parse_all("mask", &paths).unwrap();
            paths.iter().for_each(|path| tree.insert(&path.steps, 0));
            let _ = tree.find(&text);
        }
    }

    #[test]
    fn second_value_in_a_text_is_no_place_to_miss() {
        let mut tree = PathTree::default();
        tree.insert(&[PathStep::Key("email".to_owned())], 0);
        for text in [r#"{"email":"a"} {"email":"b"}"#, r#"{"email":"a"}x"#, "1 {\"email\":1}"] {
            assert!(tree.find(text).is_none(), "{text}");
        }
        assert!(tree.find(" {\"email\":1} \n").is_some());
    }
}
