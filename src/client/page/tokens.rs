//! Where the tokens of a JSON text begin, found 64 bytes at a time.
//!
//! The bit masks are those of Langdale and Lemire, “Parsing Gigabytes of JSON per Second”
//! (<https://arxiv.org/abs/1902.08318>), with the widest instructions that the processor has. What a
//! string contains is checked here; that tokens follow each other as they may, and what a number or
//! a word is, is for whoever asks. Never looks back.

use fearless_simd::{Level, dispatch, prelude::*, u8x64};

/// Bytes that are looked at together: a bit of a word each.
const BLOCK: usize = 64;
/// Blocks that are looked at in one go: 4 KiB of text, which a processor's first cache still holds
/// when their tokens are taken.
const AHEAD: usize = 64;

/// The places where tokens begin, in order: of each of `{}[]:,` and string and number and word.
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    level: Level,
    /// Where tokens begin in each block that was looked at.
    ahead: [u64; AHEAD],
    /// The next of these blocks, and how many there are.
    next: usize,
    looked_at: usize,
    /// Where the block begins whose tokens are being given, and those of it that were not given yet.
    block: usize,
    tokens: u64,
    /// Where the text begins that was not looked at.
    after: usize,
    carried: Carried,
}

/// What one block says to the next, and what was seen so far.
#[derive(Clone, Copy, Default)]
struct Carried {
    /// All ones if the block before ended within a string.
    in_string: u64,
    /// One if the block before ended with a backslash that escapes.
    escape: u64,
    /// One if the block before ended within a number or a word.
    scalar: u64,
    spaces: bool,
    malformed: bool,
}

/// Which bytes of a block are what, wherever they stand.
struct Classes {
    quote: u64,
    backslash: u64,
    control: u64,
    space: u64,
    operator: u64,
}

impl Classes {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Self {
        let bytes = u8x64::from_slice(simd, block);
        let is = |byte| bytes.simd_eq(byte);
        // This bit is all that tells brackets from braces.
        let braces = bytes | (b'[' ^ b'{');
        let brace = |byte| braces.simd_eq(byte);
        Self {
            quote: is(b'"').to_bitmask(),
            backslash: is(b'\\').to_bitmask(),
            control: bytes.simd_le(0x1f).to_bitmask(),
            space: is(b' ').to_bitmask(),
            operator: (brace(b'{') | brace(b'}') | is(b',') | is(b':')).to_bitmask(),
        }
    }
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            level: Level::new(),
            ahead: [0; AHEAD],
            next: 0,
            looked_at: 0,
            block: 0,
            tokens: 0,
            after: 0,
            carried: Carried::default(),
        }
    }

    /// Where the next token begins, without taking it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.tokens == 0 {
            if !self.next_block() {
                return None;
            }
        }
        Some(self.block + self.tokens.trailing_zeros() as usize)
    }

    /// Takes the tokens of the block at hand, for whoever takes many in a row.
    #[inline]
    pub(super) fn at_hand(&mut self) -> AtHand<'_, 'a> {
        AtHand { bits: self.tokens, block: self.block, tokens: self }
    }

    /// At the end of the text: whether all strings were well formed, and what stood between tokens
    /// was white space; and whether there was any of that.
    pub(super) fn end(mut self) -> Option<bool> {
        let ended = self.peek().is_none() && self.carried.in_string == 0;
        (ended && !self.carried.malformed).then_some(self.carried.spaces)
    }

    #[inline]
    fn next_block(&mut self) -> bool {
        if self.next == self.looked_at && !self.look_ahead() {
            return false;
        }
        let Some(tokens) = self.ahead.get(self.next) else { return false };
        self.tokens = *tokens;
        self.block = self.after - BLOCK * (self.looked_at - self.next);
        self.next += 1;
        true
    }

    /// Looks at more blocks, if there are any.
    #[inline(never)]
    fn look_ahead(&mut self) -> bool {
        let text = self.text.get(self.after..).unwrap_or_default();
        let (ahead, carried) = (&mut self.ahead, self.carried);
        self.carried = dispatch!(self.level, simd => look(simd, text, ahead, carried));
        self.next = 0;
        self.looked_at = text.len().div_ceil(BLOCK).min(AHEAD);
        // Beyond the text's end, after a block that it does not fill.
        self.after += BLOCK * self.looked_at;
        self.looked_at > 0
    }
}

/// Where tokens begin in the blocks that the text begins with, as many as there is room for.
#[inline(always)]
fn look<S: Simd>(simd: S, text: &[u8], ahead: &mut [u64; AHEAD], mut carried: Carried) -> Carried {
    let (blocks, end) = text.as_chunks();
    for (index, (block, tokens)) in blocks.iter().zip(&mut *ahead).enumerate() {
        let classes = Classes::of(simd, block);
        *tokens = carried.tokens(classes, &text[index * BLOCK..], u64::MAX);
    }
    if let Some(tokens) = ahead.get_mut(blocks.len())
        && !end.is_empty()
    {
        let mut block = [b' '; BLOCK];
        block[..end.len()].copy_from_slice(end);
        *tokens = carried.tokens(Classes::of(simd, &block), end, (1 << end.len()) - 1);
    }
    carried
}

impl Carried {
    /// Where tokens begin in a block, with which `text` begins and of which the bits of `real` are
    /// text.
    #[inline(always)]
    fn tokens(&mut self, classes: Classes, text: &[u8], real: u64) -> u64 {
        let escaped = self.escaped(classes.backslash);
        let quote = classes.quote & !escaped;
        // From each opening quote to before the closing one.
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = ((in_string as i64) >> (u64::BITS - 1)) as u64;
        let mut space = classes.space;
        if classes.control != 0 {
            space |= classes.control;
            self.malformed |= classes.control & in_string != 0;
            let is_space = |at: usize| matches!(text.get(at), Some(b'\t' | b'\n' | b'\r'));
            self.malformed |= !ones(classes.control).all(is_space);
        }
        self.spaces |= space & !in_string & real != 0;
        for at in ones(escaped & in_string) {
            self.malformed |= !is_escape(text.get(at..).unwrap_or_default());
        }
        let operator = classes.operator & !in_string;
        let scalar = !(in_string | quote | space | operator);
        let starts = scalar & !(scalar << 1 | self.scalar);
        self.scalar = scalar >> (u64::BITS - 1);
        (operator | quote & in_string | starts) & real
    }

    /// The bytes after a backslash that is not itself escaped.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if backslash == 0 {
            return std::mem::take(&mut self.escape);
        }
        // A run of backslashes begins at an even or an odd place; subtracting carries through it.
        let begins = backslash & !self.escape;
        let codes = (begins << 1 | ODD).wrapping_sub(begins) ^ ODD;
        let escaped = codes ^ (backslash | self.escape);
        self.escape = (codes & backslash) >> (u64::BITS - 1);
        escaped
    }
}

/// [`Tokens`] whose place is held by value, so that it can stay in registers from token to token.
pub(super) struct AtHand<'t, 'a> {
    tokens: &'t mut Tokens<'a>,
    bits: u64,
    block: usize,
}

impl AtHand<'_, '_> {
    #[inline]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.bits == 0 {
            if !self.tokens.next_block() {
                return None;
            }
            (self.bits, self.block) = (self.tokens.tokens, self.tokens.block);
        }
        Some(self.block + self.bits.trailing_zeros() as usize)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        let at = self.peek()?;
        self.bits &= self.bits - 1;
        Some(at)
    }

    /// Gives back those that were not taken.
    #[inline]
    pub(super) fn put_back(self) {
        self.tokens.tokens = self.bits;
    }
}

impl Iterator for Tokens<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = self.peek()?;
        self.tokens &= self.tokens - 1;
        Some(at)
    }
}

/// Each bit, added without carry to all below it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[inline(always)]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(at)
    })
}

/// Whether the text may follow a backslash.
fn is_escape(text: &[u8]) -> bool {
    match text {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
        [b'u', digits @ ..] => {
            digits.first_chunk::<4>().is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    /// What the processor has, each also without what is wider.
    fn levels() -> Vec<Level> {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let narrower = [best.as_sse4_2().map(|it| it.level()), best.as_avx2().map(|it| it.level())];
        #[cfg(not(target_arch = "x86_64"))]
        let narrower = [None, None];
        [best, Level::baseline()].into_iter().chain(narrower.into_iter().flatten()).collect()
    }

    /// The places, and what the end says.
    fn found(text: &str, level: Level) -> (Vec<usize>, Option<bool>) {
        let mut tokens = Tokens { level, ..Tokens::new(text) };
        let places = tokens.by_ref().collect();
        (places, tokens.end())
    }

    /// The same, byte by byte.
    fn by_definition(text: &str) -> (Vec<usize>, Option<bool>) {
        let (mut places, mut spaces, mut malformed) = (Vec::new(), false, false);
        let (mut in_string, mut in_scalar, mut escapes) = (false, false, false);
        for (at, byte) in text.bytes().enumerate() {
            if in_string {
                if std::mem::take(&mut escapes) {
                    malformed |= !is_escape(&text.as_bytes()[at..]);
                } else if byte == b'\\' {
                    escapes = true;
                } else if byte == b'"' {
                    in_string = false;
                }
                malformed |= byte < 0x20;
                continue;
            }
            let (was_in_scalar, space) = (in_scalar, byte <= b' ');
            let operator = b"{}[]:,".contains(&byte);
            in_string = byte == b'"';
            in_scalar = !in_string && !operator && !space;
            spaces |= space;
            malformed |= byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
            if in_string || operator || in_scalar && !was_in_scalar {
                places.push(at);
            }
        }
        (places, (!malformed && !in_string).then_some(spaces))
    }

    /// A string with all that may and may not be in one, or what stands between strings.
    fn piece() -> impl Strategy<Value = String> {
        let within = vec![
            "x", "ü", "注文", "🙏", " ", "{", ",", r"\n", r"\\", r#"\""#, r"\u00e9", r"\u0", r"\q",
            "\u{1}",
        ];
        let between = vec!["{", "}", "[", "]", ":", ",", " ", "\n", "\t", "\u{1}", "1.5", "null"];
        let words = |words| prop::collection::vec((select(words), 1..4_usize), 0..20);
        let joined = |words: Vec<(&str, usize)>| -> String {
            words.iter().map(|(word, times)| word.repeat(*times)).collect()
        };
        prop_oneof![
            words(within).prop_map(move |words| format!("\"{}\"", joined(words))),
            words(between).prop_map(joined),
        ]
    }

    proptest! {
        #[test]
        fn tokens_are_where_they_are_byte_by_byte_whatever_the_processor_has(
            pieces in prop::collection::vec(piece(), 0..8),
            before in 0..2 * BLOCK * AHEAD,
            cut in any::<bool>(),
        ) {
            // After a string whose length lets what follows fall to any place of a block and of those that
            // are looked at in one go.
            let mut text = format!("\"{}\"{}", "x".repeat(before), pieces.concat());
            if cut {
                text.pop();
            }
            let expected = by_definition(&text);
            for level in levels() {
                prop_assert_eq!(&found(&text, level), &expected, "{:?}", level);
            }
        }
    }
}
