//! Finds the beginnings of the tokens in a JSON text, 64 bytes at a time with SIMD.
//!
//! The bit masks are from Langdale and Lemire, “Parsing Gigabytes of JSON per Second”
//! (<https://arxiv.org/abs/1902.08318>). The code uses the widest instructions of the processor.
//!
//! This module checks the content of strings. The caller checks the order of tokens, and the syntax of
//! numbers and words. The text is read once, without going back.

use fearless_simd::{Level, dispatch, prelude::*, u8x64};

/// Block size in bytes: one bit of a 64-bit word for each byte.
const BLOCK: usize = 64;
/// Number of blocks in a batch: 4 KiB of text. They are still in the L1 cache when the caller reads the
/// tokens.
const AHEAD: usize = 64;

/// An iterator over the positions of tokens: each of `{}[]:,`, each string, number and word.
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    level: Level,
    /// For each block of the batch, a bit mask of token beginnings.
    ahead: [u64; AHEAD],
    /// Index of the next block in the batch.
    next: usize,
    /// Number of blocks in the batch.
    looked_at: usize,
    /// Offset of the current block in the text.
    block: usize,
    /// Tokens of the current block that were not returned yet, as a bit mask.
    tokens: u64,
    /// Offset after the batch: the beginning of the text that was not scanned yet.
    after: usize,
    carried: BlockCarry,
}

/// The state that is carried from one block to the next.
#[derive(Clone, Copy, Default)]
struct BlockCarry {
    /// All ones if the previous block ended inside a string, otherwise zero.
    in_string: u64,
    /// One if the previous block ended with a backslash that escapes the next byte.
    escape: u64,
    /// One if the previous block ended inside a number or a word.
    scalar: u64,
    spaces: bool,
    malformed: bool,
}

/// The character classes of a block as bit masks, both inside and outside of strings.
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
        // Brackets and braces differ only in this bit.
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
            carried: BlockCarry::default(),
        }
    }

    /// Returns the position of the next token without consuming it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.tokens == 0 {
            if !self.next_block() {
                return None;
            }
        }
        Some(self.block + self.tokens.trailing_zeros() as usize)
    }

    /// Returns a faster iterator for reading many tokens in a row.
    #[inline]
    pub(super) fn at_hand(&mut self) -> TokenCursor<'_, 'a> {
        TokenCursor { bits: self.tokens, block: self.block, tokens: self }
    }

    /// Ends the iteration. Returns whether the text has white space between tokens.
    ///
    /// Returns `None` if tokens are left, a string is malformed, or there is an invalid control character.
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

    /// Scans the next batch of blocks. Returns false at the end of the text.
    #[inline(never)]
    fn look_ahead(&mut self) -> bool {
        let text = self.text.get(self.after..).unwrap_or_default();
        let (ahead, carried) = (&mut self.ahead, self.carried);
        self.carried = dispatch!(self.level, simd => look(simd, text, ahead, carried));
        self.next = 0;
        self.looked_at = text.len().div_ceil(BLOCK).min(AHEAD);
        // If the last block is partly filled, this is beyond the end of the text.
        self.after += BLOCK * self.looked_at;
        self.looked_at > 0
    }
}

/// Scans blocks at the beginning of the text, until `ahead` is full or the text ends.
#[inline(always)]
fn look<S: Simd>(
    simd: S,
    text: &[u8],
    ahead: &mut [u64; AHEAD],
    mut carried: BlockCarry,
) -> BlockCarry {
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

impl BlockCarry {
    /// Returns the beginnings of tokens in a block as a bit mask.
    ///
    /// `text` begins with this block. `real` has a bit for each byte of the block that belongs to the text.
    #[inline(always)]
    fn tokens(&mut self, classes: Classes, text: &[u8], real: u64) -> u64 {
        let escaped = self.escaped(classes.backslash);
        let quote = classes.quote & !escaped;
        // Ones from each opening quote up to the byte before the closing quote.
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

    /// Returns the escaped bytes: those after a backslash that is not escaped itself.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if backslash == 0 {
            return std::mem::take(&mut self.escape);
        }
        // A run of backslashes begins at an even or an odd position. The subtraction carries through the run.
        let begins = backslash & !self.escape;
        let codes = (begins << 1 | ODD).wrapping_sub(begins) ^ ODD;
        let escaped = codes ^ (backslash | self.escape);
        self.escape = (codes & backslash) >> (u64::BITS - 1);
        escaped
    }
}

/// An iterator over [`Tokens`] that keeps its state by value, so that the compiler can hold it in registers.
pub(super) struct TokenCursor<'t, 'a> {
    tokens: &'t mut Tokens<'a>,
    bits: u64,
    block: usize,
}

impl TokenCursor<'_, '_> {
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

    /// Returns the unread tokens of the block to [`Tokens`].
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

/// Returns the prefix XOR: each bit of the result is the XOR of this bit and all lower bits.
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

/// Whether the text begins with the rest of a valid escape sequence, after its backslash.
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

    /// The SIMD levels of this processor: the best one and all narrower ones.
    fn levels() -> Vec<Level> {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let narrower = [best.as_sse4_2().map(|it| it.level()), best.as_avx2().map(|it| it.level())];
        #[cfg(not(target_arch = "x86_64"))]
        let narrower = [None, None];
        [best, Level::baseline()].into_iter().chain(narrower.into_iter().flatten()).collect()
    }

    /// Returns the token positions and the result of `end`.
    fn found(text: &str, level: Level) -> (Vec<usize>, Option<bool>) {
        let mut tokens = Tokens { level, ..Tokens::new(text) };
        let places = tokens.by_ref().collect();
        (places, tokens.end())
    }

    /// Reference implementation of `found`, byte by byte.
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

    /// A string with valid and invalid content, or tokens and white space between strings.
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
        fn all_simd_levels_match_byte_by_byte_scan(
            pieces in prop::collection::vec(piece(), 0..8),
            before in 0..2 * BLOCK * AHEAD,
            cut in any::<bool>(),
        ) {
            // The text begins with a string of random length, so that the pieces start at any offset of a
            // block and of a batch.
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
