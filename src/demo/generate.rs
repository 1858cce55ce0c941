//! Generates realistic datapoints. Each one depends only on the seed and its number.
//!
//! The generator appends bytes and builds no JSON tree. This is fast, so a bench measures the exporter and not
//! the generator.

use uuid::Uuid;

use super::words::{INSTRUCTIONS, LANGUAGES, Language, PERSONAS, TAGS, TOOLS};

/// Appends the JSON of a row.
pub(crate) fn push_row(seed: u64, row: u64, out: &mut Vec<u8>) {
    let mut writer = JsonWriter { random: Random(mix(seed) ^ mix(!row)), out };
    writer.text(r#"{"id":""#);
    writer.uuid(uuid(seed, row));
    writer.text(r#"","expected_output":"#);
    let language = &LANGUAGES[writer.random.skewed(LANGUAGES.len())];
    writer.expected_output(language);
    writer.text(r#","input":"#);
    writer.input(language);
    writer.text(r#","order":"#);
    writer.number(row);
    writer.text(r#","persona":"#);
    writer.persona();
    writer.text(r#","tags":"#);
    writer.tags();
    if writer.random.one_in(50) {
        writer.text(r#","source_trace_id":"trace-"#);
        let trace = writer.random.below(1 << 40);
        writer.number(trace);
        writer.text("\"");
    }
    writer.text("}");
}

/// Returns a UUID in the form of version 4. The lower half is a permutation of the row number, so all rows of a
/// dataset have different ids.
pub(crate) fn uuid(seed: u64, row: u64) -> Uuid {
    /// The 62 bits of the lower half that a UUID of version 4 leaves free.
    const FREE: u64 = (1 << 62) - 1;
    // Each step is invertible in 62 bits: an xor of the value with its own right shift, or a product with an odd
    // number.
    let mut low = (row ^ mix(seed)) & FREE;
    low ^= low >> 31;
    low = low.wrapping_mul(0xbf58_476d_1ce4_e5b9) & FREE;
    low ^= low >> 27;
    low = low.wrapping_mul(0x94d0_49bb_1331_11eb) & FREE;
    low ^= low >> 32;
    let high = mix(seed ^ mix(row));
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The finalizer of splitmix64. Each bit of the result depends on each bit of the value.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The random generator splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Returns an index below `len`. Low indexes are more likely, similar to word frequencies in a text.
    fn skewed(&mut self, len: usize) -> usize {
        let fraction = self.next() >> 40;
        let squared = (fraction * fraction) >> 24;
        ((squared * len as u64) >> 24) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

struct JsonWriter<'o> {
    random: Random,
    out: &'o mut Vec<u8>,
}

impl JsonWriter<'_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[start..]);
    }

    /// Writes a random number from 0 to `whole`, with two decimals.
    fn decimal(&mut self, whole: u64) {
        let hundredths = self.random.below(whole * 100 + 1);
        self.number(hundredths / 100);
        self.text(".");
        self.number(hundredths / 10 % 10);
        self.number(hundredths % 10);
    }

    fn uuid(&mut self, id: Uuid) {
        let mut buffer = Uuid::encode_buffer();
        let id = id.hyphenated().encode_lower(&mut buffer);
        self.out.extend_from_slice(id.as_bytes());
    }

    fn input(&mut self, language: &Language) {
        self.text(r#"{"messages":["#);
        if !self.random.one_in(4) {
            self.text(r#"{"role":"system","content":""#);
            let instruction = self.random.pick(INSTRUCTIONS);
            self.text(instruction);
            self.text("\"},");
        }
        for _ in 0..self.random.below(2) {
            self.message("user", language);
            self.text(",");
            self.message("assistant", language);
            self.text(",");
        }
        self.message("user", language);
        self.text("]");
        if self.random.one_in(3) {
            self.text(r#","temperature":"#);
            self.decimal(1);
        }
        if self.random.one_in(6) {
            self.text(r#","tools":["#);
            let tool = self.random.pick(TOOLS);
            self.text(tool);
            self.text("]");
        }
        if self.random.one_in(5) {
            self.text(r#","context":["#);
            self.quoted(language, 3);
            self.text("]");
        }
        self.text("}");
    }

    fn message(&mut self, role: &str, language: &Language) {
        self.text(r#"{"role":""#);
        self.text(role);
        self.text(r#"","content":"#);
        let sentences = 1 + self.random.skewed(8);
        self.quoted(language, sentences);
        self.text("}");
    }

    fn expected_output(&mut self, language: &Language) {
        match self.random.below(20) {
            0..10 => {
                let sentences = 1 + self.random.skewed(7);
                self.quoted(language, sentences);
            }
            10..15 => {
                self.text(r#"{"answer":"#);
                self.quoted(language, 2);
                self.text(r#","citations":[{"doc":"kb-"#);
                let article = 100 + self.random.below(900);
                self.number(article);
                self.text(r#"","span":["#);
                let start = self.random.below(400);
                self.number(start);
                self.text(",");
                self.number(start + 40);
                self.text(r#"]}],"confidence":"#);
                self.decimal(1);
                self.text("}");
            }
            15..17 => {
                self.text("[");
                self.quoted(language, 1);
                self.text(",");
                self.quoted(language, 1);
                self.text("]");
            }
            17 => self.decimal(500),
            18 => {
                let truth = self.random.pick(&["true", "false"]);
                self.text(truth);
            }
            _ => self.text("null"),
        }
    }

    fn persona(&mut self) {
        if self.random.one_in(3) {
            self.text("null");
        } else {
            self.text("\"");
            let persona = PERSONAS[self.random.skewed(PERSONAS.len())];
            self.text(persona);
            self.text("\"");
        }
    }

    fn tags(&mut self) {
        match self.random.below(5) {
            0..2 => {
                self.text("[\"");
                for _ in 0..self.random.below(3) {
                    let tag = self.random.pick(TAGS);
                    self.text(tag);
                    self.text("\",\"");
                }
                let tag = self.random.pick(TAGS);
                self.text(tag);
                self.text("\"]");
            }
            2..4 => {
                self.text(r#"{"topic":""#);
                let tag = self.random.pick(TAGS);
                self.text(tag);
                self.text(r#"","difficulty":"#);
                let difficulty = 1 + self.random.below(5);
                self.number(difficulty);
                self.text("}");
            }
            _ => self.text("null"),
        }
    }

    /// Writes sentences as a JSON string.
    fn quoted(&mut self, language: &Language, sentences: usize) {
        self.text("\"");
        for sentence in 0..sentences {
            if sentence > 0 {
                let paragraph_ends = self.random.one_in(6);
                self.text(if paragraph_ends { "\\n\\n" } else { language.space });
            }
            self.sentence(language);
        }
        self.text("\"");
    }

    fn sentence(&mut self, language: &Language) {
        let words = 4 + self.random.below(14);
        for place in 0..words {
            if place > 0 {
                self.text(language.space);
            }
            let word = language.words[self.random.skewed(language.words.len())];
            match place {
                0 => self.capitalized(word),
                // Insert some numbers, as in real messages, so that similar sentences differ.
                _ if self.random.one_in(40) => {
                    let number = self.random.below(100_000);
                    self.number(number);
                }
                _ => self.text(word),
            }
        }
        let stop = language.stops[usize::from(self.random.one_in(4))];
        self.text(stop);
    }

    fn capitalized(&mut self, word: &str) {
        let mut rest = word.chars();
        for capital in rest.next().into_iter().flat_map(char::to_uppercase) {
            self.text(capital.encode_utf8(&mut [0; 4]));
        }
        self.text(rest.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::io::Write;

    use serde_json::Value;

    use super::*;

    fn row(seed: u64, row: u64) -> Vec<u8> {
        let mut out = Vec::new();
        push_row(seed, row, &mut out);
        out
    }

    fn parsed(rows: u64) -> impl Iterator<Item = Value> {
        (0..rows).map(|number| serde_json::from_slice(&row(7, number)).unwrap())
    }

    #[test]
    fn row_depends_only_on_seed_and_number() {
        assert_eq!(row(7, 41), row(7, 41));
        assert_ne!(row(7, 41), row(7, 42));
        assert_ne!(row(7, 41), row(8, 41));
    }

    #[test]
    fn row_is_a_datapoint_with_its_number_as_order() {
        for (number, row) in parsed(2_000).enumerate() {
            assert_eq!(row["order"], number);
            assert!(row["input"]["messages"][0]["content"].is_string());
            let persona = row["persona"].as_str().unwrap_or_default();
            assert!(persona.chars().count() <= 128);
        }
    }

    #[test]
    fn ids_are_version_4_and_distinct() {
        let mut seen = HashSet::new();
        for number in (0..100_000).chain(u64::MAX - 1_000..u64::MAX) {
            let id = uuid(7, number);
            assert_eq!(id.get_version_num(), 4);
            assert!(seen.insert(id), "row {number} has the id of another row");
        }
        assert!(!seen.contains(&uuid(8, 0)));
    }

    #[test]
    fn every_kind_of_value_occurs() {
        fn kind(value: &Value) -> &'static str {
            match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            }
        }
        let mut seen = BTreeMap::new();
        for row in parsed(3_000) {
            for field in ["expected_output", "persona", "tags", "source_trace_id"] {
                let what = row.get(field).map_or("missing", kind);
                *seen.entry((field, what)).or_insert(0) += 1;
            }
        }
        for what in ["null", "boolean", "number", "string", "array", "object"] {
            assert!(seen.contains_key(&("expected_output", what)), "{what}");
        }
        for what in ["null", "array", "object"] {
            assert!(seen.contains_key(&("tags", what)), "{what}");
        }
        assert!(seen.contains_key(&("persona", "null")));
        assert!((30..100).contains(&seen[&("source_trace_id", "string")]));
    }

    #[test]
    fn rows_are_about_a_kilobyte_and_compress_like_text() {
        let mut text = Vec::new();
        for number in 0..2_000 {
            push_row(7, number, &mut text);
        }
        let average = text.len() / 2_000;
        assert!((800..1_300).contains(&average), "{average} bytes a row");

        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let compressed = encoder.finish().unwrap().len();
        let ratio = text.len() as f64 / compressed as f64;
        assert!((2.0..5.0).contains(&ratio), "compresses {ratio:.1} times");
    }

    #[test]
    fn some_text_is_not_ascii() {
        let foreign = (0..1_000).filter(|&number| !row(7, number).is_ascii()).count();
        assert!((200..900).contains(&foreign), "{foreign} of 1000 rows");
    }
}
